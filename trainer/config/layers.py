"""Values laid over one another: defaults, a preset, a file, `--set`; and where each one in the end comes from."""

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.errors import ConfigError, validation_reason
from pipeline.files import safe_toml
from pipeline.suggest import did_you_mean
from trainer.config.keys import key_groups, keys_of_model, known_names

DEFAULT_ORIGIN, SET_ORIGIN, FITTED_ORIGIN = "default", "--set", "fitted to the data"
"""Origins of a value beside the name of a preset and of a file."""
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class ConfigLayer:
    """Values that stand over those of the layers before."""

    origin: str
    """What they come from, in words: `preset quick`, `mine.toml`, `--set`."""
    values: Mapping[str, Any]
    """Nested tables."""


def build_config(model: type[Model], layers: Sequence[ConfigLayer], what: str) -> Model:
    """A configuration from its layers.

    Args:
        model: its class.
        layers: from the lowest to the highest.
        what: it is, for what goes wrong in no layer alone.

    Raises:
        ConfigError: a key or value is impossible; the text says where it stands and which keys are like it.
    """
    plain: dict[str, Any] = {}
    for layer in layers:
        plain = merged(plain, layer.values)
    try:
        return model.model_validate(plain)
    except ValidationError as error:
        fault = error.errors()[0]
        loc = tuple(map(str, fault["loc"]))
        above = next((layer for layer in reversed(layers) if _has(layer.values, loc)), None)
        owner = above.origin if above else what
        said = _format_error(fault, loc, above.values if above else {}, model)
        if owner.startswith("--") and owner != SET_ORIGIN:  # an option of its own needs no key
            said = said.removeprefix(f"{'.'.join(loc)}: ")
        raise ConfigError(f"{owner} {said}" if owner == SET_ORIGIN and loc else f"{owner}: {said}") from error


def value_origins(layers: Iterable[ConfigLayer]) -> dict[str, str]:
    """The highest layer that has each key, by `a.b`; what is in none has its default."""
    return {key: layer.origin for layer in layers for key in flatten(layer.values)}


def flatten(nested: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested tables as `a.b`: value."""
    level: dict[str, Any] = {}
    for key, value in nested.items():
        level |= flatten(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return level


def flatten_model(model: BaseModel) -> dict[str, Any]:
    """A whole configuration as `a.b`: value, values as JSON has them."""
    return flatten(model.model_dump(mode="json"))


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables, the values of `above` over those of `below`."""
    both = dict(below)
    for key, value in above.items():
        below_it = both.get(key)
        inner = below_it if isinstance(below_it, Mapping) else {}
        both[key] = merged(inner, value) if isinstance(value, Mapping) else value
    return both


def parse_setting(setting: str) -> dict[str, Any]:
    """`a.b=value` as nested tables; the value is TOML, or a bare word for a string.

    Raises:
        ConfigError: it is no KEY=VALUE, or the value is not TOML.
    """
    key, equals, value = setting.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {setting}: expected KEY=VALUE, like epochs=50 or encoder.hidden_channels=8")
    for text in (f"{key} = {value}", f'{key} = "{value}"'):
        try:
            return safe_toml.loads(text)
        except ValueError:
            continue
    raise ConfigError(f"--set {setting}: the value is not TOML")


def layers_from_options(given: Mapping[str, Any]) -> list[ConfigLayer]:
    """What options of their own set, by their parameters' names: `method_name` sets `method.name` as `--method`."""
    return [
        ConfigLayer(f"--{name.partition('_')[0]}", parse_setting(f"{name.replace('_', '.')}={value}"))
        for name, value in given.items()
        if value is not None
    ]


def _format_error(
    fault: Mapping[str, Any], loc: tuple[str, ...], values: Mapping[str, Any], model: type[BaseModel]
) -> str:
    """A finding of pydantic's in words: the key, what is wrong with it, and what may be meant."""
    path = ".".join(loc)
    if fault["type"] == "extra_forbidden":
        return _unknown(path, values, model)
    if fault["type"] == "model_type":
        return f"{path}: is a table, not a value; it takes {', '.join(known_names(model, path))}"
    if fault["type"] == "literal_error" and path in keys_of_model(model):
        choices = keys_of_model(model)[path].choices
        return f"{path}: {reprlib.repr(fault['input'])} is not one of {', '.join(choices)}{did_you_mean(fault['input'], choices)}"
    return f"{path}: {validation_reason(fault)}" if loc else validation_reason(fault)


def _unknown(path: str, values: Mapping[str, Any], model: type[BaseModel]) -> str:
    """What to say of a key that is not there: those that are like it, else those of its table."""
    typed = next((key for key in flatten(values) if key == path or key.startswith(f"{path}.")), path)
    table = path.rpartition(".")[0]
    inside = [key for key in keys_of_model(model) if table and key.startswith(f"{table}.")]
    if near := did_you_mean(typed, inside) or did_you_mean(typed, [*keys_of_model(model), *key_groups(model)]):
        return f"{typed}: no such key{near}"
    there = known_names(model, table)
    return f"{typed}: no such key; known{f' in {table}' if table else ''}: {', '.join(there)}"


def _has(values: Mapping[str, Any], loc: Sequence[str]) -> bool:
    """Whether a layer has the value that a fault is about, or one in it; loc may go on into lists."""
    for part in loc:
        if not isinstance(values, Mapping):
            return True
        if part not in values:
            return False
        values = values[part]
    return bool(loc)
