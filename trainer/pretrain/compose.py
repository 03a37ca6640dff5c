"""Build the request of a pre-training from what a user names; everything else gets its default."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts.paths import default_run_folder
from pipeline.store.splits import find_split
from pipeline.store.store import Store
from trainer.config.layers import ConfigLayer, value_origins
from trainer.config.presets import choose_preset, config_from_layers, pretrain_layers
from trainer.pretrain.pretrain import PretrainRequest


def compose_request(
    store: Store,
    split: str | None,
    preset: str | None,
    file: Path | None,
    settings: Sequence[str],
    layers: Sequence[ConfigLayer],
    *,
    device: torch.device,
    output: Path | None,
    **options: Any,
) -> tuple[PretrainRequest, list[str]]:
    """Return the request, and advice for the user on the choice of the preset.

    Args:
        store: the store.
        split: name or file of a split; None: the default split.
        preset: a name; None: the one that suits device and data.
        file: a TOML file over the preset.
        settings: `KEY=VALUE`, over both.
        layers: values over all of these.
        device: where to train.
        output: the run's folder; None: named after store, split and preset.
        **options: further fields of the request.

    Raises:
        ConfigError: preset or split do not exist, or a value is impossible.
        ArtifactError: the split is damaged.
    """
    chosen = find_split(store, split)
    clips = len(chosen.train)
    name, found, advice = choose_preset(preset, store.attributes["dataset"], chosen.name, device.type == "cuda", clips)
    all_layers = [*pretrain_layers(name, found, file, settings, clips), *layers]
    request = PretrainRequest(
        store=store,
        split=chosen,
        preset=name,
        config=config_from_layers(all_layers),
        origins=value_origins(all_layers),
        device=device,
        output=output or default_run_folder(store.name, chosen.name, name),
        **options,
    )
    return request, advice
