"""Clips as a training takes them, straight from a store's columns: resized to one length, padded, missing joints 0."""

import numpy as np
from numpy.typing import NDArray

from pipeline.recipes.steps.resample import frame_pairs
from pipeline.store import batches_kernels
from pipeline.store.store import Store


def fill_batch(store: Store, rows: NDArray[np.int64], out: NDArray[np.float32], places: NDArray[np.int64]) -> None:
    """Put n clips of one block of a store, which is read once, into n places of out (N, C, T, V, M).

    The same bits as `padded(resized(clip, T), T, M)` of each: linear in time by the half-pixel rule, positions in
    metres; a frame between a present and a missing one counts as missing: no joint is pulled halfway to the origin.

    Args:
        store: where the clips are.
        rows: (n,) of one block (`Store.blocks`), or the whole lot between the first and the last of them is read.
        out: float32, any values.
        places: (n,) where in `out` each goes.

    Raises:
        ArtifactError: the store is damaged.
    """
    start, end = int(store.offset[rows.min()]), int(store.offset[rows.max() + 1])
    motion = store.motion(start, end)
    frames, bodies = store.columns["frames"][rows], store.columns["bodies"][rows]
    for n, first in enumerate(store.offset[rows] - start):
        T = int(frames[n])
        batches_kernels.fill_clip(motion, first, T, bodies[n], *frame_pairs(T, out.shape[2]), out[places[n]])


MAX_BODIES = 2
"""M of every array: what every code base of the field expects."""


def pad_clip(clip: NDArray[np.float32], frames: int, bodies: int = MAX_BODIES) -> NDArray[np.float32]:
    """A clip (M', T', V, 3) as (C, T, V, M): absent bodies, missing joints and frames past the end are 0."""
    whole = np.zeros((3, frames, clip.shape[2], bodies), np.float32)
    kept = clip[:bodies].transpose(3, 1, 2, 0)
    whole[:, : clip.shape[1], :, : kept.shape[3]] = np.where(np.isfinite(kept), kept, np.float32(0))
    return whole
