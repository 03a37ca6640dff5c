"""The fast encoder's operations on a CPU, with their gradients: compiled loops behind tensors.

Axes: R row, all that is normalised alike; C channel; V joint; W column of mixed joints; E edge.
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
"""Columns of mixed joints come in such multiples, for the matrix products that follow."""


class Edges(NamedTuple):
    """Which joint enters which, by which of the adjacency's matrices; made once for a graph by `edges_of`."""

    places: tuple[Tensor, ...]
    """Three of (E,): matrix, source and target joint, as indices into (K, V, V)."""
    table: NDArray[np.int64]
    """(E, 3) source, target, matrix."""
    matrices: int
    """K."""
    joints: int
    """V."""


def match_torch_threads() -> None:
    """Let the kernels run on as many threads as torch. Starting them changes the number that torch would take."""
    threads = torch.get_num_threads()
    cpu_kernels.use_threads(threads)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def compile_kernels(dtype: torch.dtype, *, dropout: bool) -> float:
    """Compile what a training in some precision needs, unless that lies in numba's cache: seconds, or 0 if it did."""
    match_torch_threads()
    before, began = cpu_kernels.compilation_count(), time.perf_counter()
    norm = BatchNorm1d(2).to(torch.promote_types(dtype, torch.float32))
    edges = find_edges(torch.ones(1, 1, 1))
    weights = torch.ones(1, dtype=norm.weight.dtype, requires_grad=True)
    x = mix(torch.zeros(3, 1, 2, dtype=dtype, requires_grad=True), edges, weights).flatten(0, 1)[:, :2]
    with torch.random.fork_rng(devices=[]):
        for rate in (0.0, 0.5) if dropout else (0.0,):
            x = normalise(normalise(x, norm), norm, residual=x, dropout=rate)
    torch.autograd.backward(x.sum())
    return time.perf_counter() - began if cpu_kernels.compilation_count() > before else 0.0


def find_edges(adjacency: Tensor) -> Edges:
    """The edges of (K, V, V), entry [k, v, w] being the weight with which joint v enters joint w: those not zero."""
    matrix, source, target = np.nonzero(adjacency.cpu().numpy())
    order = np.lexsort((source, matrix, target))
    matrix, source, target = matrix[order], source[order], target[order]
    places = tuple(torch.from_numpy(part) for part in (matrix, source, target))
    return Edges(places, np.stack([source, target, matrix], axis=1), *adjacency.shape[:2])


def mix(x: Tensor, edges: Edges, weights: Tensor) -> Tensor:
    """Mix joints along a skeleton, and a constant one beside them, which a bias becomes a weight of.

    Args:
        x: (R, V, C).
        edges: of the graph.
        weights: (E,) of its edges.

    Returns:
        (R, V, W): K * C mixed channels, the K sums of weights that enter a joint, and zeros up to a multiple of `PAD`.
    """
    mixed: Tensor = _Mix.apply(x, edges, weights)  # type: ignore[no-untyped-call]
    return mixed


def mixed_columns(channels: int, matrices: int) -> int:
    """W of `mix`."""
    return -(-matrices * (channels + 1) // COLUMN_MULTIPLE) * COLUMN_MULTIPLE


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, edges: Edges, weights: Tensor) -> Tensor:
        ctx.save_for_backward(x, weights)
        ctx.edges = edges
        channels = x.shape[2]
        blank = weights.new_zeros(edges.joints, mixed_columns(channels, edges.matrices))
        matrix, _, target = edges.places
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
        to_x, sums = torch.empty_like(x), np.empty((cpu_kernels.CHUNKS, len(weights)))
        ones = edges.table[:, 2] + edges.matrices * channels
        table = edges.table * (1, 1, channels)
        cpu_kernels.mix_backward(_array(gradient), _array(x), table, _array(weights), ones, _array(to_x), sums)
        return to_x, None, torch.from_numpy(sums.sum(axis=0)).to(weights.dtype)


def normalise(
    z: Tensor,
    norm: BatchNorm1d | BatchNorm2d,
    *,
    relu: bool = True,
    dropout: float = 0.0,
    residual: Tensor | None = None,
) -> Tensor:
    """Batch norm, then in training dropout, then a residual added, then ReLU.

    Statistics are those of all ranks, and running ones follow, as in `trainer.batchnorm`.

    Args:
        z: (R, C).
        norm: whose mode, parameters and running statistics these are.
        relu: whether what is below zero becomes zero.
        dropout: share of the normalised values dropped in training, drawn from torch's global generator.
        residual: (R, C), added behind the dropout.

    Returns:
        (R, C) of z's dtype.
    """
    drop = None
    if dropout and norm.training:
        seeds = torch.randint(2**32, (2,)).tolist()
        drop = (*map(np.uint32, seeds), np.uint32(round(dropout * 2**32)), 1 / (1 - dropout))
    done: Tensor = _Normalise.apply(z, norm.weight, norm.bias, norm, relu, drop, residual)  # type: ignore[no-untyped-call]
    return done


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
        ctx.drop, ctx.least = drop and (*drop[:3], compute(drop[3])), compute(0 if relu else -np.inf)
        out = torch.empty_like(z)
        cpu_kernels.batchnorm_forward(
            _array(z),
            _array(scale.to(weight.dtype)),
            _array(shift.to(weight.dtype)),
            ctx.least,
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
        given = _array(gradient), _array(out), ctx.least, _array(z), ctx.drop
        parts = np.empty((cpu_kernels.CHUNKS, 2, z.shape[1]))
        cpu_kernels.batchnorm_backward_sums(*given, parts)
        sums = torch.from_numpy(parts.sum(axis=0))
        to_bias, to_weight = sums[0], (sums[1] - mean * sums[0]) * inverse
        by_bias, by_weight = to_bias.to(weight.dtype), to_weight.to(weight.dtype)
        slope = weight.double() * inverse
        factors = torch.stack([slope, torch.zeros_like(slope), torch.zeros_like(slope)])
        if ctx.count is not None:  # mean and variance were functions of z
            both = torch.stack([to_bias, to_weight])
            if distributed.world_size() > 1:
                distributed.all_reduce_sum(both)
            through_mean, through_var = both / ctx.count
            factors[1] = -slope * inverse * through_var
            factors[2] = -slope * (through_mean - mean * inverse * through_var)
        to_z = torch.empty_like(z)
        to_residual = torch.empty_like(z) if ctx.residual else None
        cpu_kernels.batchnorm_backward(
            *given,
            _array(factors.to(weight.dtype)),
            _array(to_z),
            None if to_residual is None else _array(to_residual),
        )
        return to_z, by_weight, by_bias, None, None, None, to_residual


def _statistics(z: Tensor, norm: BatchNorm1d | BatchNorm2d) -> tuple[Tensor, Tensor, float | None]:
    """Mean and variance (C,) float64 to normalise z (R, C) by, and over how many rows they were taken, if over any.

    In training running statistics follow.
    """
    if not norm.training:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        return norm.running_mean.double(), norm.running_var.double(), None
    parts = np.empty((cpu_kernels.CHUNKS, 2, z.shape[1]))
    cpu_kernels.batchnorm_sums(_array(z), parts)
    sums = torch.from_numpy(np.append(parts.sum(axis=0).ravel(), len(z)))
    if distributed.world_size() > 1:
        distributed.all_reduce_sum(sums)
    count = float(sums[-1])
    mean, square = sums[:-1].view(2, -1) / count
    var = (square - mean.square()).clamp_(min=0)
    update_running_stats(norm, mean, var, count)
    return mean, var, count


def _array(tensor: Tensor) -> NDArray[Any]:
    """The same memory as an array for the kernels."""
    plain = tensor.detach().contiguous()
    return (plain.view(torch.uint16) if plain.dtype == torch.bfloat16 else plain).numpy()
