"""ST-GCN block (Yan et al. 2018), written as in its equations.

trainer/models/fast/cpu.py and trainer/models/fast/gpu.py are faster implementations of the same block.

Axes: N sample, T frame, V joint, M body; T' is T after the block's stride.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.models.batchnorm import BatchNorm2d


class Block(nn.Module):
    """Spatial-temporal graph convolution: mixes joints along the skeleton, then frames along time."""

    def __init__(
        self, inputs: int, outputs: int, graph: torch.Size, *, kernel: int, stride: int, dropout: float, residual: bool
    ) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(inputs, graph[0] * outputs, 1)
        self.edge_importance = nn.Parameter(torch.ones(graph))
        self.spatial_norm = BatchNorm2d(outputs)
        self.temporal = nn.Conv2d(outputs, outputs, (kernel, 1), (stride, 1), (kernel // 2, 0))
        self.temporal_norm = BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.shortcut: nn.Module | None = None
        if residual and inputs == outputs and stride == 1:
            self.shortcut = nn.Identity()
        elif residual:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, (stride, 1)), BatchNorm2d(outputs))

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """Map (N*M, inputs, T, V) with the graph (3, V, V) to (N*M, outputs, T', V)."""
        y = self.spatial(x).unflatten(1, (len(graph), -1))  # (N*M, 3, outputs, T, V)
        y = torch.einsum("bkctv,kvw->bctw", y, graph * self.edge_importance)
        y = self.temporal(functional.relu(self.spatial_norm(y), inplace=True))
        y = self.dropout(self.temporal_norm(y))
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return functional.relu(y, inplace=True)
