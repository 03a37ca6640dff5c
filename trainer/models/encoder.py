"""ST-GCN encoder (Yan et al. 2018) with SkeleMixCLR's width and a projection head.

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
"""Temporal strides of the ten blocks (Yan et al. 2018)."""
STRIDE = math.prod(STRIDES)
"""Input frames per frame of the feature map."""


class Encoder(nn.Module):
    """Ten ST-GCN blocks, pooling to one vector per sample, and a projection head.

    To implement another encoder, override `make_blocks` and `feature_map`; input norm, pooling and head are shared.

    Initial weights are drawn from torch's global generator: seed it first.
    """

    adjacency: Tensor
    fast: bool = False
    """Whether to use the faster implementation in models/fast, if there is one. It rounds differently. Not part of a
    checkpoint."""
    skip_absent: bool = True
    """With `fast` and without training: encode a single body of zeros for all absent bodies."""

    def __init__(self, layout: Layout, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        graph = build_adjacency(layout, config.graph)
        # Saved with the weights: encoders of related code bases have other graphs of the same shape.
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
        """Return the layers between the input norm and the pooling.

        Args:
            config: configuration of the encoder.
            graph: (K, V, V), shape of the adjacency.
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
        """Draw new initial weights from torch's global generator, with the configured initialisation.

        Only convolutions, linear layers and batch norms are reset, not other parameters.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d):
                module.reset_parameters()
        if self.config.init == "reference":
            self.apply(_init_like_reference)

    def frames_out(self, frames: int) -> int:
        """Return T' for a clip of T frames: T / stride, rounded up as by the strided convolutions."""
        return -(-frames // self.stride)

    def feature_map(self, x: Tensor) -> Tensor:
        """Compute the features before pooling.

        Args:
            x: (N, C, T, V, M) in the units of the training data; an absent body is all zeros.

        Returns:
            (N*M, D, T', V), the bodies of a sample next to each other.
        """
        if self.fast and self.has_fast_feature_map:
            feature_map = fast_cpu.feature_map if x.device.type == "cpu" else fast_gpu.feature_map
            return feature_map(x, self.input_norm, self.blocks, self.adjacency)
        x = self.normalise_input(x)
        for block in self.blocks:
            x = block(x, self.adjacency)
        return x

    @property
    def has_fast_feature_map(self) -> bool:
        """Whether models/fast implements this encoder: its blocks are ST-GCN's, and `feature_map` is not overridden."""
        return type(self).feature_map is Encoder.feature_map and all(type(block) is Block for block in self.blocks)

    def normalise_input(self, x: Tensor) -> Tensor:
        """Normalise each coordinate of each joint: (N, C, T, V, M) to (N*M, C, T, V)."""
        samples, _, frames, joints, bodies = x.shape
        x = x.permute(0, 4, 3, 1, 2).reshape(samples * bodies, joints * COORDINATES, frames)
        normed: Tensor = self.input_norm(x).unflatten(1, (joints, COORDINATES)).permute(0, 2, 3, 1).contiguous()
        return normed

    def backbone(self, x: Tensor) -> Tensor:
        """Compute the pooled features (N, D) of (N, C, T, V, M), which evaluations use."""
        # Recalibration trains batch-norm statistics without gradients; they must cover all bodies.
        is_frozen = not torch.is_grad_enabled() and not any(module.training for module in self.modules())
        if is_frozen and self.fast and self.skip_absent:
            return self._backbone_of_present_bodies(x)
        present = _present_bodies(x) if self.config.body_mean == "present" else None
        return pool(self.feature_map(x), bodies=x.shape[-1], present=present)

    def _backbone_of_present_bodies(self, x: Tensor) -> Tensor:
        """Compute `backbone` where bodies do not affect each other: all absent bodies share one encoding."""
        present = _present_bodies(x)
        bodies = x.movedim(-1, 1)[present]  # (P, C, T, V), P present bodies
        inputs = torch.cat([bodies, bodies.new_zeros(1, *bodies.shape[1:])])
        features = pool(self.feature_map(inputs[..., None]), bodies=1)
        index = present.flatten().cumsum(0).sub_(1).masked_fill_(~present.flatten(), len(bodies))
        counted = present if self.config.body_mean == "present" else None
        return mean_over_bodies(features[index], x.shape[-1], counted)

    def forward(self, x: Tensor) -> Tensor:
        """Project clips (N, C, T, V, M) to (N, feature_dim), not normalised."""
        projection: Tensor = self.head(self.backbone(x))
        return projection

    def encode_masked_halves(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Project the pasted region and the rest of mixed clips separately.

        Args:
            x: (N, C, T, V, M), mixed.
            mask: bool, (T', V) or (N, T', V); true where a partner was pasted.

        Returns:
            Trimmed (pasted region) and truncated (rest), each (N, feature_dim), not normalised. The head runs once
            for each, so its batch-norm statistics are updated twice.
        """
        present = None
        if self.config.body_mean == "present":
            pasted = mask.repeat_interleave(self.stride, dim=-2)[..., : x.shape[2], :, None]  # (..., T, V, 1)
            pasted = pasted[:, None] if mask.ndim == 3 else pasted
            present = _present_bodies(x * pasted), _present_bodies(x * ~pasted)
        trimmed, truncated = pool_masked(self.feature_map(x), mask, bodies=x.shape[-1], present=present)
        return self.head(trimmed), self.head(truncated)


def _present_bodies(x: Tensor) -> Tensor:
    """Return which bodies are not all zeros: (N, C, T, V, M) to (N, M) bool."""
    return (x != 0).flatten(1, 3).any(dim=1)


def _init_like_reference(module: nn.Module) -> None:
    """Initialise a layer as `weights_init` in SkeleMixCLR's processor/pretrain.py, which applies it to every layer."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, BatchNorm1d | BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
