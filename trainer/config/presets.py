"""Shipped presets, and the configuration layers over a preset: file and `--set`."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.errors import ConfigError
from pipeline.files import safe_toml
from pipeline.files.regular_files import read_text
from pipeline.files.text_paths import accept_text_paths
from pipeline.suggest import did_you_mean, did_you_mean_path
from trainer.config.layers import FITTED_ORIGIN, SET_ORIGIN, ConfigLayer, build_config, parse_setting
from trainer.config.pretrain import PretrainConfig

QUICK_PRESET = "quick"
CPU_PRESETS = frozenset({QUICK_PRESET, "demo"})
FULL_PRESET = "full"
MIN_FULL_CLIPS = 2000
"""Training clips from which the default on a GPU is a full-width encoder; a choice, not measured."""


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
    """Choose the named preset, or a default that suits the device and the number of clips.

    The default is `quick` without a GPU or for less than `MIN_FULL_CLIPS` clips, else the preset of the data set and
    split, else `full`.

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
    advice = []
    if name is None:
        published = f"{dataset}-{split}" if f"{dataset}-{split}" in preset_names() else FULL_PRESET
        is_small = clips is not None and clips < MIN_FULL_CLIPS
        name = QUICK_PRESET if is_small or not has_gpu else published
        if name == QUICK_PRESET:
            reason = "no GPU" if not has_gpu else f"less than {MIN_FULL_CLIPS:,} training clips"
            advice.append(f"{reason}: preset {name}, a narrow encoder; --preset {published} trains a full-width one")
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


def fitted_batch(chosen: Preset, clips: int) -> list[ConfigLayer]:
    """Return a layer with a batch of half the clips if that of a preset with `fit_to_data` is larger than all clips."""
    batch = chosen.config.get("batch_size", 0)
    if not chosen.config.get("fit_to_data") or not 4 <= clips < batch:
        return []
    return [ConfigLayer(FITTED_ORIGIN, {"batch_size": clips // 2})]


@accept_text_paths
def pretrain_layers(
    name: str, chosen: Preset, file: Path | None = None, settings: Sequence[str] = (), clips: int | None = None
) -> list[ConfigLayer]:
    """Return the layers of a pre-training configuration: preset, TOML file, `a.b=value` settings.

    With the number of training clips, a batch of the preset that is larger is fitted to them.

    Raises:
        ConfigError: the file cannot be read, or a setting is not KEY=VALUE.
    """
    layers = [ConfigLayer(f"preset {name}", chosen.config)]
    layers += [] if clips is None else fitted_batch(chosen, clips)
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


@accept_text_paths
def compose_pretrain(chosen: Preset, file: Path | None = None, settings: Sequence[str] = ()) -> PretrainConfig:
    """Build the pre-training configuration from a preset, a TOML file and `a.b=value` settings.

    Raises:
        ConfigError: the file cannot be read, or a key or value is invalid.
    """
    return config_from_layers(pretrain_layers("", chosen, file, settings))
