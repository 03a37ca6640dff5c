"""A split's clips, resized to one length: all of them as one tensor, or batch by batch in a planned order."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.store.batches import fill_batch
from pipeline.store.store import Store
from trainer.data.prefetch import prefetch
from trainer.data.shuffle import PlannedBatch, Positions

PREFETCHED_BATCHES = 2
"""Batches that wait for the step: one that is used next, and one that makes up for a slow one."""
Batches = Generator[tuple[int, int, Positions, Tensor], None, None]
"""Each step of a plan with the clips at its places, (n, C, T, V, M) float32 metres."""


class Clips(Protocol):
    """A training set's clips, wherever they lie."""

    def iterate(self, planned: Iterable[PlannedBatch]) -> Batches:
        """Each step of a plan with its clips; closing the iterator ends what it has running."""
        ...


class ResidentClips:
    """All clips in the memory of the device that trains."""

    def __init__(self, clips: Tensor) -> None:
        self._clips = clips

    def iterate(self, planned: Iterable[PlannedBatch]) -> Batches:
        """Each planned step with its clips."""
        for step, epoch, places in planned:
            yield step, epoch, places, self._clips[places]


class HostClips:
    """All clips in the host's memory; batches are gathered ahead of the step and copied to the device."""

    def __init__(self, clips: Tensor, device: torch.device, workers: int) -> None:
        self._clips, self._device, self._workers = clips, device, workers

    def iterate(self, planned: Iterable[PlannedBatch]) -> Batches:
        """Each planned step with its clips; without workers they are gathered when they are asked for."""
        gathered = ((step, epoch, places, self._clips[places]) for step, epoch, places in planned)
        return to_device(gathered, self._device, self._workers)


def to_device(batches: Batches, device: torch.device, workers: int) -> Batches:
    """Batches on the device: made in a thread ahead of the step when there are workers, pinned on the way to a GPU."""
    if device.type == "cuda":
        batches = _pinned(batches)
    if workers:
        batches = prefetch(batches, PREFETCHED_BATCHES)
    with closing(batches):
        for step, epoch, places, clips in batches:
            yield step, epoch, places, clips.to(device, non_blocking=True)


def _pinned(batches: Batches) -> Batches:
    with closing(batches):
        for step, epoch, places, clips in batches:
            yield step, epoch, places, clips.pin_memory()


def load_clips(
    store: Store,
    rows: NDArray[np.int64],
    frames: int,
    bodies: int,
    device: torch.device | None = None,
    done: Callable[[int], None] = lambda clips: None,
) -> Tensor:
    """Some clips of a store as (N, C, T, V, M) float32 metres, in the order of `rows`; missing is 0.

    Each clip is resized to `frames` by linear interpolation (half-pixel rule); it is itself when it has that many.
    A frame between a present and a missing one counts as missing: no joint is pulled halfway to the origin.

    Args:
        store: read and checked to its last byte.
        rows: which clips.
        frames: T.
        bodies: M.
        device: where the tensor lies, the host when not given; no second copy of all is made on the way.
        done: is told of so many more clips.

    Raises:
        ArtifactError: the store is damaged.
    """
    store.check()
    clips = torch.empty((len(rows), 3, frames, len(store.layout.joints), bodies), device=device)
    for places in group_by_block(store.blocks(rows)):
        if clips.device.type == "cpu":
            fill_batch(store, rows[places], clips.numpy(), places)
        else:
            block = np.empty((len(places), *clips.shape[1:]), np.float32)
            fill_batch(store, rows[places], block, np.arange(len(places)))
            clips[torch.from_numpy(places).to(clips.device)] = torch.from_numpy(block).to(clips.device)
        done(len(places))
    return clips


def group_by_block(blocks: NDArray[np.int64]) -> list[Positions]:
    """Places that share a block, block after block."""
    order = np.argsort(blocks, kind="stable")
    return [places for places in np.split(order, np.flatnonzero(np.diff(blocks[order])) + 1) if len(places)]
