"""An encoder that knows nothing of the skeleton: each joint's path alone, until the mean. What is the graph worth?"""

import torch
from torch import Tensor, nn

from trainer.config.model import EncoderConfig
from trainer.models.batchnorm import BatchNorm2d
from trainer.models.encoder import COORDINATES, STRIDES, Encoder


class NoGraph(Encoder):
    """ST-GCN's widths and strides, and convolutions over time alone."""

    def make_blocks(self, config: EncoderConfig, graph: torch.Size) -> nn.ModuleList:
        """As many blocks as ST-GCN has, and no weight that belongs to an edge."""
        c, kernel = config.hidden_channels, config.temporal_kernel
        widths = [COORDINATES, c, c, c, c, 2 * c, 2 * c, 2 * c, 4 * c, 4 * c, config.hidden_dim]
        return nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, outputs, (kernel, 1), stride=(stride, 1), padding=(kernel // 2, 0)),
                BatchNorm2d(outputs),
                nn.ReLU(),
                nn.Dropout(config.dropout),
            )
            for inputs, outputs, stride in zip(widths[:-1], widths[1:], STRIDES, strict=True)
        )

    def feature_map(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) to (N*M, D, T', V): each joint keeps its place, so that a mixed clip has two halves."""
        x = self.normalise_input(x)
        for block in self.blocks:
            x = block(x)
        return x
