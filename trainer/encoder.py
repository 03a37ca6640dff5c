"""The encoder: ST-GCN (Yan et al. 2018) at SkeleMixCLR's width, with a projection head for contrast.

Axes: N sample, C coordinate, T frame, V joint, M body, D feature; T' is T after the encoder's strides.
"""

import math
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from pipeline.layout import Layout
from trainer import fast, fast_gpu
from trainer.batchnorm import BatchNorm1d, BatchNorm2d
from trainer.block import Block
from trainer.graph import Graph, adjacency
from trainer.pooling import over_bodies, pool, pool_masked

COORDINATES = 3


class EncoderConfig(BaseModel):
    """Size and start of an encoder; the defaults are SkeleMixCLR's released configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Literal["st-gcn"] = "st-gcn"
    """Which encoder (see encoders.py)."""
    hidden_channels: int = Field(default=16, ge=1)
    """Channels of the first four blocks; later ones have twice and four times as many. ST-GCN itself has 64."""
    hidden_dim: int = Field(default=256, ge=1)
    """Channels of the last block: the size of the features that evaluations use."""
    feature_dim: int = Field(default=128, ge=1)
    """Size of the projection that is contrasted."""
    dropout: float = Field(default=0.5, ge=0.0, lt=1.0)
    """Share of each block's activations dropped in training, but for the first block's."""
    temporal_kernel: int = Field(default=9, ge=1)
    """Frames that a temporal convolution sees; odd, so that it has a middle."""
    graph: Graph = "agcn"
    """How joints are neighbours: SkeleMixCLR takes 2s-AGCN's graph; ST-GCN, CrosSCLR and AimCLR have `spatial`."""
    head_layers: int = Field(default=2, ge=1, le=3)
    """Linear layers of the projection head. CrosSCLR's motion and bone encoders have 3, a classifier's head is 1."""
    head_norm: bool = True
    """Batch norm between the head's layers, as in SkeleMixCLR; the published SkeletonCLR has none."""
    body_mean: Literal["all", "present"] = "all"
    """Over which bodies features are averaged: all, an absent one counting as what its zeros become, as in the
    reference; or those that are there. In a mixed clip, those with something but zeros in the half in question."""
    init: Literal["torch", "reference"] = "torch"
    """Start weights: PyTorch's, or the reference code's `weights_init` (normal with deviation 0.02, biases zero)."""

    @field_validator("temporal_kernel")
    @classmethod
    def _has_a_middle(cls, frames: int) -> int:
        if frames % 2 == 0:
            raise ValueError(f"must be odd, found {frames}")
        return frames


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
    """Whether to compute by trainer/fast.py, on a GPU by fast_gpu.py; both round otherwise. No part of a checkpoint."""
    skip_absent: bool = True
    """With `fast`, whether all absent bodies are encoded once when nothing is trained."""

    def __init__(self, layout: Layout, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        graph = adjacency(layout, config.graph)
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
            self.apply(_start_as_reference)

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

    def start(self) -> None:
        """Draw start weights anew, as the configuration has them, from torch's global generator."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d):
                module.reset_parameters()
        if self.config.init == "reference":
            self.apply(_start_as_reference)

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
            feature_map = fast.feature_map if x.device.type == "cpu" else fast_gpu.feature_map
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
        return over_bodies(features[which], x.shape[-1], counted)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) to the projection (N, feature_dim), not normalised."""
        projection: Tensor = self.head(self.backbone(x))
        return projection

    def halves(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
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


def _start_as_reference(module: nn.Module) -> None:
    """`weights_init` in SkeleMixCLR's processor/pretrain.py, which applies it to every layer."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, BatchNorm1d | BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
