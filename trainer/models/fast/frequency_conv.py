"""Temporal convolution in the frequency domain, with a third to a fifth of the multiplications of the direct sum.

A convolution over frames is a product at every frequency. A complex product takes three real products (Gauss's trick),
so 9 taps over 16 frames take 29 matrix products of channels instead of 144. The cosines and sines of all frequencies
are two small matrices, applied before and after. They are orthogonal up to scale, so little accuracy is lost.

Axes: T frame, R row (all axes that are convolved alike), C channel, O output channel, K tap, P product.
"""

from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

MAX_CHUNK_NUMBERS = 1 << 20
"""Maximum number of values in the products of a chunk, so that they fit in the L2 cache; see benchmarks/NOTES.md."""
MIN_CHUNK_ROWS = 256
"""Minimum number of rows per chunk: each chunk adds to the gradient of the weights, which costs time proportional to
their size."""


class FrequencyTransform(NamedTuple):
    """Matrices of y = after @ ((before @ x) * (taps @ w)), for x over T frames and w over K taps."""

    before: Tensor
    """(P, T)."""
    taps: Tensor
    """(P, K)."""
    after: Tensor
    """(T', P)."""
    period: int
    """Length of the circular convolution. The first product is that of the sums; each frame takes 1 / period of it."""


@cache
def frequency_transform(frames: int, kernel: int, stride: int, dtype: torch.dtype) -> FrequencyTransform:
    """Return the matrices of a zero-padded convolution, as `conv1d` with padding kernel // 2.

    The period exceeds the number of frames by kernel // 2, so that values that wrap around end outside the frames.
    """
    period, middle = frames + kernel // 2, kernel // 2
    time = torch.arange(frames, dtype=torch.float64)
    tap = torch.arange(kernel, dtype=torch.float64) - middle
    before, taps, after = list[Tensor](), list[Tensor](), list[Tensor]()
    for frequency in range(period // 2 + 1):
        angle = 2 * torch.pi * frequency / period
        cosine, sine = torch.cos(angle * time), torch.sin(angle * time)
        if 2 * frequency in {0, period}:  # real
            before.append(cosine)
            taps.append(torch.cos(angle * tap))
            after.append(cosine / period)
            continue
        real, imaginary = torch.cos(angle * tap), torch.sin(angle * tap)  # the conjugate, because taps look ahead
        before += [cosine - sine, cosine, -sine]
        taps += [real, imaginary - real, real + imaginary]
        # Real part of the result: first product minus third. Imaginary part: first plus second.
        after += [2 * (cosine - sine) / period, -2 * sine / period, -2 * cosine / period]
    stacked = torch.stack(before), torch.stack(taps), torch.stack(after, dim=1)[::stride]
    return FrequencyTransform(stacked[0].to(dtype), stacked[1].to(dtype), stacked[2].to(dtype).contiguous(), period)


def convolve(x: Tensor, weight: Tensor, bias: Tensor, stride: int, products: torch.dtype | None = None) -> Tensor:
    """Convolve over frames with zero padding, as `conv1d` with padding K // 2.

    Args:
        x: (T, R, C), contiguous.
        weight: (O, C, K, 1), K odd, as in `nn.Conv2d`.
        bias: (O,).
        stride: frames of x per frame of the result.
        products: precision of the channel products; default: that of x, but at least float32.

    Returns:
        (T', R, O) of x's dtype, T' being T / stride rounded up.
    """
    result: Tensor = _Convolve.apply(x, weight, bias, stride, products)  # type: ignore[no-untyped-call]
    return result


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int, products: torch.dtype | None) -> Tensor:
        compute = torch.promote_types(x.dtype, torch.float32)
        matrices = frequency_transform(len(x), weight.shape[2], stride, compute)
        out = x.new_empty(len(matrices.after), x.shape[1], len(weight))
        with torch.autocast(x.device.type, enabled=False):
            spectrum = _apply_along_time(matrices.taps, weight[..., 0].permute(2, 1, 0))
            shift = bias.to(compute) * matrices.period
            for rows in _chunks(x.shape[1], len(matrices.before) * len(weight)):
                product = _multiply(_apply_along_time(matrices.before, x[:, rows]), spectrum, products or compute)
                product[0] += shift
                out[:, rows] = _apply_along_time(matrices.after, product)
        ctx.save_for_backward(x, weight, spectrum)
        ctx.matrices, ctx.products = matrices, products or compute
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, spectrum = ctx.saved_tensors
        before, taps, after, period = ctx.matrices
        grad_x = torch.empty_like(x)
        grad_spectrum, grad_bias = torch.zeros_like(spectrum), spectrum.new_zeros(len(weight))
        for rows in _chunks(x.shape[1], len(before) * len(weight)):
            grad_products = _apply_along_time(after.T, gradient[:, rows])
            grad_bias += grad_products[0].sum(dim=0)
            grad_spectrum += _multiply(
                _apply_along_time(before, x[:, rows]).transpose(1, 2), grad_products, ctx.products
            )
            grad_x[:, rows] = _apply_along_time(
                before.T, _multiply(grad_products, spectrum.transpose(1, 2), ctx.products)
            )
        grad_weight = _apply_along_time(taps.T, grad_spectrum).permute(2, 1, 0)[..., None]
        return grad_x, grad_weight.to(weight.dtype), (grad_bias * period).to(weight.dtype), None, None


def _chunks(rows: int, values_per_row: int) -> list[slice]:
    """Divide rows into chunks of about equal size whose products fit in the cache."""
    chunks = max(1, min(rows * values_per_row // MAX_CHUNK_NUMBERS, rows // MIN_CHUNK_ROWS))
    ends = [rows * chunk // chunks for chunk in range(chunks + 1)]
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _apply_along_time(matrix: Tensor, x: Tensor) -> Tensor:
    """Apply (Q, T) to (T, r, C), which may be a slice of more rows: (Q, r, C) in the precision of the matrix."""
    return (matrix @ x.to(matrix.dtype).flatten(1)).view(len(matrix), *x.shape[1:])


def _multiply(a: Tensor, b: Tensor, precision: torch.dtype) -> Tensor:
    """Multiply (P, r, C) by (P, C, O) in some precision: (P, r, O) in the precision of the inputs."""
    return torch.bmm(a.to(precision), b.to(precision)).to(a.dtype)
