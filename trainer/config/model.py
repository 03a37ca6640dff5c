"""Configuration of the encoder, and of the momentum pair of query and key encoder."""

from typing import Literal, get_args

from pydantic import Field, field_validator

from trainer.config.keys import ConfigModel

GraphKind = Literal["agcn", "spatial"]
MAX_WIDTH, MAX_KERNEL, MAX_QUEUE = 1 << 17, (1 << 16) - 1, 1 << 40
"""Limits that keep the number of elements of every tensor, and of all together, below 2**63."""
GRAPH_KINDS: tuple[GraphKind, ...] = get_args(GraphKind)


class EncoderConfig(ConfigModel):
    """Size and initialisation of the encoder; the defaults are SkeleMixCLR's released configuration."""

    name: Literal["st-gcn"] = "st-gcn"
    """Name of the encoder architecture."""
    hidden_channels: int = Field(default=16, ge=1, le=MAX_WIDTH)
    """Channels of the first four blocks; later blocks have two and four times as many. ST-GCN itself uses 64."""
    hidden_dim: int = Field(default=256, ge=1, le=MAX_WIDTH)
    """Channels of the last block, which is the size of the backbone features that evaluations use."""
    feature_dim: int = Field(default=128, ge=1, le=MAX_WIDTH)
    """Size of the projection head's output, which the contrastive loss compares."""
    dropout: float = Field(default=0.5, ge=0.0, lt=1.0)
    """Dropout rate in training, in all blocks but the first."""
    temporal_kernel: int = Field(default=9, ge=1, le=MAX_KERNEL)
    """Kernel size of the temporal convolutions, in frames. It must be odd."""
    graph: GraphKind = "agcn"
    """Skeleton graph: `agcn` of 2s-AGCN, used by SkeleMixCLR, or `spatial` of ST-GCN, used by CrosSCLR and AimCLR."""
    head_layers: int = Field(default=2, ge=1, le=3)
    """Number of linear layers of the projection head. CrosSCLR's motion and bone encoders have 3."""
    head_norm: bool = True
    """Batch norm between the layers of the projection head, as in SkeleMixCLR. The published SkeletonCLR has none."""
    body_mean: Literal["all", "present"] = "all"
    """Bodies over which features are averaged: all, including absent bodies (encoded as zeros, as in the reference), or
    only those present. In a mixed clip, a body is present in a half if it has any non-zero value there."""
    init: Literal["torch", "reference"] = "torch"
    """Weight initialisation: PyTorch's default, or the reference code's `weights_init` (normal with standard deviation
    0.02, biases zero)."""

    @field_validator("temporal_kernel")
    @classmethod
    def _check_is_odd(cls, frames: int) -> int:
        if frames % 2 == 0:
            raise ValueError(f"must be odd, found {frames}")
        return frames


class PairConfig(ConfigModel):
    """Key encoder and queue of negatives (MoCo); the defaults are SkeleMixCLR's released configuration."""

    momentum: float = Field(default=0.999, ge=0.0, le=1.0)
    """Momentum of the key encoder: the share of its weights that it keeps at each update."""
    queue_size: int = Field(default=32768, ge=1, le=MAX_QUEUE)
    """Size K of the queue of negative keys."""
    start: Literal["copy", "apart"] = "copy"
    """Initial weights of the key encoder: a copy of the query encoder's, or drawn independently (`apart`). `apart` is a
    quirk of the reference code, where `weights_init` runs over both encoders after the copy."""
