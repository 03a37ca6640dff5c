"""A split's clips, resized to one length, as one tensor; and batches in an order that seed and epoch decide."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.padded import padded
from pipeline.resample import resized
from pipeline.store import Store


def load(store: Store, rows: NDArray[np.int64], frames: int, bodies: int) -> Tensor:
    """Some clips of a store as (N, C, T, V, M) float32 metres, in the order of `rows`; missing is 0.

    Each clip is resized to `frames` by linear interpolation (half-pixel rule); it is itself when it has that many.
    A frame between a present and a missing one counts as missing: no joint is pulled halfway to the origin.

    Raises:
        ArtifactError: the store is damaged.
    """
    store.check()
    wanted = np.full(len(store), -1)
    wanted[rows] = np.arange(len(rows))
    batch = np.empty((len(rows), 3, frames, len(store.layout.joints), bodies), np.float32)
    for row, clip in enumerate(store.clips()):
        if wanted[row] >= 0:
            batch[wanted[row]] = padded(resized(clip, frames), frames, bodies)
    return torch.from_numpy(batch)


def epoch_order(clips: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of a training set's clips in one epoch: a function of its arguments alone."""
    return np.random.default_rng([seed, epoch]).permutation(clips)


def batches(
    clips: int, batch_size: int, seed: int, first_step: int, last_step: int
) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """(step, epoch, places in the training set) of every step from `first_step` on; an epoch's odd rest is left out."""
    per_epoch = clips // batch_size
    order, of_epoch = epoch_order(clips, seed, first_step // per_epoch), first_step // per_epoch
    for step in range(first_step, last_step):
        epoch, place = divmod(step, per_epoch)
        if epoch != of_epoch:
            order, of_epoch = epoch_order(clips, seed, epoch), epoch
        yield step, epoch, order[place * batch_size : (place + 1) * batch_size]
