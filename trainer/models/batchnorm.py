"""Batch norm whose statistics in training are those of all ranks together; alone it is torch's, to the bit.

torch's SyncBatchNorm does this on GPUs only.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from trainer.runtime import distributed


class BatchNorm1d(nn.BatchNorm1d):
    """Over (B, C) or (B, C, L)."""

    def __init__(self, features: int) -> None:
        super().__init__(features)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch calls it so)
        """As torch's, over the batches of all ranks; a rank may have any share of them but none."""
        return _over_ranks(self, input) if self.training and distributed.world_size() > 1 else super().forward(input)


class BatchNorm2d(nn.BatchNorm2d):
    """Over (B, C, H, W)."""

    def __init__(self, features: int) -> None:
        super().__init__(features)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch calls it so)
        """As torch's, over the batches of all ranks; a rank may have any share of them but none."""
        return _over_ranks(self, input) if self.training and distributed.world_size() > 1 else super().forward(input)


def _over_ranks(norm: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Normalise by the statistics of all ranks, and let the running ones follow."""
    assert norm.running_mean is not None
    mean, var, count = _statistics(x.detach(), norm.running_mean.dtype)
    update_running_stats(norm, mean, var, count)
    normalised: Tensor = _Normalise.apply(x, norm.weight, norm.bias, mean, var, count, norm.eps)  # type: ignore[no-untyped-call]
    return normalised


@torch.no_grad()
def update_running_stats(
    norm: nn.BatchNorm1d | nn.BatchNorm2d, mean: Tensor, var: Tensor, count: Tensor | float
) -> None:
    """Let running statistics follow mean and variance (C,) over `count` values, the variance without its bias."""
    assert norm.num_batches_tracked is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.num_batches_tracked.add_(1)
    new = norm.momentum if norm.momentum is not None else 1.0 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), new)
    norm.running_var.lerp_((var * (count / (count - 1))).to(norm.running_var.dtype), new)


def _statistics(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,), variance (C,) and count () over all ranks: each rank's own, joined by Chan et al. (1979).

    Joined in float64 and in the same order everywhere, so that all ranks have the same bits.
    """
    axes = [axis for axis in range(x.ndim) if axis != 1]
    var, mean = torch.var_mean(x.to(torch.promote_types(x.dtype, torch.float32)), axes, correction=0)
    count = x.numel() // x.shape[1]
    own = torch.cat([mean.double(), var.double() * count, mean.new_tensor([count], dtype=torch.float64)])
    means, squares, counts = torch.split(distributed.all_gather(own), [len(mean), len(mean), 1], dim=1)
    total = counts.sum()
    joint = (counts * means).sum(dim=0) / total
    joint_var = (squares + counts * (means - joint).square()).sum(dim=0) / total
    return joint.to(dtype), joint_var.to(dtype), total.to(dtype)


class _Normalise(torch.autograd.Function):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, mean and var being functions of the x of all ranks."""

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
        # As if mean and var were constants; the parameters' gradients are this rank's: the step adds them up.
        direct, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            gradient.contiguous(), x, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        if not ctx.needs_input_grad[0]:
            return None, by_weight, by_bias, None, None, None, None
        both = torch.stack([by_bias, by_weight])
        distributed.all_reduce_sum(both)
        through_mean, through_var = both / count
        shape = [1, -1] + [1] * (x.ndim - 2)
        inverse = (var + ctx.eps).rsqrt()
        slope = (weight * inverse.square() * through_var).view(shape)
        offset = (weight * inverse * through_mean).view(shape)
        correction = (x - mean.view(shape)) * slope + offset
        return direct - correction.to(direct.dtype), by_weight, by_bias, None, None, None, None
