"""A training set read from its store while it trains: as much in memory as the order's buffer, however large it is."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.store.batches import fill_batch
from pipeline.store.store import Store
from trainer.data.loader import Batches, group_by_block, to_device
from trainer.data.shuffle import PlannedBatch, Positions, ShuffleOrder

BLOCKS_READ_AHEAD = 4
"""Blocks a worker reads before a step asks for them, beside the buffer."""


class StreamedClips:
    """Clips that are read block by block in the order in which a plan first needs them, and dropped once seen."""

    def __init__(
        self,
        store: Store,
        rows: NDArray[np.int64],
        order: ShuffleOrder,
        frames: int,
        bodies: int,
        batch_size: int,
        device: torch.device,
        workers: int,
    ) -> None:
        """Prepare a stream; nothing is read yet.

        Args:
            store: where the clips are; each chunk is held against its checksum when it is read.
            rows: (N,) of the training set.
            order: that the plans follow; its buffer is what must be held.
            frames: T that each clip is resized to.
            bodies: M.
            batch_size: clips a step, at most.
            device: where batches go.
            workers: threads that read ahead; with none a block is read when a step asks for it.
        """
        self._store, self._rows, self._blocks = store, rows, order.blocks
        self._device, self._workers = device, workers
        largest = int(np.unique(order.blocks, return_counts=True)[1].max())
        # A block is read for the sake of one clip; the rest of it comes on top of the buffer.
        self.room = min(order.buffer, len(rows)) + batch_size + largest * (1 + BLOCKS_READ_AHEAD * max(workers, 1))
        self._shape = (self.room, 3, frames, len(store.layout.joints), bodies)

    @property
    def bytes(self) -> int:
        """What the clips in memory take at most."""
        return 4 * math.prod(self._shape)

    @property
    def bytes_whole(self) -> int:
        """What all clips would take."""
        return 4 * len(self._rows) * math.prod(self._shape[1:])

    def iterate(self, planned: Iterable[PlannedBatch]) -> Batches:
        """Each planned step with its clips; a plan that begins in mid-epoch reads only what is left of it."""
        return to_device(self._gathered(planned), self._device, self._workers)

    def _gathered(self, planned: Iterable[PlannedBatch]) -> Batches:
        with ExitStack() as stack:
            threads = None
            if self._workers:
                threads = ThreadPoolExecutor(self._workers, "stream")
                stack.callback(threads.shutdown, cancel_futures=True)
            pool, ahead = torch.empty(self._shape), self._workers * BLOCKS_READ_AHEAD
            held = _Held(pool, self._reads(planned), self._read, threads, ahead, len(self._rows))
            while held.steps:
                step, epoch, places = held.steps.popleft()
                yield step, epoch, places, held.take(epoch, places)

    def _reads(self, planned: Iterable[PlannedBatch]) -> Iterator[tuple[list[PlannedBatch], int, Positions]]:
        """What of each block an epoch of a plan needs, in order of first need; an epoch's steps come with its first."""
        for epoch, together in groupby(planned, key=lambda step: step[1]):
            steps = list(together)
            wanted = np.concatenate([places for _, _, places in steps])
            for which in sorted(group_by_block(self._blocks[wanted]), key=lambda which: int(which[0])):
                yield steps, epoch, np.sort(wanted[which])
                steps = []

    def _read(self, places: Positions, into: NDArray[np.int64], pool: Tensor) -> None:
        """Clips of one block into slots of a pool; runs in any thread."""
        fill_batch(self._store, self._rows[places], pool.numpy(), into)


class _Held:
    """The clips that are in memory while one plan is followed."""

    def __init__(
        self,
        pool: Tensor,
        reads: Iterator[tuple[list[PlannedBatch], int, Positions]],
        read: Callable[[Positions, NDArray[np.int64], Tensor], None],
        threads: ThreadPoolExecutor | None,
        ahead: int,
        clips: int,
    ) -> None:
        self.steps = deque[PlannedBatch]()
        """Steps of the epochs that are being read, the next first."""
        self._pool, self._free = pool, list(range(len(pool)))
        self._slots: dict[int, NDArray[np.int64]] = {}  # of each epoch: where in the pool a place is, -1 nowhere
        self._reads, self._read, self._threads = reads, read, threads
        self._ahead, self._clips = ahead, clips
        self._reading = deque[tuple[int, Positions, NDArray[np.int64], Callable[[], None]]]()
        self._advance()

    def take(self, epoch: int, places: Positions) -> Tensor:
        """The clips of a step, whose slots are free again afterwards; starts to read what comes next."""
        while self._next and len(self._reading) < self._ahead and len(self._next[1]) <= len(self._free):
            self._begin()
        while epoch not in self._slots or (self._slots[epoch][places] < 0).any():
            if not self._reading:
                self._begin()
            self._arrive()
        into = self._slots[epoch][places]
        self._free.extend(into.tolist())
        self._slots = {other: slots for other, slots in self._slots.items() if other >= epoch}
        return self._pool[torch.from_numpy(into)]

    def _begin(self) -> None:
        """Start the next read."""
        if self._next is None:
            raise ValueError("a step has a place that its plan's reads do not bring")
        epoch, places = self._next
        into = np.array([self._free.pop() for _ in places])
        job = partial(self._read, places, into, self._pool)
        self._reading.append((epoch, places, into, self._threads.submit(job).result if self._threads else job))
        self._advance()

    def _arrive(self) -> None:
        """Wait for the oldest read."""
        epoch, places, into, wait = self._reading.popleft()
        wait()
        self._slots.setdefault(epoch, np.full(self._clips, -1))[places] = into

    def _advance(self) -> None:
        coming = next(self._reads, None)
        self._next = None if coming is None else coming[1:]
        if coming is not None:
            self.steps.extend(coming[0])
