"""Adjacency matrices of a skeleton layout, with which the encoder mixes joints."""

import torch
from torch import Tensor

from pipeline.skeleton.layout import Layout
from trainer.config.model import GraphKind


def build_adjacency(layout: Layout, graph: GraphKind = "agcn") -> Tensor:
    """Build the adjacency of a skeleton, split into three types of neighbours.

    - `agcn` is the graph of 2s-AGCN (Shi et al. 2019), also used by SkeleMixCLR: the joint itself; its parent (inward);
      its children (outward), each weighted by one over their number. Columns without such a neighbour are zero.
    - `spatial` is the graph of ST-GCN (Yan et al. 2018), also used by CrosSCLR and AimCLR: the joint itself; neighbours
      that are equally far from the layout's centre or farther; neighbours that are nearer. All entries of a joint sum
      to one. As in ST-GCN, all joints that are more than one bone away from the centre count as equally far.

    Returns:
        (3, V, V) float32; entry [k, v, w] is the weight with which joint v contributes to joint w.
    """
    count = len(layout.joints)
    identity, inward = torch.eye(count), torch.zeros(count, count)
    for child, parent in enumerate(layout.parents):
        if parent != -1:
            inward[parent, child] = 1.0
    if graph == "agcn":
        return torch.stack([identity, _normalise_columns(inward), _normalise_columns(inward.T)])
    bones = inward + inward.T
    weights = _normalise_columns(identity + bones)
    distance = 2 - bones[layout.centre]  # 1 at one bone, 2 beyond
    distance[layout.centre] = 0
    nearer = distance[:, None] < distance[None, :]
    return torch.stack([weights * identity, weights * bones * ~nearer, weights * bones * nearer])


def _normalise_columns(matrix: Tensor) -> Tensor:
    """Scale each column to sum one; columns of zeros stay zero."""
    return matrix / matrix.sum(dim=0).clamp(min=1.0)
