"""An encoder without skeleton graph: temporal convolutions for each joint alone, to measure what the graph gains."""

import torch
from torch import Tensor, nn

from trainer.config.model import EncoderConfig
from trainer.models.batchnorm import BatchNorm2d
from trainer.models.encoder import COORDINATES, STRIDES, Encoder


class NoGraph(Encoder):
    """Temporal convolutions with the widths and strides of ST-GCN."""

    def make_blocks(self, config: EncoderConfig, graph: torch.Size) -> nn.ModuleList:
        """Build as many blocks as ST-GCN has, without graph convolutions."""
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
        """Return (N*M, D, T', V) for clips (N, C, T, V, M); joints stay separate, as mixing requires."""
        x = self.normalise_input(x)
        for block in self.blocks:
            x = block(x)
        return x
