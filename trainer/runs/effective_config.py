"""A configuration value by value: what it is, where it comes from, what it is for; and as a file for `--config`."""

import json
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
from trainer.data.holdout import changed_keys, fit_to_data
from trainer.runs.run import Run

NOT_RECORDED = "not recorded"
"""Where the values of a run come from that was trained before runs noted it."""


@dataclass(frozen=True, slots=True)
class EffectiveValue:
    """One value of a configuration."""

    key: str
    value: Any
    origin: str
    """`default`, `preset quick`, a file's name, `--set` or another option, `fitted to the data`."""
    about: str
    """What it is for; empty where its owner says nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectiveConfig:
    """A whole configuration."""

    of: str
    """What it is of, in words."""
    values: list[EffectiveValue]
    notes: list[str]
    preset: str | None = None


def effective_pretrain_config(
    preset: str, layers: Sequence[ConfigLayer], data: tuple[Store, Split] | None = None
) -> EffectiveConfig:
    """What `pretrain` would use.

    Args:
        preset: its name.
        layers: the preset and what stands over it.
        data: what would be trained on; without it nothing is fitted.

    Raises:
        ConfigError: a key or value is impossible.
    """
    asked = found = config_from_layers(layers)
    of, notes = f"preset {preset}, without a store", []
    if data is not None:
        of = f"preset {preset} on {data[0].path} {data[1].name}"
        try:
            found, _ = fit_to_data(*data, asked)
        except ConfigError as error:
            notes.append(f"pretrain refuses this: {error}")
    elif asked.fit_to_data:
        notes.append("fit_to_data: bodies, pair.queue_size and pair.momentum, where not given, follow the training set")
    whence = {**value_origins(layers), **dict.fromkeys(changed_keys(asked, found), FITTED_ORIGIN)}
    return EffectiveConfig(of=of, values=_values(found.model_dump(mode="json"), whence), notes=notes, preset=preset)


def effective_run_config(run: Run) -> EffectiveConfig:
    """What a run was trained with, as it has recorded it."""
    plain = run.config.model_dump(mode="json")
    whence, notes = dict(run.origins or {}), list[str]()
    if run.imported:
        notes.append(f"weights imported from {run.imported['file']}; nothing was trained with this here")
    elif run.origins is None:
        notes.append(f"the run is of before origins were recorded; it was trained with preset {run.preset}")
        usual = flatten_model(PretrainConfig())
        whence = {key: NOT_RECORDED for key, value in flatten(plain).items() if value != usual[key]}
    return EffectiveConfig(
        of=f"{run.path}, preset {run.preset}", values=_values(plain, whence), notes=notes, preset=run.preset
    )


def effective_eval_config(settings: Sequence[str]) -> EffectiveConfig:
    """What `eval` would use.

    Raises:
        ConfigError: a key or value is impossible.
    """
    layers = eval_layers(settings)
    found = eval_config_from_layers(layers)
    plain = {**found.model_dump(mode="json"), "semi": found.semi_for(0.1).model_dump(mode="json")}
    few, usual = found.semi_for(0.01).model_dump(mode="json"), plain["semi"]
    other = ", ".join(f"{key} {few[key]}" for key in few if few[key] != usual[key])
    notes = [f"semi is for a tenth of the labels; for 1 % and less: {other}"] if other else []
    return EffectiveConfig(of="eval", values=_values(plain, value_origins(layers), EvalConfig), notes=notes)


def config_to_json(shown: EffectiveConfig) -> dict[str, Any]:
    """The same as plain data, with every description."""
    values = {value.key: {"value": value.value, "origin": value.origin, "about": value.about} for value in shown.values}
    return {"of": shown.of, "preset": shown.preset, "values": values, "notes": shown.notes}


def config_to_toml(shown: EffectiveConfig) -> list[str]:
    """A file for `pretrain --config`, each value with its origin; what is left to the data or to the program is not in.

    TOML has no null: values that are not given are comments.
    """
    lines = [f"# {shown.of}", *(f"# {note}" for note in shown.notes)]
    if shown.preset in preset_names():
        lines.append(f"# use: skelepipe pretrain --preset {shown.preset} --config FILE")
    adapts = any(value.key == "fit_to_data" and value.value for value in shown.values)
    fits = any(value.origin == FITTED_ORIGIN for value in shown.values)
    table = ""
    for value in sorted(shown.values, key=lambda value: value.key.count(".") > 0):  # a table's head ends the top level
        above, _, name = value.key.rpartition(".")
        if above != table:
            table = above
            lines += ["", f"[{table}]"]
        left_open = value.value is None or (
            adapts and not fits and value.key in FITTED_KEYS and value.origin == DEFAULT_ORIGIN
        )
        said = f"{name} = {_toml(value.value)}" if value.value is not None else f"{name} is not given"
        lines.append(f"{'# ' if left_open else ''}{said}  # {value.origin}")
    return lines


def _values(
    plain: Mapping[str, Any], whence: Mapping[str, str], model: type[BaseModel] = PretrainConfig
) -> list[EffectiveValue]:
    about = keys_of_model(model)
    return [
        EffectiveValue(key, value, whence.get(key, DEFAULT_ORIGIN), about[key].about if key in about else "")
        for key, value in flatten(plain).items()
    ]


def _toml(value: Any) -> str:
    """A value as TOML has it: JSON but for control characters, of which JSON lets one stand."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
