"""Encoder classes by their name in the configuration (`encoder.name`)."""

from collections.abc import Mapping

from trainer.models.encoder import Encoder

ENCODERS: Mapping[str, type[Encoder]] = {
    "st-gcn": Encoder,
}
