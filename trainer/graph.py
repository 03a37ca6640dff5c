"""A layout as a graph: the three adjacency matrices with which the encoder mixes joints."""

import torch
from torch import Tensor

from pipeline.layout import Layout


def adjacency(layout: Layout) -> Tensor:
    """Adjacency of a skeleton, split by direction: 2s-AGCN's graph (Shi et al. 2019), which SkeleMixCLR takes over.

    Returns:
        (3, V, V) float32, entry [k, v, w] the weight with which joint v enters joint w: itself; its parent (inward);
        its children (outward), each weighted by one over their number. A column without such a neighbour is zero.
    """
    count = len(layout.joints)
    inward = torch.zeros(count, count)
    for child, parent in enumerate(layout.parents):
        if parent != -1:
            inward[parent, child] = 1.0
    return torch.stack([torch.eye(count), _columns_to_one(inward), _columns_to_one(inward.T)])


def _columns_to_one(matrix: Tensor) -> Tensor:
    """Scale each column to sum one; a column of zeros stays."""
    return matrix / matrix.sum(dim=0).clamp(min=1.0)
