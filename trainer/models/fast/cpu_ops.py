"""Differentiable CPU operations of the fast encoder: autograd functions around the compiled kernels.

Axes: R row (all axes that are normalised alike); C channel; V joint; W column of mixed joints; E edge.
"""

import time
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainer.models.batchnorm import BatchNorm1d, BatchNorm2d, update_running_stats
from trainer.models.fast import cpu_kernels
from trainer.runtime import distributed

COLUMN_MULTIPLE = 4
"""The number of columns of mixed joints is a multiple of this, for the matrix products that follow."""


class Edges(NamedTuple):
    """The edges of a skeleton graph with their adjacency matrices; see `find_edges`."""

    indices: tuple[Tensor, ...]
    """Three tensors (E,): matrix, source and target joint, as indices into (K, V, V)."""
    table: NDArray[np.int64]
    """(E, 3) source, target, matrix."""
    matrices: int
    """K."""
    joints: int
    """V."""


def match_torch_threads() -> None:
    """Run the kernels on as many threads as torch. Starting them changes torch's own number of threads, so reset it."""
    threads = torch.get_num_threads()
    cpu_kernels.use_threads(threads)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def compile_kernels(dtype: torch.dtype, *, dropout: bool) -> float:
    """Compile the kernels for a precision; return the seconds it took, or 0 if all were in numba's cache."""
    match_torch_threads()
    before, start = cpu_kernels.compilation_count(), time.perf_counter()
    norm = BatchNorm1d(2).to(torch.promote_types(dtype, torch.float32))
    edges = find_edges(torch.ones(1, 1, 1))
    weights = torch.ones(1, dtype=norm.weight.dtype, requires_grad=True)
    x = mix(torch.zeros(3, 1, 2, dtype=dtype, requires_grad=True), edges, weights).flatten(0, 1)[:, :2]
    with torch.random.fork_rng(devices=[]):
        for rate in (0.0, 0.5) if dropout else (0.0,):
            x = normalise(normalise(x, norm), norm, residual=x, dropout=rate)
    torch.autograd.backward(x.sum())
    return time.perf_counter() - start if cpu_kernels.compilation_count() > before else 0.0


def find_edges(adjacency: Tensor) -> Edges:
    """Find the edges of (K, V, V): its non-zero entries. Entry [k, v, w] is the weight of joint v in joint w."""
    matrix, source, target = np.nonzero(adjacency.cpu().numpy())
    order = np.lexsort((source, matrix, target))
    matrix, source, target = matrix[order], source[order], target[order]
    indices = tuple(torch.from_numpy(index) for index in (matrix, source, target))
    return Edges(indices, np.stack([source, target, matrix], axis=1), *adjacency.shape[:2])


def mix(x: Tensor, edges: Edges, weights: Tensor) -> Tensor:
    """Mix joints along a skeleton, and a constant one in extra columns, by which a bias becomes a weight.

    Args:
        x: (R, V, C).
        edges: edges of the graph.
        weights: (E,) weights of the edges.

    Returns:
        (R, V, W): K * C mixed channels, the K sums of the weights of each joint, and zeros up to a multiple of
        `COLUMN_MULTIPLE`.
    """
    mixed: Tensor = _Mix.apply(x, edges, weights)  # type: ignore[no-untyped-call]
    return mixed


def mixed_columns(channels: int, matrices: int) -> int:
    """Return W, the number of columns of `mix`."""
    return -(-matrices * (channels + 1) // COLUMN_MULTIPLE) * COLUMN_MULTIPLE


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, edges: Edges, weights: Tensor) -> Tensor:
        ctx.save_for_backward(x, weights)
        ctx.edges = edges
        channels = x.shape[2]
        blank = weights.new_zeros(edges.joints, mixed_columns(channels, edges.matrices))
        matrix, _, target = edges.indices
        blank.index_put_((target, matrix + edges.matrices * channels), weights, accumulate=True)
        out = x.new_empty(len(x), *blank.shape)
        table = edges.table * (1, 1, channels)
        cpu_kernels.mix(_array(x), table, _array(weights), _array(blank), _array(out))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weights = ctx.saved_tensors
        edges, channels = ctx.edges, x.shape[2]
        grad_x, sums = torch.empty_like(x), np.empty((cpu_kernels.CHUNKS, len(weights)))
        ones = edges.table[:, 2] + edges.matrices * channels
        table = edges.table * (1, 1, channels)
        cpu_kernels.mix_backward(_array(gradient), _array(x), table, _array(weights), ones, _array(grad_x), sums)
        return grad_x, None, torch.from_numpy(sums.sum(axis=0)).to(weights.dtype)


def normalise(
    z: Tensor,
    norm: BatchNorm1d | BatchNorm2d,
    *,
    relu: bool = True,
    dropout: float = 0.0,
    residual: Tensor | None = None,
) -> Tensor:
    """Apply batch norm, dropout (in training), a residual and ReLU, in this order.

    Statistics are those of all ranks, and running statistics are updated, as in trainer/models/batchnorm.py.

    Args:
        z: (R, C).
        norm: supplies mode, parameters and running statistics.
        relu: whether to apply ReLU.
        dropout: dropout rate of the normalised values in training; seeds are drawn from torch's global generator.
        residual: (R, C), added after dropout.

    Returns:
        (R, C) of z's dtype.
    """
    drop = None
    if dropout and norm.training:
        seeds = torch.randint(2**32, (2,)).tolist()
        drop = (*map(np.uint32, seeds), np.uint32(round(dropout * 2**32)), 1 / (1 - dropout))
    normalised: Tensor = _Normalise.apply(z, norm.weight, norm.bias, norm, relu, drop, residual)  # type: ignore[no-untyped-call]
    return normalised


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        weight: Tensor,
        bias: Tensor,
        norm: BatchNorm1d | BatchNorm2d,
        relu: bool,
        drop: tuple[Any, ...] | None,
        residual: Tensor | None,
    ) -> Tensor:
        mean, var, count = _statistics(z, norm)
        inverse = (var + norm.eps).rsqrt()
        scale = weight.double() * inverse
        shift = bias.double() - mean * scale
        compute = _array(weight).dtype.type
        ctx.drop, ctx.minimum = drop and (*drop[:3], compute(drop[3])), compute(0 if relu else -np.inf)
        out = torch.empty_like(z)
        cpu_kernels.batchnorm_forward(
            _array(z),
            _array(scale.to(weight.dtype)),
            _array(shift.to(weight.dtype)),
            ctx.minimum,
            None if residual is None else _array(residual),
            ctx.drop,
            _array(out),
        )
        ctx.save_for_backward(z, out, weight, mean, inverse)
        ctx.count, ctx.residual = count, residual is not None
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        z, out, weight, mean, inverse = ctx.saved_tensors
        inputs = _array(gradient), _array(out), ctx.minimum, _array(z), ctx.drop
        partial_sums = np.empty((cpu_kernels.CHUNKS, 2, z.shape[1]))
        cpu_kernels.batchnorm_backward_sums(*inputs, partial_sums)
        sums = torch.from_numpy(partial_sums.sum(axis=0))
        bias_sum, weight_sum = sums[0], (sums[1] - mean * sums[0]) * inverse
        grad_bias, grad_weight = bias_sum.to(weight.dtype), weight_sum.to(weight.dtype)
        slope = weight.double() * inverse
        factors = torch.stack([slope, torch.zeros_like(slope), torch.zeros_like(slope)])
        if ctx.count is not None:  # mean and variance depend on z
            totals = torch.stack([bias_sum, weight_sum])
            if distributed.world_size() > 1:
                distributed.all_reduce_sum(totals)
            through_mean, through_var = totals / ctx.count
            factors[1] = -slope * inverse * through_var
            factors[2] = -slope * (through_mean - mean * inverse * through_var)
        grad_z = torch.empty_like(z)
        grad_residual = torch.empty_like(z) if ctx.residual else None
        cpu_kernels.batchnorm_backward(
            *inputs,
            _array(factors.to(weight.dtype)),
            _array(grad_z),
            None if grad_residual is None else _array(grad_residual),
        )
        return grad_z, grad_weight, grad_bias, None, None, None, grad_residual


def _statistics(z: Tensor, norm: BatchNorm1d | BatchNorm2d) -> tuple[Tensor, Tensor, float | None]:
    """Return mean and variance (C,) float64 to normalise z (R, C), and the number of rows, or None in evaluation mode.

    In training, running statistics are updated.
    """
    if not norm.training:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        return norm.running_mean.double(), norm.running_var.double(), None
    partial_sums = np.empty((cpu_kernels.CHUNKS, 2, z.shape[1]))
    cpu_kernels.batchnorm_sums(_array(z), partial_sums)
    sums = torch.from_numpy(np.append(partial_sums.sum(axis=0).ravel(), len(z)))
    if distributed.world_size() > 1:
        distributed.all_reduce_sum(sums)
    count = float(sums[-1])
    mean, square = sums[:-1].view(2, -1) / count
    var = (square - mean.square()).clamp_(min=0)
    update_running_stats(norm, mean, var, count)
    return mean, var, count


def _array(tensor: Tensor) -> NDArray[Any]:
    """Return the same memory as an array for the kernels."""
    contiguous = tensor.detach().contiguous()
    return (contiguous.view(torch.uint16) if contiguous.dtype == torch.bfloat16 else contiguous).numpy()
