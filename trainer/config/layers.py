"""Merge configuration layers (defaults, preset, file, `--set`) and record which layer each value comes from."""

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.errors import ConfigError, validation_reason
from pipeline.files import safe_toml
from pipeline.suggest import close_words, did_you_mean, format_suggestions
from trainer.config.keys import key_groups, keys_of_model, known_names

DEFAULT_ORIGIN, SET_ORIGIN, FITTED_ORIGIN = "default", "--set", "fitted to the data"
"""Origins of a value, besides the names of presets and files."""
_OPTIONS = {"method.name": "--method", "learning_rate": "--lr"}
"""Options that are not named after their key."""
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class ConfigLayer:
    """Values that override those of the layers before."""

    origin: str
    """Where they come from: `preset quick`, `mine.toml`, `--set`."""
    values: Mapping[str, Any]
    """Nested tables."""


def build_config(model: type[Model], layers: Sequence[ConfigLayer], what: str) -> Model:
    """Build a configuration from its layers.

    Args:
        model: class of the configuration.
        layers: from the lowest to the highest precedence.
        what: name of the configuration, for errors that no single layer causes.

    Raises:
        ConfigError: a key or value is invalid; the message names the layer and suggests similar keys.
    """
    values: dict[str, Any] = {}
    for layer in layers:
        values = merge(values, layer.values)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        loc = tuple(map(str, fault["loc"]))
        culprit = next((layer for layer in reversed(layers) if _has(layer.values, loc)), None)
        origin = culprit.origin if culprit else what
        message = _format_error(fault, loc, culprit.values if culprit else {}, model)
        if origin.startswith("--") and origin != SET_ORIGIN:  # a dedicated option such as --method implies the key
            message = message.removeprefix(f"{'.'.join(loc)}: ")
        raise ConfigError(f"{origin} {message}" if origin == SET_ORIGIN and loc else f"{origin}: {message}") from error


def value_origins(layers: Iterable[ConfigLayer]) -> dict[str, str]:
    """Return the origin of each key, by `a.b`: the highest layer that sets it. Keys with default values are missing."""
    return {key: layer.origin for layer in layers for key in flatten(layer.values)}


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested tables to `a.b`: value."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def flatten_model(model: BaseModel) -> dict[str, Any]:
    """Flatten a configuration to `a.b`: value, with JSON-compatible values."""
    return flatten(model.model_dump(mode="json"))


def merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested tables; values of `upper` override those of `lower`."""
    result = dict(lower)
    for key, value in upper.items():
        old = result.get(key)
        inner = old if isinstance(old, Mapping) else {}
        result[key] = merge(inner, value) if isinstance(value, Mapping) else value
    return result


def parse_setting(setting: str) -> dict[str, Any]:
    """Parse `a.b=value` to nested tables. The value is TOML; a bare word is a string.

    Raises:
        ConfigError: the setting is not KEY=VALUE, or the value is not TOML.
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


def option_name(key: str) -> str:
    """Return the dedicated option that sets a key: `--lr` for learning_rate."""
    return _OPTIONS.get(key, f"--{key.replace('_', '-')}")


def layers_from_options(given: Mapping[str, Any]) -> list[ConfigLayer]:
    """Return layers for dedicated options, by key: `method.name` is set by `--method`. None is not given."""
    return [
        ConfigLayer(option_name(key), parse_setting(f"{key}={value}"))
        for key, value in given.items()
        if value is not None
    ]


def _format_error(
    fault: Mapping[str, Any], loc: tuple[str, ...], values: Mapping[str, Any], model: type[BaseModel]
) -> str:
    """Format a pydantic error: the key, what is wrong with it, and suggestions."""
    path = ".".join(loc)
    if fault["type"] == "extra_forbidden":
        return _format_unknown_key(path, values, model)
    if fault["type"] == "model_type":
        return f"{path}: is a table, not a value; it takes {', '.join(known_names(model, path))}"
    if fault["type"] == "literal_error" and path in keys_of_model(model):
        choices, given = keys_of_model(model)[path].choices, fault["input"]
        hint = did_you_mean(given, choices)
        return f"{path}: {reprlib.repr(given)} is not one of {', '.join(choices)}{hint}"
    return f"{path}: {validation_reason(fault)}" if loc else validation_reason(fault)


def _format_unknown_key(path: str, values: Mapping[str, Any], model: type[BaseModel]) -> str:
    """Format the error for an unknown key, with similar keys, else the known keys of its table."""
    typed = next((key for key in flatten(values) if key == path or key.startswith(f"{path}.")), path)
    table = path.rpartition(".")[0]
    inside = {key.rpartition(".")[2]: key for key in keys_of_model(model) if table and key.startswith(f"{table}.")}
    close = [inside[name] for name in close_words(typed.rpartition(".")[2], inside)]
    if hint := format_suggestions(close) or did_you_mean(typed, [*keys_of_model(model), *key_groups(model)]):
        return f"{typed}: no such key{hint}"
    known = known_names(model, table)
    return f"{typed}: no such key; known{f' in {table}' if table else ''}: {', '.join(known)}"


def _has(values: Mapping[str, Any], loc: Sequence[str]) -> bool:
    """Return whether a layer contains the value at a pydantic error location, which may continue into lists."""
    for key in loc:
        if not isinstance(values, Mapping):
            return True
        if key not in values:
            return False
        values = values[key]
    return bool(loc)
