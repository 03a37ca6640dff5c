"""The encoders that can be trained, by the name in their configuration."""

from collections.abc import Mapping

from trainer.models.encoder import Encoder

ENCODERS: Mapping[str, type[Encoder]] = {
    "st-gcn": Encoder,
}
