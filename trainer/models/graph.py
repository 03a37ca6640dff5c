"""A layout as a graph: the three adjacency matrices with which the encoder mixes joints."""

import torch
from torch import Tensor

from pipeline.skeleton.layout import Layout
from trainer.config.model import GraphKind


def build_adjacency(layout: Layout, graph: GraphKind = "agcn") -> Tensor:
    """Adjacency of a skeleton, split into three kinds of neighbours.

    - `agcn`, of 2s-AGCN (Shi et al. 2019), which SkeleMixCLR takes over: a joint itself; its parent (inward); its
      children (outward), each weighted by one over their number. A column without such a neighbour is zero.
    - `spatial`, of ST-GCN (Yan et al. 2018), which CrosSCLR and AimCLR take over: a joint itself; its neighbours that
      are as far from the layout's centre or farther; those that are nearer. All of a joint's entries together sum to
      one. ST-GCN counts distances up to one bone: joints beyond all count as equally far.

    Returns:
        (3, V, V) float32, entry [k, v, w] the weight with which joint v enters joint w.
    """
    count = len(layout.joints)
    itself, inward = torch.eye(count), torch.zeros(count, count)
    for child, parent in enumerate(layout.parents):
        if parent != -1:
            inward[parent, child] = 1.0
    if graph == "agcn":
        return torch.stack([itself, _columns_to_one(inward), _columns_to_one(inward.T)])
    bones = inward + inward.T
    weights = _columns_to_one(itself + bones)
    distance = 2 - bones[layout.centre]  # 1 at one bone, 2 anywhere beyond
    distance[layout.centre] = 0
    nearer = distance[:, None] < distance[None, :]
    return torch.stack([weights * itself, weights * bones * ~nearer, weights * bones * nearer])


def _columns_to_one(matrix: Tensor) -> Tensor:
    """Scale each column to sum one; a column of zeros stays."""
    return matrix / matrix.sum(dim=0).clamp(min=1.0)
