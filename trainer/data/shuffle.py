"""In which order a training set's clips are seen: a function of seed, epoch and store, that a stream can follow.

Neighbours in a store are alike: one person, one camera, or one class. What the order may use of the store is its blocks
(`Store.blocks`), which are read as a whole. Each epoch draws an order of the blocks and lets their clips run, block
after block, through a buffer: each clip that comes in takes the place of one drawn at random, which is seen next. So
whoever follows the order holds at most the buffer and a block at a time, and reads every block once. A training set
that fits in the buffer is simply permuted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
"""Places of clips in a training set, from 0."""
PlannedBatch = tuple[int, int, Positions]
"""Step, epoch, and the places in the training set that the step sees."""


@dataclass(frozen=True, slots=True)
class ShuffleOrder:
    """The order of every epoch of one training."""

    blocks: NDArray[np.int64]
    """(N,) which block of the store holds each clip of the training set."""
    buffer: int
    """Clips that are mixed with each other."""
    seed: int

    def epoch_order(self, epoch: int) -> Positions:
        """(N,) every place once, in the order of an epoch, from 0."""
        rng = np.random.default_rng([self.seed, epoch])
        clips = len(self.blocks)
        if clips <= self.buffer:
            return rng.permutation(clips)
        names, of_name = np.unique(self.blocks, return_inverse=True)
        coming = np.argsort(rng.permutation(len(names))[of_name], kind="stable")
        return np.array(_shuffle_through_buffer(coming, self.buffer, rng), np.int64)


def _shuffle_through_buffer(coming: Positions, buffer: int, rng: np.random.Generator) -> list[int]:
    """What a buffer gives back of what comes in: a clip for each that finds it full, the rest at random at the end."""
    held, seen = coming[:buffer].tolist(), []
    leaving = rng.integers(buffer, size=len(coming) - buffer).tolist()
    for place, clip in zip(leaving, coming[buffer:].tolist(), strict=True):
        seen.append(held[place])
        held[place] = clip
    return seen + [held[place] for place in rng.permutation(buffer).tolist()]


def plan_batches(order: ShuffleOrder, batch_size: int, first_step: int, last_step: int) -> Iterator[PlannedBatch]:
    """The plan of every step from `first_step` on; an epoch's odd rest is left out."""
    per_epoch = len(order.blocks) // batch_size
    places, of_epoch = np.empty(0, np.int64), -1
    for step in range(first_step, last_step):
        epoch, batch = divmod(step, per_epoch)
        if epoch != of_epoch:
            places, of_epoch = order.epoch_order(epoch), epoch
        yield step, epoch, places[batch * batch_size : (batch + 1) * batch_size]
