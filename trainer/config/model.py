"""Configuration of the encoder and the momentum pair."""

from typing import Literal, get_args

from pydantic import Field, field_validator

from trainer.config.keys import ConfigModel

GraphKind = Literal["agcn", "spatial"]


GRAPH_KINDS: tuple[GraphKind, ...] = get_args(GraphKind)


class EncoderConfig(ConfigModel):
    """Size and start of an encoder; the defaults are SkeleMixCLR's released configuration."""

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
    graph: GraphKind = "agcn"
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


class PairConfig(ConfigModel):
    """How the key encoder follows and how much is remembered; the defaults are SkeleMixCLR's released configuration."""

    momentum: float = Field(default=0.999, ge=0.0, le=1.0)
    """How much of itself the key encoder keeps at each update."""
    queue_size: int = Field(default=32768, ge=1)
    """K, the keys remembered as negatives."""
    start: Literal["copy", "apart"] = "copy"
    """The key encoder's start weights: the query's, or others. In the reference code they are others, by accident:
    `weights_init` runs over both encoders after the copy."""
