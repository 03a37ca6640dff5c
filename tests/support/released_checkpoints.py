"""Write checkpoints in the formats of SkeleMixCLR, CrosSCLR and AimCLR.

Nothing here is imported from `trainer/`: names, graphs, shapes and the order of layers are those of
czhaneva/SkeleMixCLR (4538d6c), LinguoLi/CrosSCLR (2bff9a6) and Levigty/AimCLR (59fe004); the arithmetic is written
plainly.
"""

from collections import OrderedDict
from itertools import pairwise

import numpy as np
import torch
from torch import nn

BONES = (
    *((1, 2), (2, 21), (3, 21), (4, 3), (5, 21), (6, 5), (7, 6), (8, 7), (9, 21), (10, 9), (11, 10), (12, 11), (13, 1)),
    *((14, 13), (15, 14), (16, 15), (17, 1), (18, 17), (19, 18), (20, 19), (22, 23), (23, 8), (24, 25), (25, 12)),
)
"""Joints from 1, each with the one that it hangs on; 21 is the centre."""


def agcn_graph():
    """2s-AGCN's: itself, inward and outward bones, each column divided by its sum."""
    found = np.zeros((3, 25, 25))
    found[0] = np.eye(25)
    for joint, towards_centre in BONES:
        found[1, towards_centre - 1, joint - 1] = 1
        found[2, joint - 1, towards_centre - 1] = 1
    for matrix in found[1:]:
        for column in range(25):
            if matrix[:, column].any():
                matrix[:, column] /= matrix[:, column].sum()
    return found


def spatial_graph():
    """ST-GCN's `spatial` strategy at max_hop 1, entry by entry: what is farther than one bone is at infinity."""
    hops = np.full((25, 25), np.inf)
    for a, b in BONES:
        hops[a - 1, b - 1] = hops[b - 1, a - 1] = 1
    np.fill_diagonal(hops, 0)
    found = np.zeros((3, 25, 25))
    for source in range(25):
        for target in range(25):
            if hops[source, target] <= 1:
                nearer = hops[source, 20] < hops[target, 20]
                kind = 0 if source == target else 2 if nearer else 1
                found[kind, source, target] = 1 / np.isfinite(hops[:, target]).sum()
    return found


class GraphConvolution(nn.Module):
    def __init__(self, before, after):
        super().__init__()
        self.conv = nn.Conv2d(before, 3 * after, kernel_size=(1, 1))

    def forward(self, x, graph):
        kinds = self.conv(x).chunk(3, dim=1)
        return sum(torch.matmul(kind, matrix) for kind, matrix in zip(kinds, graph, strict=True))


class Layer(nn.Module):
    def __init__(self, before, after, stride, first, dropout):
        super().__init__()
        self.gcn = GraphConvolution(before, after)
        self.tcn = nn.Sequential(
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, (9, 1), (stride, 1), (4, 0)),
            nn.BatchNorm2d(after),
            nn.Dropout(0.0 if first else dropout),
        )
        self.first = first
        if not first and (before, stride) != (after, 1):
            self.residual = nn.Sequential(nn.Conv2d(before, after, 1, (stride, 1)), nn.BatchNorm2d(after))

    def forward(self, x, graph):
        y = self.tcn(self.gcn(x, graph))
        if not self.first:
            y = y + (self.residual(x) if hasattr(self, "residual") else x)
        return torch.clamp(y, min=0)


class Encoder(nn.Module):
    def __init__(self, graph, channels, hidden, fc, importance=True):
        super().__init__()
        self.register_buffer("A", torch.tensor(graph, dtype=torch.float32))
        self.data_bn = nn.BatchNorm1d(75)
        widths = [3, *[channels] * 4, *[2 * channels] * 3, *[4 * channels] * 2, hidden]
        self.st_gcn_networks = nn.ModuleList(
            Layer(before, after, 2 if place in (4, 7) else 1, place == 0, 0.5)
            for place, (before, after) in enumerate(pairwise(widths))
        )
        self.fc = fc
        if importance:
            self.edge_importance = nn.ParameterList(0.5 + torch.rand(3, 25, 25) for _ in range(10))

    def features(self, x):
        """(N, 3, T, 25, M) to what is pooled before fc, body by body."""
        pooled = []
        for body in x.unbind(dim=4):
            joints_first = body.permute(0, 3, 1, 2)  # (N, V, C, T)
            y = self.data_bn(joints_first.flatten(1, 2)).view_as(joints_first).permute(0, 2, 3, 1)
            for place, layer in enumerate(self.st_gcn_networks):
                weight = self.edge_importance[place] if hasattr(self, "edge_importance") else 1
                y = layer(y, self.A * weight)
            pooled.append(y.mean(dim=(2, 3)))
        return torch.stack(pooled).mean(dim=0)

    def forward(self, x):
        return self.fc(self.features(x))


def projection(hidden, feature, norm):
    between = [nn.BatchNorm1d(hidden)] if norm else []
    return nn.Sequential(nn.Linear(hidden, hidden), *between, nn.ReLU(), nn.Linear(hidden, feature))


class Checkpoint:
    """A pre-training of one or several streams, its encoders warmed so that every number in them matters."""

    def __init__(self, source, streams=("joint",), *, channels=4, hidden=16, feature=8, queue=32, seed=0, **options):
        torch.manual_seed(seed)
        graph = agcn_graph() if source == "skelemixclr" else spatial_graph()
        self.encoders = {}
        self.state = OrderedDict()
        heads = {side: projection(hidden, feature, source == "skelemixclr") for side in "qk"}
        for stream in streams:
            suffix = "" if stream == "joint" else f"_{stream}"
            for side in "qk":
                # CrosSCLR wraps the joint encoder's finished head once more for each other stream.
                fc = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), heads[side]) if suffix else heads[side]
                encoder = Encoder(graph, channels, hidden, fc, **options)
                warm(encoder)
                self.encoders[f"{side}{suffix}"] = encoder
            self.state[f"queue{suffix}"] = nn.functional.normalize(torch.randn(feature, queue), dim=0)
            self.state[f"queue_ptr{suffix}"] = torch.tensor([queue // 2])
        for name, encoder in self.encoders.items():
            self.state.update({f"encoder_{name}.{key}": value for key, value in encoder.state_dict().items()})

    def save(self, path, **options):
        torch.save(self.state, path, **options)
        return path


@torch.no_grad()
def warm(encoder):
    """Move every weight of the norms and every statistic away from where it starts."""
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.weight.uniform_(0.7, 1.3)
            module.bias.uniform_(-0.2, 0.2)
            module.momentum = 0.5
    encoder.train()
    for _ in range(3):
        encoder(clips(samples=4, frames=16))
    encoder.eval()


def clips(samples, frames, seed=None):
    """(N, 3, T, 25, 2) like skeletons in metres; every third has no second body."""
    drawn = torch.randn if seed is None else lambda *shape: torch.randn(*shape, generator=made)
    made = torch.Generator().manual_seed(seed or 0)
    x = 0.3 * drawn(samples, 3, 1, 25, 2) + 0.05 * drawn(samples, 3, frames, 25, 2)
    x[::3, ..., 1] = 0
    return x
