"""Compiled CPU kernels of the fast encoder: batch norm fused with dropout, residual and ReLU, and mixing of joints.

Arrays are float64, float32, or bfloat16 stored as its bits in uint16 (numpy has no bfloat16). Arithmetic is in float32
at least. Sums are computed per chunk of rows, for a fixed number of `CHUNKS`, so that their bits do not depend on the
number of threads.

Axes: R row (all axes that are normalised alike); C channel; V joint; W column of mixed joints; E edge.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import prange, types
from numba.extending import overload
from numpy.typing import NDArray

CHUNKS = 64
"""Number of chunks of rows, which are distributed over the threads."""
Dropout = tuple[np.uint32, np.uint32, np.uint32, Any]
"""Dropout: two seeds, how many of the 2**32 hashes drop a value, and the factor for the values that remain."""
Array = NDArray[Any]

numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]  # type: ignore[attr-defined]  # torch's

jit = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
parallel = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"}, parallel=True)


def use_threads(count: int) -> None:
    """Set the number of threads of the kernels, at most all there are."""
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


def widen(stored: Any) -> Any:
    """Convert a stored number to one to compute with."""
    return np.uint32(int(stored) << 16).view(np.float32) if isinstance(stored, np.uint16) else stored


@overload(widen, strict=False)
def _widen(stored: types.Type) -> Callable[[Any], Any]:
    if stored == types.uint16:
        return lambda stored: np.uint32(np.uint32(stored) << np.uint32(16)).view(np.float32)
    return lambda stored: stored


def narrow(value: Any, stored: Any) -> Any:
    """Round a computed number to the type of `stored`: to nearest, ties to even."""
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
    """Return the lower 32 bits of a product."""
    return np.uint32(int(a) * b & 0xFFFFFFFF)


@overload(multiply_low32, strict=False)
def _multiply_low32(a: types.Type, b: types.Type) -> Callable[[Any, Any], Any]:
    return lambda a, b: np.uint32(a * np.uint32(b))


@jit
def survives_dropout(index: Any, drop: Dropout) -> bool:
    """Return whether the value at an index survives dropout, by a hash of index and seeds.

    The hash is `lowbias32` (C. Wellons, Hash Function Prospector, 2018) with a second seed between its two rounds.
    """
    bits = np.uint32(index) ^ drop[0]
    bits = multiply_low32(bits ^ (bits >> np.uint32(16)), 0x7FEB352D) ^ drop[1]
    bits = multiply_low32(bits ^ (bits >> np.uint32(15)), 0x846CA68B)
    return bool((bits ^ (bits >> np.uint32(16))) >= drop[2])


@parallel
def batchnorm_sums(z: Array, sums: NDArray[np.float64]) -> None:
    """Write the sums of z (R, C) and of its squares to `sums` (CHUNKS, 2, C)."""
    rows, channels = z.shape
    for chunk in prange(CHUNKS):
        total, squares = np.zeros(channels), np.zeros(channels)
        for row in range(chunk * rows // CHUNKS, (chunk + 1) * rows // CHUNKS):
            for channel in range(channels):
                value = np.float64(widen(z[row, channel]))
                total[channel] += value
                squares[channel] += value * value
        sums[chunk, 0], sums[chunk, 1] = total, squares


@parallel
def batchnorm_forward(
    z: Array, scale: Array, shift: Array, minimum: Any, residual: Array | None, drop: Dropout | None, out: Array
) -> None:
    """Compute `out` (R, C): dropout(z * scale + shift) + residual, clipped below at `minimum`; scale and shift (C,)."""
    rows, channels = z.shape
    for chunk in prange(CHUNKS):
        for row in range(chunk * rows // CHUNKS, (chunk + 1) * rows // CHUNKS):
            for channel in range(channels):
                value = widen(z[row, channel]) * scale[channel] + shift[channel]
                if drop is not None:
                    value = value * drop[3] if survives_dropout(row * channels + channel, drop) else value * 0
                if residual is not None:
                    value += widen(residual[row, channel])
                value = minimum if value < minimum else value  # in this order, NaN stays NaN
                out[row, channel] = narrow(value, out[row, channel])


@parallel
def batchnorm_backward_sums(
    gradient: Array, out: Array, minimum: Any, z: Array, drop: Dropout | None, sums: NDArray[np.float64]
) -> None:
    """Write the sums of the gradient of the normalised values, and of its product with z, to `sums` (CHUNKS, 2, C)."""
    rows, channels = z.shape
    for chunk in prange(CHUNKS):
        total, times_z = np.zeros(channels), np.zeros(channels)
        for row in range(chunk * rows // CHUNKS, (chunk + 1) * rows // CHUNKS):
            for channel in range(channels):
                value = widen(gradient[row, channel])
                value = value if widen(out[row, channel]) > minimum else value * 0
                if drop is not None:
                    value = value * drop[3] if survives_dropout(row * channels + channel, drop) else value * 0
                total[channel] += value
                times_z[channel] += np.float64(value) * widen(z[row, channel])
        sums[chunk, 0], sums[chunk, 1] = total, times_z


@parallel
def batchnorm_backward(
    gradient: Array,
    out: Array,
    minimum: Any,
    z: Array,
    drop: Dropout | None,
    factors: Array,
    grad_z: Array,
    grad_residual: Array | None,
) -> None:
    """Compute the gradients of z and of the residual from that of `out`.

    With g the gradient of the normalised values, the gradient of z is factors[0] * g + factors[1] * z + factors[2].
    """
    rows, channels = z.shape
    for chunk in prange(CHUNKS):
        for row in range(chunk * rows // CHUNKS, (chunk + 1) * rows // CHUNKS):
            for channel in range(channels):
                value = widen(gradient[row, channel])
                value = value if widen(out[row, channel]) > minimum else value * 0
                if grad_residual is not None:
                    grad_residual[row, channel] = narrow(value, grad_residual[row, channel])
                if drop is not None:
                    value = value * drop[3] if survives_dropout(row * channels + channel, drop) else value * 0
                value = factors[0, channel] * value + factors[1, channel] * widen(z[row, channel]) + factors[2, channel]
                grad_z[row, channel] = narrow(value, grad_z[row, channel])


@parallel
def mix(x: Array, edges: NDArray[np.int64], weights: Array, blank: Array, out: Array) -> None:
    """Sum joints along the edges of the skeleton graph.

    Args:
        x: (R, V, C).
        edges: (E, 3) source joint, target joint, first of C columns; sorted by the last two.
        weights: (E,).
        blank: (V, W), the values of `out` where no edge ends, for every row.
        out: (R, V, W).
    """
    rows, joints, channels = x.shape
    for chunk in prange(CHUNKS):
        mixed = blank.copy()
        for row in range(chunk * rows // CHUNKS, (chunk + 1) * rows // CHUNKS):
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
    grad_x: Array,
    sums: NDArray[np.float64],
) -> None:
    """Compute the gradient of x (R, V, C), and that of the weights, summed per chunk, in `sums` (CHUNKS, E).

    Args:
        gradient: (R, V, W), of the result of `mix`.
        x: (R, V, C).
        edges: (E, 3), see `mix`.
        weights: (E,).
        ones: (E,) the column of each edge in which the constant one was mixed.
        grad_x: (R, V, C).
        sums: (CHUNKS, E).
    """
    rows, joints, channels = x.shape
    for chunk in prange(CHUNKS):
        mixed, grad_weight = np.zeros((joints, channels), weights.dtype), np.zeros(len(edges))
        for row in range(chunk * rows // CHUNKS, (chunk + 1) * rows // CHUNKS):
            mixed[:] = 0
            for edge in range(len(edges)):
                source, target, column = edges[edge]
                weight = weights[edge]
                product = weight * 0 + widen(gradient[row, target, ones[edge]])
                for channel in range(channels):
                    value = widen(gradient[row, target, column + channel])
                    mixed[source, channel] += weight * value
                    product += value * widen(x[row, source, channel])
                grad_weight[edge] += product
            for joint in range(joints):
                for channel in range(channels):
                    grad_x[row, joint, channel] = narrow(mixed[joint, channel], grad_x[row, joint, channel])
        sums[chunk] = grad_weight


KERNELS = batchnorm_sums, batchnorm_forward, batchnorm_backward_sums, batchnorm_backward, mix, mix_backward


def compilation_count() -> int:
    """Return how many kernels were compiled in this process, that is, not loaded from numba's cache."""
    return sum(sum(kernel.stats.cache_misses.values()) for kernel in KERNELS)
