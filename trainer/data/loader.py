"""Load clips from a store, and iterate over batches of clips in memory in a planned order."""

import math
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.store.batches import fill_batch
from pipeline.store.store import Store
from trainer.data.prefetch import prefetch
from trainer.data.shuffle import PlannedBatch, Positions
from trainer.runtime.memory import available_memory, format_bytes

PREFETCHED_BATCHES = 2
"""Batches to prefetch: one in use, one as a buffer against a slow read."""
Batches = Generator[tuple[int, int, Positions, Tensor], None, None]
"""Step, epoch, positions in the training set, and the clips at these positions: (n, C, T, V, M) float32 metres."""


class Clips(Protocol):
    """The clips of a training set, wherever they are stored."""

    def iterate(self, planned: Iterable[PlannedBatch]) -> Batches:
        """Yield each planned step with its clips. Closing the iterator ends its threads."""
        ...


class ResidentClips:
    """All clips in the memory of the training device."""

    def __init__(self, clips: Tensor) -> None:
        self._clips = clips

    def iterate(self, planned: Iterable[PlannedBatch]) -> Batches:
        """Yield each planned step with its clips."""
        for step, epoch, positions in planned:
            yield step, epoch, positions, self._clips[positions]


class HostClips:
    """All clips in host memory. Batches are gathered ahead of the step and copied to the device."""

    def __init__(self, clips: Tensor, device: torch.device, workers: int) -> None:
        self._clips, self._device, self._workers = clips, device, workers

    def iterate(self, planned: Iterable[PlannedBatch]) -> Batches:
        """Yield each planned step with its clips. Without workers, they are gathered on request."""
        gathered = ((step, epoch, positions, self._clips[positions]) for step, epoch, positions in planned)
        return to_device(gathered, self._device, self._workers)


def to_device(batches: Batches, device: torch.device, workers: int) -> Batches:
    """Copy batches to the device: prefetched in a thread if there are workers, through pinned memory for a GPU."""
    if device.type == "cuda":
        batches = _pin(batches)
    if workers:
        batches = prefetch(batches, PREFETCHED_BATCHES)
    with closing(batches):
        for step, epoch, positions, clips in batches:
            yield step, epoch, positions, clips.to(device, non_blocking=True)


def _pin(batches: Batches) -> Batches:
    with closing(batches):
        for step, epoch, positions, clips in batches:
            yield step, epoch, positions, clips.pin_memory()


def load_clips(
    store: Store,
    rows: NDArray[np.int64],
    frames: int,
    bodies: int,
    device: torch.device | None = None,
    on_progress: Callable[[int], None] = lambda clips: None,
) -> Tensor:
    """Load clips of a store as (N, C, T, V, M) float32 metres, in the order of `rows`; missing values are 0.

    Each clip is resized to `frames` by linear interpolation (half-pixel rule), unless it has that many. A frame between
    a present and a missing one counts as missing, so that no joint is pulled halfway to the origin.

    Args:
        store: the store; all its bytes are verified.
        rows: store rows of the clips.
        frames: T.
        bodies: M.
        device: device of the tensor; default: the host. No second copy of all clips is made.
        on_progress: called with the number of clips loaded since the last call.

    Raises:
        ArtifactError: the store is damaged.
        ConfigError: the clips do not fit in the memory.
    """
    store.check()
    shape = (len(rows), 3, frames, len(store.layout.joints), bodies)
    if (needed := 4 * math.prod(shape)) > (free := available_memory(device or torch.device("cpu"))):
        raise ConfigError(
            f"{store.path}: {len(rows):,} clips of {frames:,} frames take {format_bytes(needed)}, {format_bytes(free)} "
            "are available; use a machine with more memory, or a run with fewer frames"
        )
    clips = torch.empty(shape, device=device)
    for positions in group_by_block(store.blocks(rows)):
        if clips.device.type == "cpu":
            fill_batch(store, rows[positions], clips.numpy(), positions)
        else:
            block = np.empty((len(positions), *clips.shape[1:]), np.float32)
            fill_batch(store, rows[positions], block, np.arange(len(positions)))
            clips[torch.from_numpy(positions).to(clips.device)] = torch.from_numpy(block).to(clips.device)
        on_progress(len(positions))
    return clips


def group_by_block(blocks: NDArray[np.int64]) -> list[Positions]:
    """Return the positions of the clips of each block, in the order of blocks."""
    order = np.argsort(blocks, kind="stable")
    return [group for group in np.split(order, np.flatnonzero(np.diff(blocks[order])) + 1) if len(group)]
