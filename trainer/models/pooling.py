"""Pool a feature map to one vector per sample, or to one for a mixed region and one for the rest."""

import torch
from torch import Tensor


def pool(features: Tensor, bodies: int, present: Tensor | None = None) -> Tensor:
    """Average over frames, joints and bodies.

    Args:
        features: (N*M, D, T', V), the bodies of a sample next to each other.
        bodies: M.
        present: (N, M) bool, the bodies to average over; all if a sample has none. Default: all bodies; absent ones
            are then encoded as zeros, as in the reference.

    Returns:
        (N, D).
    """
    return mean_over_bodies(features.mean(dim=(2, 3)), bodies, present)


def pool_masked(
    features: Tensor, mask: Tensor, bodies: int, present: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Average inside a mask and outside it, then over bodies: SkeleMixCLR's spatial-temporal mask pooling (STMP).

    Args:
        features: (N*M, D, T', V), the bodies of a sample next to each other.
        mask: bool, (T', V) for the whole batch or (N, T', V); true where a partner was pasted; neither all nor none.
        bodies: M.
        present: see `pool`; for inside and outside the mask.

    Returns:
        Trimmed (the pasted region) and truncated (the rest), each (N, D).
    """
    weights = torch.stack([mask, ~mask], dim=-1).flatten(-3, -2).to(features.dtype)  # (..., T'*V, 2)
    weights = weights / weights.sum(dim=-2, keepdim=True)
    if mask.ndim == 3:
        weights = weights.repeat_interleave(bodies, dim=0)
    trimmed, truncated = (features.flatten(2) @ weights).unbind(-1)
    inside, outside = present or (None, None)
    return mean_over_bodies(trimmed, bodies, inside), mean_over_bodies(truncated, bodies, outside)


def mean_over_bodies(vectors: Tensor, bodies: int, present: Tensor | None) -> Tensor:
    """Average (N*M, D), the bodies of a sample next to each other, to (N, D); see `pool` for `present`."""
    per_body = vectors.reshape(-1, bodies, vectors.shape[1])
    if present is None:
        return per_body.mean(dim=1)
    counted = (present | ~present.any(dim=1, keepdim=True)).to(per_body.dtype)
    return (per_body * (counted / counted.sum(dim=1, keepdim=True))[:, :, None]).sum(dim=1)
