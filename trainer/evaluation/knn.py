"""k-nearest-neighbour classification: weighted by cosine similarity, or 1-NN by Euclidean distance."""

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

BLOCK_ROWS = 1024
"""Test rows compared at a time: 1024 x 40,091 float32 similarities are 164 MB."""


def weighted_knn(
    train: Tensor, labels: Tensor, test: Tensor, classes: int, k: int = 20, temperature: float = 0.1
) -> Tensor:
    """Class scores (N, classes) of test features by their k most similar training features.

    Each neighbour votes exp(cosine / temperature) (Wu et al. 2018; SkeleMixCLR's monitor has k in 10, 20, 40 and the
    same temperature). If there are fewer than k training features, all of them vote. The votes for a test feature are
    scaled to a sum of 1: no temperature overflows, and every run has the same weight when scores of runs are added.

    Args:
        train: (R, D) training features.
        labels: (R,) classes of the training features, 0..classes-1.
        test: (N, D) test features.
        classes: number of classes.
        k: number of neighbours that vote.
        temperature: smaller values give more weight to the most similar neighbours; above zero.
    """
    train, votes = normalize(train, dim=1), one_hot(labels, classes).to(train.dtype)
    scores = []
    for block in torch.split(normalize(test, dim=1), BLOCK_ROWS):
        similarity, neighbours = (block @ train.T).topk(min(k, len(train)), dim=1)
        gaps = (similarity - similarity[:, :1]).double()  # to the most similar neighbour, so that exp cannot overflow
        weights = (gaps / temperature).softmax(1).to(votes.dtype)
        scores.append(torch.einsum("nk,nkc->nc", weights, votes[neighbours]))
    return torch.cat(scores)


def nearest_neighbour(train: Tensor, labels: Tensor, test: Tensor, classes: int) -> Tensor:
    """One-hot class scores (N, classes): the class of the nearest training vector by Euclidean distance.

    The mean of the training vectors is subtracted first: far from the origin, the lengths would be so large that their
    rounding exceeds the distances.
    """
    mean = train.mean(0)
    train = train - mean
    lengths = torch.linalg.vector_norm(train, dim=1).square()
    # Squared distances without the squared length of the test vector, which does not change the nearest neighbour.
    predicted = [labels[(lengths - 2 * (block - mean) @ train.T).argmin(1)] for block in torch.split(test, BLOCK_ROWS)]
    return one_hot(torch.cat(predicted), classes).to(train.dtype)
