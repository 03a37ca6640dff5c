"""Stream training clips from the store: memory is bounded by the shuffle buffer, whatever the size of the data set."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.store.batches import fill_batch
from pipeline.store.store import Store
from trainer.data.loader import Batches, group_by_block, to_device
from trainer.data.shuffle import PlannedBatch, Positions, ShuffleOrder

BLOCKS_READ_AHEAD = 4
"""Blocks that each worker reads in advance, in addition to the buffer."""
EpochBlock = tuple[list[PlannedBatch], int, Positions]
"""The steps of an epoch (only with its first block, else empty), the epoch, and the needed positions of one block."""


class StreamedClips:
    """Clips that are read block by block in the order in which a plan needs them, and dropped after use."""

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
        """Prepare a stream without reading anything.

        Args:
            store: store of the clips; each chunk is verified against its checksum when it is read.
            rows: (N,) store rows of the training set.
            order: shuffle order that the plans follow; the clips in its buffer must be held in memory.
            frames: T to which each clip is resized.
            bodies: M.
            batch_size: maximum number of clips per step.
            device: device of the batches.
            workers: threads that read ahead; with 0, a block is read when a step needs it.
        """
        self._store, self._rows, self._blocks = store, rows, order.blocks
        self._device, self._workers = device, workers
        largest_block = int(np.unique(order.blocks, return_counts=True)[1].max())
        # A block may be read for a single clip; the rest of it is held in addition to the buffer.
        blocks_in_flight = 1 + BLOCKS_READ_AHEAD * max(workers, 1)
        self.capacity = min(order.buffer, len(rows)) + batch_size + largest_block * blocks_in_flight
        self._shape = (self.capacity, 3, frames, len(store.layout.joints), bodies)

    @property
    def max_bytes(self) -> int:
        """Maximum size of the clips in memory."""
        return 4 * math.prod(self._shape)

    @property
    def total_bytes(self) -> int:
        """Size that all clips would have in memory."""
        return 4 * len(self._rows) * math.prod(self._shape[1:])

    def iterate(self, planned: Iterable[PlannedBatch]) -> Batches:
        """Yield each planned step with its clips. A plan that starts within an epoch reads only the rest of it."""
        return to_device(self._gather(planned), self._device, self._workers)

    def _gather(self, planned: Iterable[PlannedBatch]) -> Batches:
        with ExitStack() as stack:
            threads = None
            if self._workers:
                threads = ThreadPoolExecutor(self._workers, "stream")
                stack.callback(threads.shutdown, cancel_futures=True)
            clips, max_reads = torch.empty(self._shape), self._workers * BLOCKS_READ_AHEAD
            pool = SlotPool(clips, self._plan_reads(planned), self._read, threads, max_reads, len(self._rows))
            while pool.steps:
                step, epoch, positions = pool.steps.popleft()
                yield step, epoch, positions, pool.get_batch(epoch, positions)

    def _plan_reads(self, planned: Iterable[PlannedBatch]) -> Iterator[EpochBlock]:
        """Yield what an epoch of the plan needs of each block, in order of first use."""
        for epoch, batches in groupby(planned, key=lambda batch: batch[1]):
            steps = list(batches)
            needed = np.concatenate([positions for _, _, positions in steps])
            for indices in sorted(group_by_block(self._blocks[needed]), key=lambda indices: int(indices[0])):
                yield steps, epoch, np.sort(needed[indices])
                steps = []

    def _read(self, positions: Positions, slots: NDArray[np.int64], clips: Tensor) -> None:
        """Read clips of one block into slots of the pool; runs in any thread."""
        fill_batch(self._store, self._rows[positions], clips.numpy(), slots)


class Read(NamedTuple):
    """A started read of one block."""

    epoch: int
    positions: Positions
    """(n,) positions in the training set."""
    slots: NDArray[np.int64]
    """(n,) where in the pool the clips are written."""
    wait: Callable[[], None]
    """Returns when the clips are in their slots; raises the errors of the read."""


class SlotPool:
    """Fixed number of slots in memory for the clips of a plan, filled by reads and freed by batches."""

    def __init__(
        self,
        clips: Tensor,
        blocks: Iterator[EpochBlock],
        read: Callable[[Positions, NDArray[np.int64], Tensor], None],
        threads: ThreadPoolExecutor | None,
        max_reads: int,
        training_clips: int,
    ) -> None:
        """Prepare the pool.

        Args:
            clips: (slots, C, T, V, M) memory of the pool.
            blocks: the blocks to read, in order of first use.
            read: reads the clips at some positions into slots of the pool.
            threads: run the reads; without them, each read runs when it is waited for.
            max_reads: maximum number of reads that are started in advance.
            training_clips: number of clips of the training set.
        """
        self.steps = deque[PlannedBatch]()
        """Remaining steps of the epochs that are being read."""
        self._clips, self._free = clips, list(range(len(clips)))
        self._slots: dict[int, NDArray[np.int64]] = {}  # of each epoch: the slot of each position, -1 if none
        self._blocks, self._read, self._threads = blocks, read, threads
        self._max_reads, self._training_clips = max_reads, training_clips
        self._reads = deque[Read]()
        self._next_read()

    def get_batch(self, epoch: int, positions: Positions) -> Tensor:
        """Return the clips of a step and free their slots; start further reads where there is room."""
        while self._next and len(self._reads) < self._max_reads and len(self._next[1]) <= len(self._free):
            self._start_read()
        while epoch not in self._slots or (self._slots[epoch][positions] < 0).any():
            if not self._reads:
                self._start_read()
            self._wait_for_read()
        slots = self._slots[epoch][positions]
        self._free.extend(slots.tolist())
        self._slots = {other: table for other, table in self._slots.items() if other >= epoch}
        return self._clips[torch.from_numpy(slots)]

    def _start_read(self) -> None:
        """Start the next read."""
        if self._next is None:
            raise ValueError("a step needs a clip that none of the plan's reads contains")
        epoch, positions = self._next
        slots = np.array([self._free.pop() for _ in positions])
        job = partial(self._read, positions, slots, self._clips)
        self._reads.append(Read(epoch, positions, slots, self._threads.submit(job).result if self._threads else job))
        self._next_read()

    def _wait_for_read(self) -> None:
        """Wait for the oldest read."""
        read = self._reads.popleft()
        read.wait()
        self._slots.setdefault(read.epoch, np.full(self._training_clips, -1))[read.positions] = read.slots

    def _next_read(self) -> None:
        """Take the next block from the plan."""
        block = next(self._blocks, None)
        self._next = None if block is None else block[1:]
        if block is not None:
            self.steps.extend(block[0])
