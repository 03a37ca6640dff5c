"""Effective configuration (`skelepipe config show`): value, origin and description of each key; TOML output."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from pipeline.errors import ConfigError
from pipeline.store.splits import Split
from pipeline.store.store import Store
from trainer.config.evaluation import EvalConfig, eval_config_from_layers, eval_layers
from trainer.config.keys import keys_of_model
from trainer.config.layers import DEFAULT_ORIGIN, FITTED_ORIGIN, ConfigLayer, flatten, flatten_model, value_origins
from trainer.config.presets import config_from_layers, preset_names
from trainer.config.pretrain import FITTED_KEYS, PretrainConfig
from trainer.data.holdout import changed_keys, fit_to_data, rare_bodies_notes
from trainer.runs.requirements import require_countable_steps, require_memory
from trainer.runs.run import Run
from trainer.runtime.device import choose_device

NOT_RECORDED = "not recorded"
"""Origin of values in runs of older versions, which did not record origins."""


@dataclass(frozen=True, slots=True)
class EffectiveValue:
    """One value of a configuration."""

    key: str
    value: Any
    origin: str
    """`default`, `preset quick`, a file's name, `--set` or another option, `fitted to the data`."""
    about: str
    """Description of the key; empty if there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectiveConfig:
    """A whole configuration."""

    of: str
    """What the configuration belongs to, such as a preset or a run, as text."""
    values: list[EffectiveValue]
    notes: list[str]
    preset: str | None = None


def effective_pretrain_config(
    preset: str, layers: Sequence[ConfigLayer], data: tuple[Store, Split] | None = None
) -> EffectiveConfig:
    """The configuration that `pretrain` would use.

    Args:
        preset: name of the preset.
        layers: the preset and the layers that override it.
        data: store and split to train on; without them no value is fitted to the data.

    Raises:
        ConfigError: a key or value is invalid.
    """
    requested = config = config_from_layers(layers)
    of, notes = f"preset {preset}, without a store", []
    if data is not None:
        of = f"preset {preset} on {data[0].path} {data[1].name}"
        try:
            config, holdout = fit_to_data(*data, requested)
            notes += rare_bodies_notes(*data, requested, config)
            require_countable_steps(config, len(holdout.train_rows) // config.batch_size)
            require_memory(data[0].layout, config, choose_device())
        except ConfigError as error:
            notes.append(f"pretrain rejects this configuration: {error}")
    elif requested.fit_to_data:
        notes.append(
            "fit_to_data: if not set, bodies, pair.queue_size and pair.momentum are derived from the training set"
        )
    origins = {**value_origins(layers), **dict.fromkeys(changed_keys(requested, config), FITTED_ORIGIN)}
    return EffectiveConfig(of=of, values=_values(config.model_dump(mode="json"), origins), notes=notes, preset=preset)


def effective_run_config(run: Run) -> EffectiveConfig:
    """The configuration that a run was trained with, as recorded in its run.json."""
    plain = run.config.model_dump(mode="json")
    origins, notes = dict(run.origins or {}), list[str]()
    if run.imported:
        notes.append(f"weights imported from {run.imported['file']}; nothing was trained with this configuration")
    elif run.origins is None:
        notes.append(
            f"the run is of an older version that did not record origins; it was trained with preset {run.preset}"
        )
        defaults = flatten_model(PretrainConfig())
        origins = {key: NOT_RECORDED for key, value in flatten(plain).items() if value != defaults[key]}
    return EffectiveConfig(
        of=f"{run.path}, preset {run.preset}", values=_values(plain, origins), notes=notes, preset=run.preset
    )


def effective_eval_config(settings: Sequence[str], preset: str | None = None) -> EffectiveConfig:
    """The configuration that `eval` would use for runs of a preset.

    Raises:
        ConfigError: a key or value is invalid.
    """
    layers = eval_layers(settings, preset)
    config = eval_config_from_layers(layers)
    tenth, hundredth = (config.semi_for(fraction).model_dump(mode="json") for fraction in (0.1, 0.01))
    plain = {**config.model_dump(mode="json"), "semi": tenth}
    differences = ", ".join(f"{key} {hundredth[key]}" for key in tenth if hundredth[key] != tenth[key])
    notes = [f"semi: values for 10 % of the labels; for 1 % and less: {differences}"] if differences else []
    of = f"eval of runs of preset {preset}" if preset else "eval"
    return EffectiveConfig(of=of, values=_values(plain, value_origins(layers), EvalConfig), notes=notes, preset=preset)


def config_to_json(config: EffectiveConfig) -> dict[str, Any]:
    """Convert a configuration to plain data with all descriptions."""
    values = {
        value.key: {"value": value.value, "origin": value.origin, "about": value.about} for value in config.values
    }
    return {"of": config.of, "preset": config.preset, "values": values, "notes": config.notes}


def config_to_toml(config: EffectiveConfig) -> list[str]:
    """Format a configuration as a file for `pretrain --config`, with meaning and origin of each value as comments.

    Values that will be fitted to the data are commented out, and so are unset values, because TOML has no null.
    """
    lines = [f"# {config.of}", *(f"# {note}" for note in config.notes)]
    if config.preset in preset_names():
        lines.append(f"# use: skelepipe pretrain --preset {config.preset} --config FILE")
    adapts = any(value.key == "fit_to_data" and value.value for value in config.values)
    fits = any(value.origin == FITTED_ORIGIN for value in config.values)
    table = ""
    for value in sorted(
        config.values, key=lambda value: value.key.count(".") > 0
    ):  # top-level keys must precede the first table
        above, _, name = value.key.rpartition(".")
        if above != table:
            table = above
            lines += ["", f"[{table}]"]
        is_comment = value.value is None or (
            adapts and not fits and value.key in FITTED_KEYS and value.origin == DEFAULT_ORIGIN
        )
        text = f"{name} = {_to_toml(value.value)}" if value.value is not None else f"{name} is not set"
        lines += ["", *(f"# {line}" for line in textwrap.wrap(value.about, 110))]
        lines.append(f"{'# ' if is_comment else ''}{text}  # {value.origin}")
    return lines


def _values(
    plain: Mapping[str, Any], origins: Mapping[str, str], model: type[BaseModel] = PretrainConfig
) -> list[EffectiveValue]:
    about = keys_of_model(model)
    return [
        EffectiveValue(key, value, origins.get(key, DEFAULT_ORIGIN), about[key].about if key in about else "")
        for key, value in flatten(plain).items()
    ]


def _to_toml(value: Any) -> str:
    """Format a value as TOML: like JSON, but DEL must be escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
