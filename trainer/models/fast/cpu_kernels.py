"""Compiled loops of the fast encoder on a CPU: batch norm with all that stands around it, and the mixing of joints.

Arrays are of float64, float32, or bfloat16 as its bits in uint16, for numpy has no such type; computed is in float32 at
least. Sums are taken over `PARTS` parts of the rows, so that they have the same bits with any number of threads.

Axes: R row, all that is normalised alike; C channel; V joint; W column of mixed joints; E edge.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import prange, types
from numba.extending import overload
from numpy.typing import NDArray

CHUNKS = 64
"""Of the rows, shared out over the threads."""
Dropout = tuple[np.uint32, np.uint32, np.uint32, Any]
"""Dropout: two seeds, how many of 2**32 hashes drop a number, and the factor for those that are kept."""
Array = NDArray[Any]

numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]  # type: ignore[attr-defined]  # torch's

jit = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
parallel = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"}, parallel=True)


def use_threads(count: int) -> None:
    """Run on so many threads from here on, or on all there are."""
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


def widen(stored: Any) -> Any:
    """A stored number as one to compute with."""
    return np.uint32(int(stored) << 16).view(np.float32) if isinstance(stored, np.uint16) else stored


@overload(widen, strict=False)
def _widen(stored: types.Type) -> Callable[[Any], Any]:
    if stored == types.uint16:
        return lambda stored: np.uint32(np.uint32(stored) << np.uint32(16)).view(np.float32)
    return lambda stored: stored


def narrow(value: Any, stored: Any) -> Any:
    """A computed number as one to be stored where `stored` stands: the nearest, of two the even one."""
    if not isinstance(stored, np.uint16):
        return value
    if np.isnan(value):
        return np.uint16(0x7FC0)
    bits = int(np.float32(value).view(np.uint32))
    return np.uint16(bits + 0x7FFF + (bits >> 16 & 1) >> 16)


@overload(narrow, strict=False)
def _narrow(value: types.Type, stored: types.Type) -> Callable[[Any, Any], Any]:
    if stored != types.uint16:
        return lambda value, stored: value

    def nearest(value: Any, stored: Any) -> Any:
        bits = np.float32(value).view(np.uint32)
        rounded = np.uint32(bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)))
        return np.uint16(0x7FC0) if value != value else np.uint16(rounded >> np.uint32(16))

    return nearest


def multiply_low32(a: Any, b: int) -> Any:
    """The lower 32 bits of a product."""
    return np.uint32(int(a) * b & 0xFFFFFFFF)


@overload(multiply_low32, strict=False)
def _multiply_low32(a: types.Type, b: types.Type) -> Callable[[Any, Any], Any]:
    return lambda a, b: np.uint32(a * np.uint32(b))


@jit
def survives_dropout(at: Any, drop: Dropout) -> bool:
    """Whether the number at a place, counted from 0, survives dropout: a hash of place and seeds against the share.

    The hash is `lowbias32` (C. Wellons, Hash Function Prospector, 2018) with a second seed between its two rounds.
    """
    bits = np.uint32(at) ^ drop[0]
    bits = multiply_low32(bits ^ (bits >> np.uint32(16)), 0x7FEB352D) ^ drop[1]
    bits = multiply_low32(bits ^ (bits >> np.uint32(15)), 0x846CA68B)
    return bool((bits ^ (bits >> np.uint32(16))) >= drop[2])


@parallel
def batchnorm_sums(z: Array, sums: NDArray[np.float64]) -> None:
    """Sums of z (R, C) and of its squares into `sums` (PARTS, 2, C)."""
    rows, channels = z.shape
    for part in prange(CHUNKS):
        total, squares = np.zeros(channels), np.zeros(channels)
        for row in range(part * rows // CHUNKS, (part + 1) * rows // CHUNKS):
            for channel in range(channels):
                value = np.float64(widen(z[row, channel]))
                total[channel] += value
                squares[channel] += value * value
        sums[part, 0], sums[part, 1] = total, squares


@parallel
def batchnorm_forward(
    z: Array, scale: Array, shift: Array, least: Any, residual: Array | None, drop: Dropout | None, out: Array
) -> None:
    """`out` = z * scale + shift, dropped or kept, plus the residual, at least `least`: (R, C), scale and shift (C,)."""
    rows, channels = z.shape
    for part in prange(CHUNKS):
        for row in range(part * rows // CHUNKS, (part + 1) * rows // CHUNKS):
            for channel in range(channels):
                value = widen(z[row, channel]) * scale[channel] + shift[channel]
                if drop is not None:
                    value = value * drop[3] if survives_dropout(row * channels + channel, drop) else value * 0
                if residual is not None:
                    value += widen(residual[row, channel])
                value = least if value < least else value  # so that what is no number stays none
                out[row, channel] = narrow(value, out[row, channel])


@parallel
def batchnorm_backward_sums(
    gradient: Array, out: Array, least: Any, z: Array, drop: Dropout | None, sums: NDArray[np.float64]
) -> None:
    """Sums of the gradient by `finish`'s normalised values, and of it times z, into `sums` (PARTS, 2, C)."""
    rows, channels = z.shape
    for part in prange(CHUNKS):
        total, by_z = np.zeros(channels), np.zeros(channels)
        for row in range(part * rows // CHUNKS, (part + 1) * rows // CHUNKS):
            for channel in range(channels):
                value = widen(gradient[row, channel])
                value = value if widen(out[row, channel]) > least else value * 0
                if drop is not None:
                    value = value * drop[3] if survives_dropout(row * channels + channel, drop) else value * 0
                total[channel] += value
                by_z[channel] += np.float64(value) * widen(z[row, channel])
        sums[part, 0], sums[part, 1] = total, by_z


@parallel
def batchnorm_backward(
    gradient: Array,
    out: Array,
    least: Any,
    z: Array,
    drop: Dropout | None,
    factors: Array,
    to_z: Array,
    to_residual: Array | None,
) -> None:
    """The gradient by z, from that by `out`: factors (3, C) times itself, z and one; and that by the residual."""
    rows, channels = z.shape
    for part in prange(CHUNKS):
        for row in range(part * rows // CHUNKS, (part + 1) * rows // CHUNKS):
            for channel in range(channels):
                value = widen(gradient[row, channel])
                value = value if widen(out[row, channel]) > least else value * 0
                if to_residual is not None:
                    to_residual[row, channel] = narrow(value, to_residual[row, channel])
                if drop is not None:
                    value = value * drop[3] if survives_dropout(row * channels + channel, drop) else value * 0
                value = factors[0, channel] * value + factors[1, channel] * widen(z[row, channel]) + factors[2, channel]
                to_z[row, channel] = narrow(value, to_z[row, channel])


@parallel
def mix(x: Array, edges: NDArray[np.int64], weights: Array, blank: Array, out: Array) -> None:
    """Add up joints along edges.

    Args:
        x: (R, V, C).
        edges: (E, 3) source joint, target joint, first of C columns, rising in the last two.
        weights: (E,).
        blank: (V, W), what `out` holds where no edge leads, for every row.
        out: (R, V, W).
    """
    rows, joints, channels = x.shape
    for part in prange(CHUNKS):
        mixed = blank.copy()
        for row in range(part * rows // CHUNKS, (part + 1) * rows // CHUNKS):
            for edge in range(len(edges)):
                source, target, column = edges[edge]
                weight = weights[edge]
                if edge and edges[edge - 1, 1] == target and edges[edge - 1, 2] == column:
                    for channel in range(channels):
                        mixed[target, column + channel] += weight * widen(x[row, source, channel])
                else:
                    for channel in range(channels):
                        mixed[target, column + channel] = weight * widen(x[row, source, channel])
            for joint in range(joints):
                for column in range(mixed.shape[1]):
                    out[row, joint, column] = narrow(mixed[joint, column], out[row, joint, column])


@parallel
def mix_backward(
    gradient: Array,
    x: Array,
    edges: NDArray[np.int64],
    weights: Array,
    ones: NDArray[np.int64],
    to_x: Array,
    sums: NDArray[np.float64],
) -> None:
    """The gradients by x (R, V, C) and, added up over rows, by the weights into `sums` (PARTS, E).

    Args:
        gradient: (R, V, W), by `mix`'s result.
        x: (R, V, C).
        edges: (E, 3), as for `mix`.
        weights: (E,).
        ones: (E,) the column of each edge in which a constant one was mixed.
        to_x: (R, V, C).
        sums: (PARTS, E).
    """
    rows, joints, channels = x.shape
    for part in prange(CHUNKS):
        mixed, by_weight = np.zeros((joints, channels), weights.dtype), np.zeros(len(edges))
        for row in range(part * rows // CHUNKS, (part + 1) * rows // CHUNKS):
            mixed[:] = 0
            for edge in range(len(edges)):
                source, target, column = edges[edge]
                weight = weights[edge]
                product = weight * 0 + widen(gradient[row, target, ones[edge]])
                for channel in range(channels):
                    value = widen(gradient[row, target, column + channel])
                    mixed[source, channel] += weight * value
                    product += value * widen(x[row, source, channel])
                by_weight[edge] += product
            for joint in range(joints):
                for channel in range(channels):
                    to_x[row, joint, channel] = narrow(mixed[joint, channel], to_x[row, joint, channel])
        sums[part] = by_weight


KERNELS = batchnorm_sums, batchnorm_forward, batchnorm_backward_sums, batchnorm_backward, mix, mix_backward


def compilation_count() -> int:
    """How often kernels were compiled in this process, and not found in numba's cache."""
    return sum(sum(kernel.stats.cache_misses.values()) for kernel in KERNELS)
