"""k nearest neighbours of frozen features: weighted by cosine similarity, or the one nearest by Euclidean distance."""

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

BLOCK = 1024
"""Test rows compared at once: 1024 x 40,091 float32 similarities are 164 MB."""


def weighted_knn(
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


def nearest_neighbour(train: Tensor, labels: Tensor, test: Tensor, classes: int) -> Tensor:
    """Class scores (N, classes) that name the class of the nearest training vector (Euclidean) alone."""
    lengths = torch.linalg.vector_norm(train, dim=1).square()
    # Squared distances up to a constant per test vector, which changes no nearest neighbour.
    said = [labels[(lengths - 2 * block @ train.T).argmin(1)] for block in torch.split(test, BLOCK)]
    return one_hot(torch.cat(said), classes).to(train.dtype)
