"""Clips as a training takes them, straight from a store's columns: resized to one length, padded, missing joints 0."""

import numpy as np
from numpy.typing import NDArray

from pipeline import prepared_kernels
from pipeline.resample import between
from pipeline.store import Store


def prepare(store: Store, rows: NDArray[np.int64], out: NDArray[np.float32], places: NDArray[np.int64]) -> None:
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
        prepared_kernels.fill(motion, first, T, bodies[n], *between(T, out.shape[2]), out[places[n]])
