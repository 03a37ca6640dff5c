"""The kinds of skeleton that come with skelepipe, and how the joints of one are made of another's."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import LayoutError, explain
from pipeline.files import safe_toml
from pipeline.skeleton.layout import Layout
from pipeline.skeleton.layout_toml import SkeletonTable
from pipeline.suggest import did_you_mean


class _Recast(BaseModel):
    """One table of a layout's file: what each joint of another layout is made of."""

    model_config = ConfigDict(extra="forbid", strict=True)
    joints: dict[str, dict[str, float]]
    made_up: list[str]


class _Form(SkeletonTable):
    description: str
    to: dict[str, _Recast] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LayoutMapping:
    """How bodies of one layout become bodies of another: each joint a weighted mean of joints."""

    source: Layout
    target: Layout
    weights: NDArray[np.float64]
    """(target joints, source joints); each row adds up to 1, and a weight below 0 goes beyond the line between two."""
    made_up: tuple[str, ...]
    """Joints of the target that the source has nothing of: they follow from others."""


def layout_names() -> list[str]:
    """Of the shipped layouts, sorted."""
    folder = resources.files("pipeline.skeleton") / "layouts"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


@cache
def load_layout(name: str) -> Layout:
    """A shipped layout.

    Raises:
        LayoutError: there is none of that name.
    """
    return _form(name).layout(name)


def mapping_targets(name: str) -> list[str]:
    """The layouts that a shipped layout's bodies can be made into."""
    return sorted(_form(name).to)


@cache
def layout_mapping(source: str, target: str) -> LayoutMapping:
    """How bodies of one shipped layout become those of another.

    Raises:
        LayoutError: there is no table for these two.
    """
    tables = _form(source).to if source in layout_names() else {}
    if target not in tables:
        known = [f"{name} to {other}" for name in layout_names() for other in mapping_targets(name)]
        raise LayoutError(f"layout {source}: cannot be made into {target}; there is {', '.join(known)}")
    table, before, after = tables[target], load_layout(source), load_layout(target)
    if lacking := sorted({*after.joints} ^ {*table.joints}):
        raise LayoutError(f"layout {source}: its table to {target} is wrong about {', '.join(lacking)}")
    weights = np.zeros((len(after.joints), len(before.joints)))
    for joint, parts in table.joints.items():
        for part, weight in parts.items():
            weights[after.index(joint), before.index(part)] = weight
    if wrong := [joint for joint, row in zip(after.joints, weights, strict=True) if abs(row.sum() - 1) > 1e-9]:
        raise LayoutError(f"layout {source}: the weights of {', '.join(wrong)} do not add up to 1")
    return LayoutMapping(before, after, weights, tuple(table.made_up))


@cache
def _form(name: str) -> _Form:
    if name not in layout_names():
        raise LayoutError(
            f"no layout is called {name!r}{did_you_mean(name, layout_names())}; there are {', '.join(layout_names())}"
        )
    text = (resources.files("pipeline.skeleton") / "layouts" / f"{name}.toml").read_text(encoding="utf-8")
    plain: Mapping[str, Any] = safe_toml.loads(text)
    try:
        return _Form.model_validate(plain)
    except ValidationError as error:
        raise LayoutError(f"layout {name}: {explain(error.errors(), list(_Form.model_fields))}") from error
