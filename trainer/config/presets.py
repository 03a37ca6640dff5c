"""Shipped presets, and the configuration layers over a preset: file and `--set`."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.errors import ConfigError
from pipeline.files import safe_toml
from pipeline.files.regular_files import read_text
from pipeline.suggest import did_you_mean, did_you_mean_path
from trainer.config.layers import SET_ORIGIN, ConfigLayer, build_config, parse_setting
from trainer.config.pretrain import PretrainConfig

QUICK_PRESET = "quick"
CPU_PRESETS = frozenset({QUICK_PRESET, "demo"})


class PresetDescription(BaseModel):
    """What a preset is for, and the published results of its configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str
    dataset: str | None = None
    split: str | None = None
    train_clips: int | None = None
    """Number of training clips of the complete data set, where it is well defined."""
    published: dict[str, float] = {}
    """Top-1 accuracy in per cent that the authors report, by protocol."""
    source: str = ""
    """Source of the `published` numbers."""


class Preset(BaseModel):
    """A named configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: PresetDescription
    config: dict[str, Any] = {}
    """Of the pre-training."""
    evaluation: dict[str, Any] = {}
    """Settings with which `eval` evaluates runs of this preset."""


def preset_names() -> list[str]:
    """Return the names of the shipped presets."""
    folder = resources.files("trainer.config") / "presets"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_preset(name: str) -> Preset:
    """Load a shipped preset.

    Raises:
        ConfigError: no preset has this name.
    """
    if name not in preset_names():
        raise ConfigError(
            f"unknown preset {name!r}{did_you_mean(name, preset_names())}; known: {', '.join(preset_names())}"
        )
    text = (resources.files("trainer.config") / "presets" / f"{name}.toml").read_text(encoding="utf-8")
    return Preset.model_validate(safe_toml.loads(text))


def choose_preset(
    name: str | None, dataset: str, split: str, has_gpu: bool, clips: int | None = None
) -> tuple[str, Preset, list[str]]:
    """Choose the named preset, else the one for this data set and split, else `quick`.

    Args:
        name: name of a preset, or None.
        dataset: data set of the store.
        split: split to train on.
        has_gpu: whether the training runs on a GPU.
        clips: number of training clips, if known.

    Returns:
        Name, preset, and advice for the user.

    Raises:
        ConfigError: no preset has this name.
    """
    if name is None:
        name = f"{dataset}-{split}" if f"{dataset}-{split}" in preset_names() else QUICK_PRESET
    advice = []
    if name not in CPU_PRESETS and not has_gpu:
        advice.append(f"no GPU here: preset {name} is made for one; --preset {QUICK_PRESET} is made for CPUs")
    chosen = load_preset(name)
    about = chosen.about
    if about.dataset and (about.dataset, about.split) != (dataset, split):
        advice.append(f"preset {name} is for {about.dataset} {about.split}, not {dataset} {split}")
    elif about.train_clips and clips not in (None, about.train_clips):
        advice.append(
            f"preset {name} is for {about.train_clips:,} training clips, the whole data set; this one has {clips:,}"
        )
    return name, chosen, advice


def pretrain_layers(
    name: str, chosen: Preset, file: Path | None = None, settings: Sequence[str] = ()
) -> list[ConfigLayer]:
    """Return the layers of a pre-training configuration: preset, TOML file, `a.b=value` settings.

    Raises:
        ConfigError: the file cannot be read, or a setting is not KEY=VALUE.
    """
    layers = [ConfigLayer(f"preset {name}", chosen.config)]
    if file is not None:
        try:
            layers.append(ConfigLayer(str(file), safe_toml.loads(read_text(file))))
        except FileNotFoundError as error:
            raise ConfigError(f"{file}: no such file{did_you_mean_path(file)}") from error
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file}: {getattr(error, 'strerror', None) or error}") from error
    return layers + [ConfigLayer(SET_ORIGIN, parse_setting(setting)) for setting in settings]


def config_from_layers(layers: Sequence[ConfigLayer]) -> PretrainConfig:
    """Build the pre-training configuration from layers over the defaults.

    Raises:
        ConfigError: a key or value is invalid.
    """
    files = [layer.origin for layer in layers[1:] if layer.origin != SET_ORIGIN]
    return build_config(PretrainConfig, layers, " with ".join(["configuration", *files]))


def compose_pretrain(chosen: Preset, file: Path | None = None, settings: Sequence[str] = ()) -> PretrainConfig:
    """Build the pre-training configuration from a preset, a TOML file and `a.b=value` settings.

    Raises:
        ConfigError: the file cannot be read, or a key or value is invalid.
    """
    return config_from_layers(pretrain_layers("", chosen, file, settings))
