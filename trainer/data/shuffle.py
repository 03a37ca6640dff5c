"""Shuffle order of training clips: a function of seed, epoch and store that can be streamed.

Neighbouring clips in a store are similar: same person, camera or class. The order depends on the store only through its
blocks (`Store.blocks`), which are read as a whole. Each epoch draws an order of the blocks and passes their clips, one
block after another, through a shuffle buffer: each incoming clip replaces a random clip of the buffer, which comes next
in the order. A stream that follows the order therefore holds at most the buffer and one block, and reads every block
once. A training set that fits in the buffer is fully permuted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
"""Positions of clips in a training set, from 0."""
PlannedBatch = tuple[int, int, Positions]
"""Step, epoch, and the positions of the step's clips in the training set."""


@dataclass(frozen=True, slots=True)
class ShuffleOrder:
    """The order of clips in every epoch of a training run."""

    blocks: NDArray[np.int64]
    """(N,) the block of the store that holds each clip of the training set."""
    buffer: int
    """Size of the shuffle buffer in clips."""
    seed: int

    def epoch_order(self, epoch: int) -> Positions:
        """Return the order of an epoch (from 0): (N,), every position once."""
        rng = np.random.default_rng([self.seed, epoch])
        clips = len(self.blocks)
        if clips <= self.buffer:
            return rng.permutation(clips)
        unique, inverse = np.unique(self.blocks, return_inverse=True)
        incoming = np.argsort(rng.permutation(len(unique))[inverse], kind="stable")
        return np.array(_shuffle_through_buffer(incoming, self.buffer, rng), np.int64)


def _shuffle_through_buffer(incoming: Positions, buffer: int, rng: np.random.Generator) -> list[int]:
    """Return the clips in the order in which they leave a full buffer, followed by its permuted rest."""
    contents, order = incoming[:buffer].tolist(), []
    slots = rng.integers(buffer, size=len(incoming) - buffer).tolist()
    for slot, clip in zip(slots, incoming[buffer:].tolist(), strict=True):
        order.append(contents[slot])
        contents[slot] = clip
    return order + [contents[slot] for slot in rng.permutation(buffer).tolist()]


def plan_batches(order: ShuffleOrder, batch_size: int, first_step: int, last_step: int) -> Iterator[PlannedBatch]:
    """Yield the batch of every step in [first_step, last_step). An incomplete last batch of an epoch is dropped."""
    per_epoch = len(order.blocks) // batch_size
    positions, current_epoch = np.empty(0, np.int64), -1
    for step in range(first_step, last_step):
        epoch, batch = divmod(step, per_epoch)
        if epoch != current_epoch:
            positions, current_epoch = order.epoch_order(epoch), epoch
        yield step, epoch, positions[batch * batch_size : (batch + 1) * batch_size]
