"""Configuration keys accepted by `--set` and `--config`, with their choices and descriptions."""

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

MAX_FLOAT = 1e30
"""Numbers up to this one, and their products with small numbers, fit float32."""


class ConfigModel(BaseModel):
    """Base class of all configuration models: frozen, unknown keys are refused, docstrings describe the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """A configuration key."""

    path: str
    """Dotted path, such as `pair.queue_size`."""
    choices: tuple[str, ...]
    """The allowed values of a choice or a switch; empty for other types."""
    about: str
    """Description in one line; empty if the field has none."""


@cache
def keys_of_model(model: type[BaseModel]) -> Mapping[str, ConfigKey]:
    """Return all keys of a configuration by path, in the order of definition."""
    return {key.path: key for key in _iter_keys(model, prefix="")}


def key_groups(model: type[BaseModel]) -> list[str]:
    """Return the paths of the tables of a configuration, such as `pair` and `method.mix`."""
    tables = (path.rpartition(".")[0] for path in keys_of_model(model))
    return list(dict.fromkeys(table for table in tables if table))


def known_names(model: type[BaseModel], table: str = "") -> list[str]:
    """Return the names of the keys and sub-tables in a table, or at the top level."""
    prefix = f"{table}." if table else ""
    inner = (path.removeprefix(prefix) for path in keys_of_model(model) if path.startswith(prefix))
    return list(dict.fromkeys(path.partition(".")[0] for path in inner))


def _iter_keys(model: type[BaseModel], prefix: str) -> Iterator[ConfigKey]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _iter_keys(field.annotation, f"{path}.")
        else:
            yield ConfigKey(path, _choices(field.annotation), " ".join((field.description or "").split()))


def _choices(annotation: Any) -> tuple[str, ...]:
    """Return the allowed values of a Literal or bool, else nothing."""
    if annotation is bool:
        return ("true", "false")
    if typing.get_origin(annotation) is Literal:
        return tuple(str(value) for value in typing.get_args(annotation))
    return ()
