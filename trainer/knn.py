"""k nearest neighbours of frozen features: weighted by cosine similarity, or the one nearest by Euclidean distance."""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn.functional import normalize, one_hot

BLOCK = 1024
"""Test rows compared at once: 1024 x 40,091 float32 similarities are 164 MB."""


class KnnConfig(BaseModel):
    """Who votes; the reference's own monitor has layer `head` and augmented clips on both sides."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    k: int = Field(default=20, ge=1)
    """Neighbours that vote; SkeleMixCLR's monitor prints 10, 20 and 40."""
    temperature: float = Field(default=0.1, gt=0)
    """How fast votes fall with similarity."""
    layer: Literal["backbone", "head"] = "backbone"
    """Features before the projection head, or what comes out of it."""
    augmented: bool = False
    """Compare a random view (the pre-training's crop and shear) of each clip in place of the clip."""


def weighted(
    train: Tensor, labels: Tensor, test: Tensor, classes: int, k: int = 20, temperature: float = 0.1
) -> Tensor:
    """Class scores (N, classes) of test features by their k most similar training features.

    Each neighbour votes exp(cosine / temperature) (Wu et al. 2018; SkeleMixCLR's monitor has k in 10, 20, 40 and the
    same temperature). With fewer than k training features all of them vote.

    Args:
        train: (R, D) training features.
        labels: (R,) their classes, 0..classes-1.
        test: (N, D) test features.
        classes: number of classes.
        k: neighbours that vote.
        temperature: how fast votes fall with similarity.
    """
    train, votes = normalize(train, dim=1), one_hot(labels, classes).to(train.dtype)
    scores = []
    for block in torch.split(normalize(test, dim=1), BLOCK):
        similarity, neighbours = (block @ train.T).topk(min(k, len(train)), dim=1)
        scores.append(torch.einsum("nk,nkc->nc", (similarity / temperature).exp(), votes[neighbours]))
    return torch.cat(scores)


def nearest(train: Tensor, labels: Tensor, test: Tensor, classes: int) -> Tensor:
    """Class scores (N, classes) that name the class of the nearest training vector (Euclidean) alone."""
    lengths = torch.linalg.vector_norm(train, dim=1).square()
    # Squared distances up to a constant per test vector, which changes no nearest neighbour.
    said = [labels[(lengths - 2 * block @ train.T).argmin(1)] for block in torch.split(test, BLOCK)]
    return one_hot(torch.cat(said), classes).to(train.dtype)
