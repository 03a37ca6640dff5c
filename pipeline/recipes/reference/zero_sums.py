"""Find float32 sums that are exactly zero in 2s-AGCN, where such bodies, frames and joints are missing.

Whether numbers that should cancel do so in float32 depends on the order in which numpy adds them, and that depends on
their order in memory, which is (C, T, V, M) in 2s-AGCN. Nearly always a sum in any order is enough: it is zero if all
numbers are zero, and nonzero if it is large compared with their absolute values. In the remaining cases numpy sums an
array with the same memory layout.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.recipes.reference.agcn_kernels import DOUBTFUL, ZERO, sum_of_sums, sum_rows


class ZeroSums:
    """Tests for zero sums in bodies (M, T, V, 3), float32 metres; the array must not change in the meantime."""

    def __init__(self, xyz: NDArray[np.float32]) -> None:
        self._xyz = np.ascontiguousarray(xyz)
        M, T = xyz.shape[:2]
        self._sums, self._sizes, self._verdicts = np.empty((M, T)), np.empty((M, T)), np.empty((M, T), np.int8)
        rows = self._xyz.reshape(M * T, -1)
        sum_rows(rows, self._sums.reshape(-1), self._sizes.reshape(-1), self._verdicts.reshape(-1))

    @cached_property
    def _in_agcn_order(self) -> NDArray[np.float32]:
        """The bodies with the memory layout of 2s-AGCN."""
        return self._xyz.transpose(3, 1, 2, 0).copy().transpose(3, 1, 2, 0)

    def nobody(self) -> bool:
        """Whether the sum over all bodies is zero."""
        return self._is_zero(np.s_[:])

    def body(self, m: int, first: int = 0) -> bool:
        """Whether the sum over body m, from frame `first` on, is zero."""
        return self._is_zero(np.s_[m, first:])

    def frames(self, m: int) -> NDArray[np.bool_]:
        """Return (T,): whether each frame of body m sums to zero."""
        zero: NDArray[np.bool_] = self._verdicts[m] == ZERO
        for t in np.flatnonzero(self._verdicts[m] == DOUBTFUL):
            zero[t] = self._in_agcn_order[m, t].sum() == 0
        return zero

    def _is_zero(self, index: slice | tuple[int, slice]) -> bool:
        verdict = sum_of_sums(self._sums[index].reshape(-1), self._sizes[index].reshape(-1))
        return bool(verdict == ZERO or (verdict == DOUBTFUL and self._in_agcn_order[index].sum() == 0))
