"""Synchronised batch norm: training statistics over all ranks, on CPUs and GPUs.

With a single rank it is torch's batch norm, bit for bit. torch's SyncBatchNorm supports GPUs only.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from trainer.runtime import distributed


class BatchNorm1d(nn.BatchNorm1d):
    """Batch norm of (B, C) or (B, C, L)."""

    def __init__(self, features: int) -> None:
        super().__init__(features)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Normalise as torch does, over the batches of all ranks. Their sizes may differ but not be zero."""
        return (
            _normalise_over_ranks(self, input)
            if self.training and distributed.world_size() > 1
            else super().forward(input)
        )


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm of (B, C, H, W)."""

    def __init__(self, features: int) -> None:
        super().__init__(features)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Normalise as torch does, over the batches of all ranks. Their sizes may differ but not be zero."""
        return (
            _normalise_over_ranks(self, input)
            if self.training and distributed.world_size() > 1
            else super().forward(input)
        )


def _normalise_over_ranks(norm: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Normalise by the statistics of all ranks, and update the running statistics."""
    assert norm.running_mean is not None
    mean, var, count = _statistics(x.detach(), norm.running_mean.dtype)
    update_running_stats(norm, mean, var, count)
    normalised: Tensor = _Normalise.apply(x, norm.weight, norm.bias, mean, var, count, norm.eps)  # type: ignore[no-untyped-call]
    return normalised


@torch.no_grad()
def update_running_stats(
    norm: nn.BatchNorm1d | nn.BatchNorm2d, mean: Tensor, var: Tensor, count: Tensor | float
) -> None:
    """Update running statistics with the mean and variance (C,) of `count` values; the stored variance is unbiased."""
    assert norm.num_batches_tracked is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.num_batches_tracked.add_(1)
    weight = norm.momentum if norm.momentum is not None else 1.0 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), weight)
    norm.running_var.lerp_((var * (count / (count - 1))).to(norm.running_var.dtype), weight)


def _statistics(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (C,), variance (C,) and count () over all ranks, combined as in Chan et al. (1979).

    They are combined in float64 and in the same order everywhere, so that all ranks have the same bits.
    """
    axes = [axis for axis in range(x.ndim) if axis != 1]
    var, mean = torch.var_mean(x.to(torch.promote_types(x.dtype, torch.float32)), axes, correction=0)
    count = x.numel() // x.shape[1]
    local = torch.cat([mean.double(), var.double() * count, mean.new_tensor([count], dtype=torch.float64)])
    means, squares, counts = torch.split(distributed.all_gather(local), [len(mean), len(mean), 1], dim=1)
    total = counts.sum()
    joint = (counts * means).sum(dim=0) / total
    joint_var = (squares + counts * (means - joint).square()).sum(dim=0) / total
    return joint.to(dtype), joint_var.to(dtype), total.to(dtype)


class _Normalise(torch.autograd.Function):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, where mean and var depend on the x of all ranks."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, count: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var, count)
        ctx.eps = eps
        return functional.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var, count = ctx.saved_tensors
        # As if mean and var were constants. Parameter gradients are those of this rank; the training step sums them.
        direct, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            gradient.contiguous(), x, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        if not ctx.needs_input_grad[0]:
            return None, grad_weight, grad_bias, None, None, None, None
        sums = torch.stack([grad_bias, grad_weight])
        distributed.all_reduce_sum(sums)
        through_mean, through_var = sums / count
        shape = [1, -1] + [1] * (x.ndim - 2)
        inverse = (var + ctx.eps).rsqrt()
        slope = (weight * inverse.square() * through_var).view(shape)
        offset = (weight * inverse * through_mean).view(shape)
        correction = (x - mean.view(shape)) * slope + offset
        return direct - correction.to(direct.dtype), grad_weight, grad_bias, None, None, None, None
