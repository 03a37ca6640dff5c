"""Read `skeleton.toml`, the description of a folder: joints, units, axes, class names, splits."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import ConfigError, LayoutError, explain
from pipeline.files import safe_toml
from pipeline.files.regular_files import read_text
from pipeline.skeleton import layout_toml
from pipeline.skeleton.layout import Layout
from pipeline.skeleton.shipped_layouts import load_layout

SKELETON_TOML = "skeleton.toml"
DEFAULT_NAME = "folder"
"""Name of a layout that has none."""
Unit = Literal["m", "cm", "mm", "metres", "centimetres", "millimetres", "meters", "centimeters", "millimeters"]
PER_METRE = {"m": 1, "cm": 100, "mm": 1000}
"""Units per metre, by short name, to divide by: dividing by 100 is exact, multiplying by 0.01 is not."""
_SHORT_NAMES = {
    "metres": "m",
    "meters": "m",
    "centimetres": "cm",
    "centimeters": "cm",
    "millimetres": "mm",
    "millimeters": "mm",
}

Up = Literal["y", "-y", "z", "-z", "x", "-x"]
AXES: Mapping[Up, tuple[tuple[int, int], ...]] = {
    "y": ((0, 1), (1, 1), (2, 1)),
    "-y": ((0, 1), (1, -1), (2, -1)),
    "z": ((0, 1), (2, 1), (1, -1)),
    "-z": ((0, 1), (2, -1), (1, 1)),
    "x": ((1, -1), (0, 1), (2, 1)),
    "-x": ((1, 1), (0, -1), (2, 1)),
}
"""For each axis that may point up in the files: the axes that x, y and z are taken from, with signs. All are
rotations; none is a reflection."""

Condition = Mapping[str, Sequence[Any]]
"""Allowed values by column of the manifest.csv; a clip must satisfy all columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderSpec:
    """The content of a `skeleton.toml`."""

    path: Path
    layout: Layout
    per_metre: int
    """Number of the files' units in a metre."""
    up: Up
    """The axis that points up in the files."""
    frames_per_second: float | None
    """Of the recordings; None when the file does not say."""
    max_people: int | None = None
    """Largest number of people in a recording; None when the file does not say."""
    classes: Mapping[int, str] | None
    """Class names by label; None when the file has none."""
    splits: Mapping[str, Mapping[str, Condition | None]]
    """For each split the conditions `train` and `test` (None: all clips that are not in `train`)."""

    def metres(self, xyz: NDArray[Any]) -> NDArray[np.float32]:
        """Convert positions (..., 3) of the files to metres, y up; a joint with a NaN or infinity becomes all NaN."""
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = xyz.astype(np.float64) / self.per_metre
            out = np.stack([sign * scaled[..., source] for source, sign in AXES[self.up]], axis=-1).astype(np.float32)
        out[~np.isfinite(out).all(axis=-1)] = np.nan
        return out


Values = dict[str, Any]


class _Sides(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    train: Values
    test: Values | None = None


class _Form(BaseModel):
    """The keys of the file; the keys of the skeleton are validated later."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    name: str | None = Field(default=None, min_length=1)
    description: str = ""
    units: Unit
    up: Up = "y"
    frames_per_second: float | None = Field(default=None, ge=1, le=1000)
    max_people: int | None = Field(default=None, ge=1, le=2)
    layout: str | None = None
    joints: Any = None
    parents: Any = None
    parts: Any = None
    centre: Any = None
    spine: Any = None
    shoulders: Any = None
    classes: Any = None
    splits: dict[str, _Sides] = {}


def read_skeleton_toml(path: Path) -> FolderSpec:
    """Read a `skeleton.toml`.

    Raises:
        ConfigError: the file is no valid TOML, or a key is missing, unknown or has an invalid value.
        LayoutError: joints, parents or parts contradict each other.
    """
    form = _read_form(path)
    return FolderSpec(
        path=path,
        layout=_layout(path, form),
        per_metre=PER_METRE[_SHORT_NAMES.get(form.units, form.units)],
        up=form.up,
        frames_per_second=form.frames_per_second,
        max_people=form.max_people,
        classes=_classes(path, form.classes),
        splits={
            name: {
                "train": _condition(path, name, "train", sides.train),
                "test": None if sides.test is None else _condition(path, name, "test", sides.test),
            }
            for name, sides in form.splits.items()
        },
    )


def skeleton_values(path: Path) -> Layout:
    """Read only the layout of a TOML file, which may have no other keys.

    Raises:
        ConfigError, LayoutError: see `read_skeleton_toml`.
    """
    try:
        form = _read_form(path, units="m")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    return _layout(path, form)


def _read_form(path: Path, **defaults: str) -> _Form:
    """Read the keys of the file, with defaults for keys that it does not have.

    Raises:
        ConfigError: the file is no valid TOML, or a key is missing, unknown or has an invalid value.
    """
    try:
        return _Form.model_validate({**defaults, **safe_toml.loads(unicodedata.normalize("NFC", read_text(path)))})
    except ValidationError as error:
        known = (list((_Form if len(fault["loc"]) == 1 else _Sides).model_fields) for fault in error.errors())
        messages = (explain([fault], keys) for fault, keys in zip(error.errors(), known, strict=True))
        raise ConfigError(f"{path}: {'; '.join(messages)}") from error
    except ValueError as error:  # TOML and UTF-8
        raise ConfigError(f"{path}: cannot be read as TOML: {error}") from error


def _layout(path: Path, form: _Form) -> Layout:
    """Return the layout: a shipped one by name, or one from the keys of the skeleton.

    Raises:
        ConfigError: the file has both, or keys are missing or invalid.
        LayoutError: the keys contradict each other, or there is no shipped layout of that name.
    """
    given = {key: getattr(form, key) for key in layout_toml.SKELETON_KEYS if getattr(form, key) is not None}
    try:
        if form.layout is None:
            return layout_toml.SkeletonTable.model_validate(given).layout(form.name or DEFAULT_NAME)
        if given:
            raise ConfigError(
                f"{path}: has layout = {form.layout!r} and {', '.join(given)}; a shipped layout defines all of these, "
                "so keep one or the other"
            )
        shipped = load_layout(form.layout)
        return shipped if form.name is None else replace(shipped, name=form.name)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error.errors(), list(_Form.model_fields))}") from error
    except LayoutError as error:
        raise LayoutError(f"{path}: {error}") from error


def _classes(path: Path, given: Any) -> Mapping[int, str] | None:
    """Return class names by label, from a list (labels count from 0) or from a table whose keys are labels."""
    if given is None:
        return None
    if isinstance(given, dict) and given.keys() == {"names"}:
        given = given["names"]
    names = dict(enumerate(given)) if isinstance(given, list) else given
    if not isinstance(names, dict):
        raise ConfigError(f'{path}: classes: expected names = ["first", "second"], or lines like 0 = "first"')
    for label, name in names.items():
        if not re.fullmatch(r"[0-9]{1,5}", str(label)):
            raise ConfigError(f"{path}: classes.{label} is unknown; it takes names, or labels from 0 such as 0 and 17")
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"{path}: classes: {label} has no name: {name!r}")
    if twice := [name for name, count in Counter(names.values()).items() if count > 1]:
        raise ConfigError(f"{path}: classes: two are called {twice[0]!r}")
    return {int(label): name.strip() for label, name in names.items()}


def _condition(path: Path, split: str, side: str, given: Values) -> Condition:
    """Return one side of a split as lists of values by column; a single value needs no brackets in the file."""
    where = f"{path}: splits.{split}.{side}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", split):  # it becomes the name of a file
        raise ConfigError(f"{path}: splits: a split cannot be called {split!r}; letters, digits, - and _")
    if not given:
        raise ConfigError(f"{where}: names no column; expected something like {{ subject = [1, 2, 3] }}")
    lists = {column: values if isinstance(values, list) else [values] for column, values in given.items()}
    for column, values in lists.items():
        if not values or not all(isinstance(value, str | int | float) for value in values):
            raise ConfigError(f"{where}: {column}: expected a list of numbers or strings, found {values!r}")
    return lists
