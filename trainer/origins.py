"""A configuration value by value: what it is, where it comes from, what it is for; and as a file for `--config`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ConfigError
from pipeline.splits import Split
from pipeline.store import Store
from trainer import config, eval_config, keys, opening
from trainer.config import PretrainConfig
from trainer.runs import Run
from trainer.settings import DEFAULT, FITTED, Layer, flat, flat_of, origins

UNKNOWN = "not recorded"
"""Where the values of a run come from that was trained before runs noted it."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a configuration."""

    key: str
    value: Any
    origin: str
    """`default`, `preset quick`, a file's name, `--set` or another option, `fitted to the data`."""
    about: str
    """What it is for; empty where its owner says nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A whole configuration."""

    of: str
    """What it is of, in words."""
    values: list[Value]
    notes: list[str]
    preset: str | None = None


def of_pretrain(preset: str, layers: Sequence[Layer], data: tuple[Store, Split] | None = None) -> Shown:
    """What `pretrain` would use.

    Args:
        preset: its name.
        layers: the preset and what stands over it.
        data: what would be trained on; without it nothing is fitted.

    Raises:
        ConfigError: a key or value is impossible.
    """
    asked = found = config.of_layers(layers)
    of, notes = f"preset {preset}, without a store", []
    if data is not None:
        of = f"preset {preset} on {data[0].path} {data[1].name}"
        try:
            found, _ = opening.fitted(*data, asked)
        except ConfigError as error:
            notes.append(f"pretrain refuses this: {error}")
    elif asked.fit_to_data:
        notes.append("fit_to_data: bodies, pair.queue_size and pair.momentum, where not given, follow the training set")
    whence = {**origins(layers), **dict.fromkeys(opening.changed(asked, found), FITTED)}
    return Shown(of=of, values=_values(found.model_dump(mode="json"), whence), notes=notes, preset=preset)


def of_run(run: Run) -> Shown:
    """What a run was trained with, as it has recorded it."""
    plain = run.config.model_dump(mode="json")
    whence, notes = dict(run.origins or {}), list[str]()
    if run.imported:
        notes.append(f"weights imported from {run.imported['file']}; nothing was trained with this here")
    elif run.origins is None:
        notes.append(f"the run is of before origins were recorded; it was trained with preset {run.preset}")
        usual = flat_of(PretrainConfig())
        whence = {key: UNKNOWN for key, value in flat(plain).items() if value != usual[key]}
    return Shown(of=f"{run.path}, preset {run.preset}", values=_values(plain, whence), notes=notes, preset=run.preset)


def of_eval(settings: Sequence[str]) -> Shown:
    """What `eval` would use.

    Raises:
        ConfigError: a key or value is impossible.
    """
    layers = eval_config.layers(settings)
    found = eval_config.of_layers(layers)
    plain = {**found.model_dump(mode="json"), "semi": found.semi_for(0.1).model_dump(mode="json")}
    few, usual = found.semi_for(0.01).model_dump(mode="json"), plain["semi"]
    other = ", ".join(f"{key} {few[key]}" for key in few if few[key] != usual[key])
    notes = [f"semi is for a tenth of the labels; for 1 % and less: {other}"] if other else []
    return Shown(of="eval", values=_values(plain, origins(layers), keys.EVALUATE), notes=notes)


def to_json(shown: Shown) -> dict[str, Any]:
    """The same as plain data, with every description."""
    values = {value.key: {"value": value.value, "origin": value.origin, "about": value.about} for value in shown.values}
    return {"of": shown.of, "preset": shown.preset, "values": values, "notes": shown.notes}


def to_toml(shown: Shown) -> list[str]:
    """A file for `pretrain --config`, each value with its origin; what is left to the data or to the program is not in.

    TOML has no null: values that are not given are comments.
    """
    lines = [f"# {shown.of}", *(f"# {note}" for note in shown.notes)]
    if shown.preset in config.preset_names():
        lines.append(f"# use: skelepipe pretrain --preset {shown.preset} --config FILE")
    adapts = any(value.key == "fit_to_data" and value.value for value in shown.values)
    fits = any(value.origin == FITTED for value in shown.values)
    table = ""
    for value in sorted(shown.values, key=lambda value: value.key.count(".") > 0):  # a table's head ends the top level
        above, _, name = value.key.rpartition(".")
        if above != table:
            table = above
            lines += ["", f"[{table}]"]
        left_open = value.value is None or (
            adapts and not fits and value.key in config.FITTING and value.origin == DEFAULT
        )
        said = f"{name} = {_toml(value.value)}" if value.value is not None else f"{name} is not given"
        lines.append(f"{'# ' if left_open else ''}{said}  # {value.origin}")
    return lines


def _values(plain: Mapping[str, Any], whence: Mapping[str, str], model: tuple[str, str] = keys.PRETRAIN) -> list[Value]:
    about = keys.of(model)
    return [
        Value(key, value, whence.get(key, DEFAULT), about[key].about if key in about else "")
        for key, value in flat(plain).items()
    ]


def _toml(value: Any) -> str:
    """A value as TOML has it: JSON but for control characters, of which JSON lets one stand."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
