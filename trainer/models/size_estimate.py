"""Shapes of an encoder's tensors and the memory of its passes, computed on torch's meta device without allocating."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.skeleton.layout import Layout
from trainer.config.model import EncoderConfig, PairConfig
from trainer.models import registry
from trainer.models.encoder import COORDINATES, Encoder

QUERY, KEY = "query.", "key."
"""Prefixes of the names of the two encoders' tensors in a momentum pair."""
KEPT_SHARE = 0.5
"""Share of the tensors saved for the backward pass that a training keeps at least. Measured: 1.1 (plain) and 0.7 (fast,
on a CPU) of `saved_bytes`, with 48 clips of 64 frames and the default encoder."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape and type of a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype | None
    """None if it is not known."""


@dataclass(frozen=True, slots=True)
class PassSize:
    """Memory of the passes of one clip through an encoder, in bytes; lower bounds for any implementation."""

    training: int
    """Kept from the forward to the backward pass."""
    encoding: int
    """Largest tensor of a forward pass without gradients."""


def encoder_specs(layout: Layout, config: EncoderConfig) -> dict[str, TensorSpec]:
    """Return the tensors of an encoder's state dict by name."""
    return _specs(_meta_encoder(layout, config))


def parameter_count(layout: Layout, config: EncoderConfig) -> int:
    """Return the number of trained values of an encoder, without the projection head."""
    encoder = _meta_encoder(layout, config)
    return sum(parameter.numel() for parameter in encoder.parameters()) - sum(
        parameter.numel() for parameter in encoder.head.parameters()
    )


def pair_specs(layout: Layout, config: EncoderConfig, pair: PairConfig) -> dict[str, TensorSpec]:
    """Return the tensors of a momentum pair's state dict by name."""
    encoder = encoder_specs(layout, config)
    return {
        **{prefix + name: spec for prefix in (QUERY, KEY) for name, spec in encoder.items()},
        "queue": TensorSpec((config.feature_dim, pair.queue_size), torch.float32),
        "pointer": TensorSpec((), torch.int64),
    }


def total_bytes(specs: Mapping[str, TensorSpec]) -> int:
    """Return the total size of tensors of known type."""
    return sum(math.prod(spec.shape) * spec.dtype.itemsize for spec in specs.values() if spec.dtype)


def pass_size(layout: Layout, config: EncoderConfig, frames: int, bodies: int) -> PassSize:
    """Estimate the memory of one clip's passes in float32; 0 if the encoder reads values, which are not known here.

    Args:
        layout: the skeleton.
        config: configuration of the encoder.
        frames: T.
        bodies: M.
    """
    saved: dict[int, Tensor] = {}  # by identity: the same tensor is saved for several operations
    encoder, clips = _meta_encoder(layout, config), 2  # batch norm needs two
    try:
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.setdefault(id(tensor), tensor), lambda t: t):
            encoder(torch.empty(clips, COORDINATES, frames, len(layout.joints), bodies, device="meta"))
    except RuntimeError:
        return PassSize(training=0, encoding=0)
    sizes = [tensor.numel() * tensor.element_size() // clips for tensor in saved.values()]
    return PassSize(training=int(KEPT_SHARE * sum(sizes)), encoding=max(sizes, default=0))


def _meta_encoder(layout: Layout, config: EncoderConfig) -> Encoder:
    """Build an encoder without memory and without drawing random numbers."""
    with torch.device("meta"):
        return registry.ENCODERS[config.name](layout, config)


def _specs(encoder: Encoder) -> dict[str, TensorSpec]:
    return {name: TensorSpec(tuple(tensor.shape), tensor.dtype) for name, tensor in encoder.state_dict().items()}
