"""The encoders that can be trained, by name."""

from collections.abc import Mapping

from trainer.encoder import Encoder, EncoderConfig

ENCODERS: Mapping[str, type[Encoder]] = {
    "st-gcn": Encoder,
}


def known(config: EncoderConfig) -> EncoderConfig:
    """The configuration, of an encoder that there is.

    Raises:
        ValueError: there is none of that name.
    """
    if config.name not in ENCODERS:
        raise ValueError(f"name: there is no encoder {config.name!r}; there are {', '.join(ENCODERS)}")
    return config
