"""Configuration keys accepted by `--set` and `--config`, with their choices and descriptions."""

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class ConfigModel(BaseModel):
    """Base class of all configuration models: frozen, unknown keys are refused, docstrings describe the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """A single setting."""

    path: str
    """`pair.queue_size`."""
    choices: tuple[str, ...]
    """The allowed values, if there are only a few."""
    about: str
    """Description in one line; empty if the field has none."""


@cache
def keys_of_model(model: type[BaseModel]) -> Mapping[str, ConfigKey]:
    """All keys of a configuration by their path, in the order of definition."""
    return {key.path: key for key in _keys(model, above="")}


def key_groups(model: type[BaseModel]) -> list[str]:
    """The tables of a configuration: `pair`, `method.mix`."""
    above = (path.rpartition(".")[0] for path in keys_of_model(model))
    return list(dict.fromkeys(name for name in above if name))


def known_names(model: type[BaseModel], table: str = "") -> list[str]:
    """Keys and sub-tables of one table of a configuration, or of its top level, without the table's own path."""
    start = f"{table}." if table else ""
    below = (path.removeprefix(start) for path in keys_of_model(model) if path.startswith(start))
    return list(dict.fromkeys(path.partition(".")[0] for path in below))


def _keys(model: type[BaseModel], above: str) -> Iterator[ConfigKey]:
    for name, field in model.model_fields.items():
        path = f"{above}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{path}.")
        else:
            yield ConfigKey(path, _choices(field.annotation), " ".join((field.description or "").split()))


def _choices(annotation: Any) -> tuple[str, ...]:
    """The values of a Literal, or of a bool."""
    if annotation is bool:
        return ("true", "false")
    if typing.get_origin(annotation) is Literal:
        return tuple(str(value) for value in typing.get_args(annotation))
    return ()
