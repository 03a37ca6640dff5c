"""Encoder classes by their name in the configuration (`encoder.name`)."""

from collections.abc import Mapping

import torch

from pipeline.skeleton.layout import Layout
from trainer.config.model import EncoderConfig
from trainer.models.encoder import Encoder

ENCODERS: Mapping[str, type[Encoder]] = {
    "st-gcn": Encoder,
}


def build_encoder(layout: Layout, config: EncoderConfig, seed: int) -> Encoder:
    """Build an untrained encoder. Initial weights depend only on the seed."""
    torch.manual_seed(seed)
    return ENCODERS[config.name](layout, config)
