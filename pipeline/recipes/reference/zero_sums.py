"""Which numbers sum to zero in 2s-AGCN: what it takes for missing, and so what its preparation hangs on.

Whether numbers that should cancel do so in float32 depends on the order in which numpy adds them, and that on their
order in memory, which is (C, T, V, M) there. Nearly always a sum in any order tells: it is zero when all of its numbers
are, and not when it is large beside their sizes. Only else is numpy asked, of an array that lies as theirs.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.recipes.reference.agcn_kernels import DOUBTFUL, ZERO, weigh, weigh_together


class ZeroSums:
    """The answers for bodies (M, T, V, 3) float32 metres, which must stay as they are while it is asked."""

    def __init__(self, xyz: NDArray[np.float32]) -> None:
        self._xyz = np.ascontiguousarray(xyz)
        M, T = xyz.shape[:2]
        self._sums, self._sizes, self._verdicts = np.empty((M, T)), np.empty((M, T)), np.empty((M, T), np.int8)
        rows = self._xyz.reshape(M * T, -1)
        weigh(rows, self._sums.reshape(-1), self._sizes.reshape(-1), self._verdicts.reshape(-1))

    @cached_property
    def _theirs(self) -> NDArray[np.float32]:
        return self._xyz.transpose(3, 1, 2, 0).copy().transpose(3, 1, 2, 0)

    def nobody(self) -> bool:
        """Whether all bodies sum to zero together."""
        return self._settle(np.s_[:])

    def body(self, m: int, first: int = 0) -> bool:
        """Whether body m sums to zero from frame `first` on."""
        return self._settle(np.s_[m, first:])

    def frames(self, m: int) -> NDArray[np.bool_]:
        """(T,) the frames of body m that sum to zero."""
        zero: NDArray[np.bool_] = self._verdicts[m] == ZERO
        for t in np.flatnonzero(self._verdicts[m] == DOUBTFUL):
            zero[t] = self._theirs[m, t].sum() == 0
        return zero

    def _settle(self, which: slice | tuple[int, slice]) -> bool:
        found = weigh_together(self._sums[which].reshape(-1), self._sizes[which].reshape(-1))
        return bool(found == ZERO or (found == DOUBTFUL and self._theirs[which].sum() == 0))
