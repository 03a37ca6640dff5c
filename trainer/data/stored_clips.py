"""Clips of a store that are read when they are needed, for passes over a data set of any size."""

import math
from collections.abc import Generator, Iterator
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.store.batches import fill_batch
from pipeline.store.store import Store
from trainer.data.loader import group_by_block
from trainer.data.prefetch import prefetch
from trainer.data.residency import HOST, HOST_SHARE
from trainer.runtime.memory import available_memory

Item = TypeVar("Item")
BLOCK_CLIPS = 1024
"""Clips read at a time: 39 MB at T = 64 with 25 joints and two people. A multiple of the batch sizes of features.py."""


class StoredClips:
    """Clips (N, C, T, V, M) of a store in float32 metres, indexed like a tensor; nothing is kept in memory."""

    def __init__(self, store: Store, rows: NDArray[np.int64], frames: int, bodies: int) -> None:
        """Describe the clips without reading any. See `load_clips` for the arguments and the values."""
        self.store, self.rows, self.frames, self.bodies = store, rows, frames, bodies

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: slice | Tensor) -> Tensor:
        """Read the clips at some positions, in their order.

        Raises:
            ArtifactError: the store is damaged.
        """
        rows = self.rows[key] if isinstance(key, slice) else self.rows[key.numpy()]
        clips = torch.empty((len(rows), *self._shape))
        for positions in group_by_block(self.store.blocks(rows)):
            fill_batch(self.store, rows[positions], clips.numpy(), positions)
        return clips

    @property
    def _shape(self) -> tuple[int, int, int, int]:
        return 3, self.frames, len(self.store.layout.joints), self.bodies

    @property
    def nbytes(self) -> int:
        """Size that all clips would have in memory."""
        return 4 * len(self) * math.prod(self._shape)


Clips = Tensor | StoredClips


def select(clips: Clips, positions: NDArray[np.int64]) -> Clips:
    """The clips at some positions, in memory or in the store as before."""
    if isinstance(clips, StoredClips):
        return StoredClips(clips.store, clips.rows[positions], clips.frames, clips.bodies)
    return clips[torch.from_numpy(positions)]


def hold(clips: Clips) -> Clips:
    """Read stored clips into memory if they fit into its share for clips; otherwise leave them in the store."""
    if isinstance(clips, StoredClips) and clips.nbytes <= available_memory(HOST) * HOST_SHARE:
        return clips[0 : len(clips)]
    return clips


def read_blocks(clips: Clips) -> Iterator[tuple[int, Tensor]]:
    """Yield blocks of clips with the position of their first clip; stored clips are read ahead in a thread.

    Do not change them: blocks of clips in memory are no copies.
    """
    blocks = ((first, clips[first : first + BLOCK_CLIPS]) for first in range(0, len(clips), BLOCK_CLIPS))
    yield from _read_ahead(clips, blocks)


def read_batches(clips: Clips, batches: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the positions of each batch with its clips; stored clips are read ahead in a thread."""
    yield from _read_ahead(clips, ((positions, clips[positions]) for positions in batches))


def _read_ahead(clips: Clips, items: Generator[Item, None, None]) -> Iterator[Item]:
    return prefetch(items, 1) if isinstance(clips, StoredClips) else items
