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

    Distances are computed in float64: in float32 the rounding of the vectors' lengths exceeds the distances if clips
    are far from the origin or from each other, as recordings are whose recipe does not centre them.
    """
    lengths = torch.cat([block.double().square().sum(1) for block in torch.split(train, BLOCK_ROWS)])
    predicted = []
    for block in torch.split(test, BLOCK_ROWS):
        products = [block.double() @ part.double().T for part in torch.split(train, BLOCK_ROWS)]
        # Squared distances without the squared length of the test vector, which does not change the nearest neighbour.
        predicted.append(labels[(lengths - 2 * torch.cat(products, dim=1)).argmin(1)])
    return one_hot(torch.cat(predicted), classes).to(train.dtype)
