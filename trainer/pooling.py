"""From a feature map to one vector per sample: over everything, or over a mixed region and its rest apart."""

import torch
from torch import Tensor


def pool(features: Tensor, bodies: int) -> Tensor:
    """Mean over frames, joints and bodies; an absent body counts as the zeros it entered with, as in the reference.

    Args:
        features: (N*M, D, T', V), the bodies of a sample next to each other.
        bodies: M.

    Returns:
        (N, D).
    """
    return _over_bodies(features.mean(dim=(2, 3)), bodies)


def pool_masked(features: Tensor, mask: Tensor, bodies: int) -> tuple[Tensor, Tensor]:
    """Mean inside a mask and mean outside it, each over all bodies: SkeleMixCLR's spatial-temporal mask pooling (STMP).

    Args:
        features: (N*M, D, T', V), the bodies of a sample next to each other.
        mask: bool, (T', V) for the whole batch or (N, T', V); true where a partner was pasted, neither all nor none.
        bodies: M.

    Returns:
        Trimmed (the pasted region) and truncated (the rest), each (N, D).
    """
    shares = torch.stack([mask, ~mask], dim=-1).flatten(-3, -2).to(features.dtype)  # (..., T'*V, 2)
    shares = shares / shares.sum(dim=-2, keepdim=True)
    if mask.ndim == 3:
        shares = shares.repeat_interleave(bodies, dim=0)
    trimmed, truncated = (features.flatten(2) @ shares).unbind(-1)
    return _over_bodies(trimmed, bodies), _over_bodies(truncated, bodies)


def _over_bodies(vectors: Tensor, bodies: int) -> Tensor:
    """(N*M, D) to (N, D)."""
    return vectors.reshape(-1, bodies, vectors.shape[1]).mean(dim=1)
