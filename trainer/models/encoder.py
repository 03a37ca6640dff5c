"""The encoder: ST-GCN (Yan et al. 2018) at SkeleMixCLR's width, with a projection head for contrast.

Axes: N sample, C coordinate, T frame, V joint, M body, D feature; T' is T after the encoder's strides.
"""

import math

import torch
from torch import Tensor, nn

from pipeline.skeleton.layout import Layout
from trainer.config.model import EncoderConfig
from trainer.models.batchnorm import BatchNorm1d, BatchNorm2d
from trainer.models.fast import cpu as fast_cpu
from trainer.models.fast import gpu as fast_gpu
from trainer.models.graph import build_adjacency
from trainer.models.pooling import mean_over_bodies, pool, pool_masked
from trainer.models.stgcn_block import Block

COORDINATES = 3


STRIDES = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
"""Of the ten blocks, in time (Yan et al. 2018)."""
STRIDE = math.prod(STRIDES)
"""Input frames for one frame of the feature map."""


class Encoder(nn.Module):
    """Ten blocks, pooled into one vector per sample, and a projection head.

    An encoder of its own overrides `make_blocks` and `feature_map`, and shares the rest: input norm, pooling, head.

    Start weights come from torch's global generator: seed it first.
    """

    adjacency: Tensor
    fast: bool = False
    """Whether to compute by trainer/models/fast/cpu.py, on a GPU by fast_gpu.py; both round otherwise. No part of a checkpoint."""
    skip_absent: bool = True
    """With `fast`, whether all absent bodies are encoded once when nothing is trained."""

    def __init__(self, layout: Layout, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        graph = build_adjacency(layout, config.graph)
        # Kept with the weights: encoders of related code bases differ in it at the same shape.
        self.register_buffer("adjacency", graph)
        self.input_norm = BatchNorm1d(len(layout.joints) * COORDINATES)
        self.stride = STRIDE
        self.blocks = self.make_blocks(config, graph.shape)
        dim = config.hidden_dim
        head: list[nn.Module] = []
        for _ in range(config.head_layers - 1):
            head += [nn.Linear(dim, dim), *([BatchNorm1d(dim)] if config.head_norm else []), nn.ReLU()]
        self.head = nn.Sequential(*head, nn.Linear(dim, config.feature_dim))
        if config.init == "reference":
            self.apply(_init_like_reference)

    def make_blocks(self, config: EncoderConfig, graph: torch.Size) -> nn.ModuleList:
        """The layers between the input norm and the pooling.

        Args:
            config: of the encoder.
            graph: (K, V, V), the adjacency's shape.
        """
        c = config.hidden_channels
        widths = [COORDINATES, c, c, c, c, 2 * c, 2 * c, 2 * c, 4 * c, 4 * c, config.hidden_dim]
        return nn.ModuleList(
            Block(
                inputs,
                outputs,
                graph,
                kernel=config.temporal_kernel,
                stride=stride,
                dropout=config.dropout if index else 0.0,
                residual=index > 0,
            )
            for index, (inputs, outputs, stride) in enumerate(zip(widths[:-1], widths[1:], STRIDES, strict=True))
        )

    def reset_parameters(self) -> None:
        """Draw start weights anew, as the configuration has them, from torch's global generator."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d):
                module.reset_parameters()
        if self.config.init == "reference":
            self.apply(_init_like_reference)

    def frames_out(self, frames: int) -> int:
        """T' for a clip of T frames: rounded up, as each strided convolution does."""
        return -(-frames // self.stride)

    def feature_map(self, x: Tensor) -> Tensor:
        """Features before pooling.

        Args:
            x: (N, C, T, V, M) in the units the encoder was trained on; an absent body is zeros.

        Returns:
            (N*M, D, T', V), the bodies of a sample next to each other.
        """
        if self.fast:
            feature_map = fast_cpu.feature_map if x.device.type == "cpu" else fast_gpu.feature_map
            return feature_map(x, self.input_norm, self.blocks, self.adjacency)
        x = self.normed(x)
        for block in self.blocks:
            x = block(x, self.adjacency)
        return x

    def normed(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) to (N*M, C, T, V), each coordinate of each joint by its batch norm."""
        samples, _, frames, joints, bodies = x.shape
        x = x.permute(0, 4, 3, 1, 2).reshape(samples * bodies, joints * COORDINATES, frames)
        normed: Tensor = self.input_norm(x).unflatten(1, (joints, COORDINATES)).permute(0, 2, 3, 1).contiguous()
        return normed

    def backbone(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) to the pooled features (N, D) that evaluations use."""
        # While a norm takes statistics, as recalibration lets it without gradients, they are to be of all bodies.
        nothing_trains = not torch.is_grad_enabled() and not any(module.training for module in self.modules())
        if nothing_trains and self.fast and self.skip_absent:
            return self._of_present_bodies(x)
        present = _present(x) if self.config.body_mean == "present" else None
        return pool(self.feature_map(x), bodies=x.shape[-1], present=present)

    def _of_present_bodies(self, x: Tensor) -> Tensor:
        """As `backbone`, where no body changes another's features: one stands for all that are absent."""
        present = _present(x)
        bodies = x.movedim(-1, 1)[present]  # (those present, C, T, V)
        shown = torch.cat([bodies, bodies.new_zeros(1, *bodies.shape[1:])])
        features = pool(self.feature_map(shown[..., None]), bodies=1)
        which = present.flatten().cumsum(0).sub_(1).masked_fill_(~present.flatten(), len(bodies))
        counted = present if self.config.body_mean == "present" else None
        return mean_over_bodies(features[which], x.shape[-1], counted)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) to the projection (N, feature_dim), not normalised."""
        projection: Tensor = self.head(self.backbone(x))
        return projection

    def encode_masked_halves(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Project the two parts of a mixed clip.

        Args:
            x: (N, C, T, V, M), mixed.
            mask: bool, (T', V) or (N, T', V); true where a partner was pasted.

        Returns:
            Trimmed and truncated, each (N, feature_dim), not normalised. The head runs once for each, and so updates
            its batch-norm statistics twice.
        """
        present = None
        if self.config.body_mean == "present":
            pasted = mask.repeat_interleave(self.stride, dim=-2)[..., : x.shape[2], :, None]  # (..., T, V, 1)
            pasted = pasted[:, None] if mask.ndim == 3 else pasted
            present = _present(x * pasted), _present(x * ~pasted)
        trimmed, truncated = pool_masked(self.feature_map(x), mask, bodies=x.shape[-1], present=present)
        return self.head(trimmed), self.head(truncated)


def _present(x: Tensor) -> Tensor:
    """(N, C, T, V, M) to (N, M) bool: the bodies that are not all zeros."""
    return (x != 0).flatten(1, 3).any(dim=1)


def _init_like_reference(module: nn.Module) -> None:
    """`weights_init` in SkeleMixCLR's processor/pretrain.py, which applies it to every layer."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, BatchNorm1d | BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
