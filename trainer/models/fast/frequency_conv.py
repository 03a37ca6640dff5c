"""Convolution along time by way of frequencies: a third to a fifth of the multiplications of the direct sum.

A convolution over frames is a product at every frequency. A complex product takes three real ones (Gauss's trick), so
9 taps over 16 frames take 29 matrix products of channels in place of 144; cosines and sines of all frequencies are two
small matrices, applied before and after. They are orthogonal but for scale, so little accuracy is lost.

Axes: T frame, R everything that is convolved alike, C channel, O output channel, K tap, P product.
"""

from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

MAX_CHUNK_NUMBERS = 1 << 20
"""Numbers in the products held at a time, which then stay in the second-level cache; see benchmarks/NOTES.md."""
MIN_CHUNK_ROWS = 256
"""Rows of a chunk all the same: the weights' gradient is added up chunk by chunk, and is as large as they are."""


class FrequencyTransform(NamedTuple):
    """y = after @ ((before @ x) * (taps @ w)), for x over T frames and w over K taps."""

    before: Tensor
    """(P, T)."""
    taps: Tensor
    """(P, K)."""
    after: Tensor
    """(T', P)."""
    places: int
    """Of the circle; the first product is that of the sums, and counts one over these in every frame."""


@cache
def frequency_transform(frames: int, kernel: int, stride: int, dtype: torch.dtype) -> FrequencyTransform:
    """The matrices of a convolution with zeros beyond both ends, as `conv1d` has it with padding kernel // 2.

    The circle has kernel // 2 more places than frames: what goes round it ends beyond the frames.
    """
    places, middle = frames + kernel // 2, kernel // 2
    time = torch.arange(frames, dtype=torch.float64)
    tap = torch.arange(kernel, dtype=torch.float64) - middle
    before, taps, after = list[Tensor](), list[Tensor](), list[Tensor]()
    for frequency in range(places // 2 + 1):
        turn = 2 * torch.pi * frequency / places
        cosine, sine = torch.cos(turn * time), torch.sin(turn * time)
        if 2 * frequency in {0, places}:  # real
            before.append(cosine)
            taps.append(torch.cos(turn * tap))
            after.append(cosine / places)
            continue
        real, imaginary = torch.cos(turn * tap), torch.sin(turn * tap)  # the conjugate: a tap looks ahead
        before += [cosine - sine, cosine, -sine]
        taps += [real, imaginary - real, real + imaginary]
        # Of the result, the real part is the first product less the third, the imaginary part the first and the second.
        after += [2 * (cosine - sine) / places, -2 * sine / places, -2 * cosine / places]
    stacked = torch.stack(before), torch.stack(taps), torch.stack(after, dim=1)[::stride]
    return FrequencyTransform(stacked[0].to(dtype), stacked[1].to(dtype), stacked[2].to(dtype).contiguous(), places)


def convolve(x: Tensor, weight: Tensor, bias: Tensor, stride: int, products: torch.dtype | None = None) -> Tensor:
    """Convolve over frames, zeros beyond both ends, as `conv1d` does with padding K // 2.

    Args:
        x: (T, R, C), contiguous.
        weight: (O, C, K, 1), K odd, as `nn.Conv2d` has it.
        bias: (O,).
        stride: frames of x for one of the result.
        products: in what precision channels are multiplied; in x's, float32 at least, when not given.

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
            spectrum = _along_time(matrices.taps, weight[..., 0].permute(2, 1, 0))
            shift = bias.to(compute) * matrices.places
            for rows in _chunks(x.shape[1], len(matrices.before) * len(weight)):
                product = _multiply(_along_time(matrices.before, x[:, rows]), spectrum, products or compute)
                product[0] += shift
                out[:, rows] = _along_time(matrices.after, product)
        ctx.save_for_backward(x, weight, spectrum)
        ctx.matrices, ctx.products = matrices, products or compute
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, spectrum = ctx.saved_tensors
        before, taps, after, places = ctx.matrices
        to_x = torch.empty_like(x)
        to_spectrum, to_bias = torch.zeros_like(spectrum), spectrum.new_zeros(len(weight))
        for rows in _chunks(x.shape[1], len(before) * len(weight)):
            given = _along_time(after.T, gradient[:, rows])
            to_bias += given[0].sum(dim=0)
            to_spectrum += _multiply(_along_time(before, x[:, rows]).transpose(1, 2), given, ctx.products)
            to_x[:, rows] = _along_time(before.T, _multiply(given, spectrum.transpose(1, 2), ctx.products))
        to_weight = _along_time(taps.T, to_spectrum).permute(2, 1, 0)[..., None]
        return to_x, to_weight.to(weight.dtype), (to_bias * places).to(weight.dtype), None, None


def _chunks(rows: int, numbers_each: int) -> list[slice]:
    """Consecutive rows whose products fit into the cache, of about equal number."""
    pieces = max(1, min(rows * numbers_each // MAX_CHUNK_NUMBERS, rows // MIN_CHUNK_ROWS))
    ends = [rows * piece // pieces for piece in range(pieces + 1)]
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _along_time(matrix: Tensor, x: Tensor) -> Tensor:
    """(Q, T) applied to (T, r, C), rows of which may be any of more: (Q, r, C), in the matrix's precision."""
    return (matrix @ x.to(matrix.dtype).flatten(1)).view(len(matrix), *x.shape[1:])


def _multiply(a: Tensor, b: Tensor, precision: torch.dtype) -> Tensor:
    """(P, r, C) times (P, C, O) in some precision: (P, r, O) in theirs."""
    return torch.bmm(a.to(precision), b.to(precision)).to(a.dtype)
