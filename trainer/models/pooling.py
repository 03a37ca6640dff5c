"""From a feature map to one vector per sample: over everything, or over a mixed region and its rest apart."""

import torch
from torch import Tensor


def pool(features: Tensor, bodies: int, present: Tensor | None = None) -> Tensor:
    """Mean over frames, joints and bodies.

    Args:
        features: (N*M, D, T', V), the bodies of a sample next to each other.
        bodies: M.
        present: (N, M) bool, the bodies that count, all of a sample that has none; when not given, all: an absent body
            then counts as the zeros it entered with, as in the reference.

    Returns:
        (N, D).
    """
    return mean_over_bodies(features.mean(dim=(2, 3)), bodies, present)


def pool_masked(
    features: Tensor, mask: Tensor, bodies: int, present: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Mean inside a mask and mean outside it, each over bodies: SkeleMixCLR's spatial-temporal mask pooling (STMP).

    Args:
        features: (N*M, D, T', V), the bodies of a sample next to each other.
        mask: bool, (T', V) for the whole batch or (N, T', V); true where a partner was pasted, neither all nor none.
        bodies: M.
        present: as for `pool`, inside the mask and outside it.

    Returns:
        Trimmed (the pasted region) and truncated (the rest), each (N, D).
    """
    shares = torch.stack([mask, ~mask], dim=-1).flatten(-3, -2).to(features.dtype)  # (..., T'*V, 2)
    shares = shares / shares.sum(dim=-2, keepdim=True)
    if mask.ndim == 3:
        shares = shares.repeat_interleave(bodies, dim=0)
    trimmed, truncated = (features.flatten(2) @ shares).unbind(-1)
    inside, outside = present or (None, None)
    return mean_over_bodies(trimmed, bodies, inside), mean_over_bodies(truncated, bodies, outside)


def mean_over_bodies(vectors: Tensor, bodies: int, present: Tensor | None) -> Tensor:
    """(N*M, D), the bodies of a sample next to each other, to their mean (N, D); `present` as for `pool`."""
    each = vectors.reshape(-1, bodies, vectors.shape[1])
    if present is None:
        return each.mean(dim=1)
    counted = (present | ~present.any(dim=1, keepdim=True)).to(each.dtype)
    return (each * (counted / counted.sum(dim=1, keepdim=True))[:, :, None]).sum(dim=1)
