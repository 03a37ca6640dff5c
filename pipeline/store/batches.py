"""Training batches straight from the columns of a store: clips resized to one length, padded, missing joints 0."""

import numpy as np
from numpy.typing import NDArray

from pipeline.skeleton.frame_rate import frame_pairs
from pipeline.store import batches_kernels
from pipeline.store.store import Store


def fill_batch(store: Store, rows: NDArray[np.int64], out: NDArray[np.float32], indices: NDArray[np.int64]) -> None:
    """Write n clips of one block of a store, which is read once, to n indices of out (N, C, T, V, M).

    The same bits as `pad_clip(resized(clip, T), T, M)` of each: linear interpolation in time by the half-pixel rule,
    positions in metres. A frame between a present and a missing one is missing: no joint is pulled towards the origin.

    Args:
        store: where the clips are.
        rows: (n,) of one block (`Store.blocks`); everything between the first and the last row is read.
        out: float32, any values.
        indices: (n,) the index in `out` of each clip.

    Raises:
        ArtifactError: the store is damaged.
    """
    start, end = int(store.offset[rows.min()]), int(store.offset[rows.max() + 1])
    motion = store.motion(start, end)
    frames, bodies = store.columns["frames"][rows], store.columns["bodies"][rows]
    for n, first in enumerate(store.offset[rows] - start):
        T = int(frames[n])
        batches_kernels.fill_clip(motion, first, T, bodies[n], *frame_pairs(T, out.shape[2]), out[indices[n]])


MAX_BODIES = 2
"""M of every array, as all code bases of the field expect."""


def pad_clip(clip: NDArray[np.float32], frames: int, bodies: int = MAX_BODIES) -> NDArray[np.float32]:
    """Return a clip (M', T', V, 3) as (C, T, V, M): absent bodies, missing joints and frames after the end are 0."""
    padded = np.zeros((3, frames, clip.shape[2], bodies), np.float32)
    present = clip[:bodies].transpose(3, 1, 2, 0)
    padded[:, : clip.shape[1], :, : present.shape[3]] = np.where(np.isfinite(present), present, np.float32(0))
    return padded
