"""Skeleton layouts that come with skelepipe, and mappings from the joints of one layout to another."""

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


class _MappingTable(BaseModel):
    """One table of a layout file: for each joint of another layout, the weights of source joints."""

    model_config = ConfigDict(extra="forbid", strict=True)
    joints: dict[str, dict[str, float]]
    made_up: list[str]


class _LayoutFile(SkeletonTable):
    description: str
    to: dict[str, _MappingTable] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LayoutMapping:
    """Converts bodies of one layout to another: each target joint is a weighted mean of source joints."""

    source: Layout
    target: Layout
    weights: NDArray[np.float64]
    """(target joints, source joints); each row adds up to 1; negative weights extrapolate."""
    made_up: tuple[str, ...]
    """Target joints without a counterpart in the source; they are derived from others."""


def layout_names() -> list[str]:
    """Return the names of the shipped layouts, sorted."""
    folder = resources.files("pipeline.skeleton") / "layouts"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


@cache
def load_layout(name: str) -> Layout:
    """Return a shipped layout.

    Raises:
        LayoutError: there is no layout of that name.
    """
    return _read_layout_file(name).layout(name)


def mapping_targets(name: str) -> list[str]:
    """Return the names of the layouts that a shipped layout can be converted to."""
    return sorted(_read_layout_file(name).to)


@cache
def layout_mapping(source: str, target: str) -> LayoutMapping:
    """Return the mapping between two shipped layouts.

    Raises:
        LayoutError: there is no mapping between them.
    """
    tables = _read_layout_file(source).to if source in layout_names() else {}
    if target not in tables:
        known = [f"{name} to {other}" for name in layout_names() for other in mapping_targets(name)]
        raise LayoutError(f"layout {source}: cannot be converted to {target}; possible are {', '.join(known)}")
    table, before, after = tables[target], load_layout(source), load_layout(target)
    if unmatched := sorted({*after.joints} ^ {*table.joints}):
        raise LayoutError(f"layout {source}: its table to {target} has missing or extra joints: {', '.join(unmatched)}")
    weights = np.zeros((len(after.joints), len(before.joints)))
    for joint, sources in table.joints.items():
        for source_joint, weight in sources.items():
            weights[after.index(joint), before.index(source_joint)] = weight
    if wrong := [joint for joint, row in zip(after.joints, weights, strict=True) if abs(row.sum() - 1) > 1e-9]:
        raise LayoutError(f"layout {source}: the weights of {', '.join(wrong)} do not add up to 1")
    return LayoutMapping(before, after, weights, tuple(table.made_up))


@cache
def _read_layout_file(name: str) -> _LayoutFile:
    if name not in layout_names():
        raise LayoutError(
            f"no layout is called {name!r}{did_you_mean(name, layout_names())}; there are {', '.join(layout_names())}"
        )
    text = (resources.files("pipeline.skeleton") / "layouts" / f"{name}.toml").read_text(encoding="utf-8")
    plain: Mapping[str, Any] = safe_toml.loads(text)
    try:
        return _LayoutFile.model_validate(plain)
    except ValidationError as error:
        raise LayoutError(f"layout {name}: {explain(error.errors(), list(_LayoutFile.model_fields))}") from error
