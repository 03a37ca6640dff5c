"""Recipes: a name and an ordered list of steps with their parameters, as data, from a recording to what a store keeps.

A step is a plain function. The first takes a Recording and returns a Clip, the others take a Clip and return a Clip;
before the first there may be some that take a Recording and return a Recording. What a recipe may set are their
keyword-only parameters, checked against the annotations in their signatures.
"""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Self, cast, get_type_hints

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from pipeline.errors import LayoutError, RecipeError, explain
from pipeline.files import safe_toml
from pipeline.recipes.registry import STEPS
from pipeline.skeleton.recording import STEP_COUNTS, Clip, Recording
from pipeline.skeleton.segments import DEFAULT_FRAME_INDEX, FrameIndex
from pipeline.suggest import did_you_mean, did_you_mean_path


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeStep:
    """One step of a recipe: a key of STEPS and a value for every parameter that it takes."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Recipe:
    """An ordered list of steps. Two recipes are equal when `resolved` is: the description is for people."""

    name: str
    description: str
    steps: tuple[RecipeStep, ...]
    frame_index: FrameIndex = DEFAULT_FRAME_INDEX
    """How the intervals of clips cut out of long recordings are counted."""

    @property
    def resolved(self) -> dict[str, Any]:
        """The recipe in full, every default filled in, as plain data; `from_plain` reads it back."""
        steps = [{"step": step.name, **step.parameters} for step in self.steps]
        return {"name": self.name, "frame_index": self.frame_index, "steps": steps}

    def counting(self, frame_index: FrameIndex | None) -> Self:
        """The recipe with another count of frames; None leaves it as it is."""
        return self if frame_index is None else replace(self, frame_index=frame_index)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.resolved == other.resolved

    def __hash__(self) -> int:
        return hash(repr(self.resolved))


class _Form(BaseModel):
    """What a recipe file holds, before its steps are looked at."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    description: str = ""
    frame_index: FrameIndex = DEFAULT_FRAME_INDEX
    steps: list[dict[str, Any]]


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package, sorted."""
    folder = resources.files("pipeline.recipes") / "shipped"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(recipe: str = "clean") -> Recipe:
    """Read a recipe.

    Args:
        recipe: the name of a shipped one, or the path of a TOML file (it ends in .toml or has a folder in it).

    Raises:
        RecipeError: there is no such recipe or file, or `from_plain` refuses it.
    """
    path: Traversable
    if recipe.endswith(".toml") or len(Path(recipe).parts) > 1:
        source, path = recipe, Path(recipe)
    elif recipe in shipped_recipes():
        source = f"{recipe}.toml"
        path = resources.files("pipeline.recipes") / "shipped" / source
    else:
        raise RecipeError(
            f"no recipe is called {recipe!r}{did_you_mean(recipe, shipped_recipes())}; "
            f"there are {_listed(shipped_recipes())}, or give the path of a .toml"
        )
    try:
        plain = safe_toml.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{source}: no such recipe file{did_you_mean_path(Path(source))}") from error
    except (OSError, ValueError) as error:
        raise RecipeError(f"{source}: cannot be read as TOML: {error}") from error
    return recipe_from_plain(plain, source)


def recipe_from_plain(plain: Mapping[str, Any], source: str) -> Recipe:
    """Build a recipe from plain data: what a TOML file holds, or what `resolved` gave.

    Args:
        plain: `name`, `description` and `frame_index` (may be absent) and `steps`, each with `step` and its parameters.
        source: where it comes from, for messages.

    Raises:
        RecipeError: a key or step is unknown, a parameter is unknown or takes no such value, or a step stands where it
            cannot; the message names the source and the step.
    """
    try:
        form = _Form.model_validate(dict(plain))
    except ValidationError as error:
        raise RecipeError(f"{source}: {explain(error.errors(), list(_Form.model_fields))}") from error
    if not form.steps:
        raise RecipeError(f"{source}: a recipe needs at least one step; the first is one of {_listed(_readers())}")
    steps = tuple(_step(entry, place, source) for place, entry in enumerate(form.steps, start=1))
    _refuse_places(steps, source)
    return Recipe(name=form.name, description=form.description, steps=steps, frame_index=form.frame_index)


def apply_recipe(recipe: Recipe, recording: Recording) -> Clip:
    """Run all the steps; the clip leaves with every count of STEP_COUNTS.

    Raises:
        UnusableClip: a step finds nothing to keep; the text is the reason.
        RecipeError: a step names a joint that the recording's skeleton does not have.
    """
    *_, last = stages(recipe, recording)
    clip = cast(Clip, last)  # as `from_plain` has made sure
    clip.step_counts = dict.fromkeys(STEP_COUNTS, 0) | clip.step_counts
    return clip


def stages(recipe: Recipe, recording: Recording) -> Iterator[Recording | Clip]:
    """What each step leaves, one after the other.

    Raises:
        UnusableClip, RecipeError: as `apply`.
    """
    at: Recording | Clip = recording
    for step in recipe.steps:
        # Absurd coordinates (infinite, 1e30) may become infinite or NaN on the way: no news, and missing means NaN.
        with np.errstate(over="ignore", invalid="ignore"):
            at = _take(recipe, step, at)
        yield at


def _take(recipe: Recipe, step: RecipeStep, given: Recording | Clip) -> Recording | Clip:
    try:
        return STEPS[step.name](given, **step.parameters)
    except LayoutError as error:
        raise RecipeError(
            f"recipe {recipe.name}, step {step.name}: {error}; name joints of this layout in a recipe of your own, "
            "or take another recipe"
        ) from error


def _step(entry: Mapping[str, Any], place: int, source: str) -> RecipeStep:
    """Check one step of a recipe, which stands at a place counted from 1, and fill in its defaults."""
    name = entry.get("step")
    where = f"{source}: step {place}"
    if not isinstance(name, str):
        raise RecipeError(f'{where}: needs step = "..."; steps are {_listed(STEPS)}')
    if name not in STEPS:
        raise RecipeError(f"{where}: no step is called {name!r}{did_you_mean(name, STEPS)}; steps are {_listed(STEPS)}")
    where = f"{where} ({name})"
    form = _parameters(name)
    try:
        chosen = form.model_validate({key: value for key, value in entry.items() if key != "step"})
    except ValidationError as error:
        raise RecipeError(f"{where}: {explain(error.errors(), list(form.model_fields))}") from error
    return RecipeStep(name=name, parameters=chosen.model_dump())


def _refuse_places(steps: tuple[RecipeStep, ...], source: str) -> None:
    """Make sure that one step reads the recording, after those that only leave out some of it and before all others.

    Raises:
        RecipeError: a step stands elsewhere; the text names it.
    """
    is_read = False
    for place, step in enumerate(steps, start=1):
        where = f"{source}: step {place} ({step.name})"
        if step.name in _sieves():
            if is_read:
                raise RecipeError(f"{where}: looks at a recording, so it stands before the step that reads it")
            continue
        if (step.name in _readers()) == is_read:
            does = "reads a recording, so it can only be first" if is_read else "changes a clip, so it cannot be first"
            raise RecipeError(f"{where}: {does}; the first is one of {_listed(_readers())}")
        is_read = True
    if not is_read:
        raise RecipeError(f"{source}: no step reads the recording; add one of {_listed(_readers())}")


@cache
def _parameters(name: str) -> type[BaseModel]:
    """The parameters of a step as a model: its function's keyword-only arguments, their types, bounds and defaults."""
    hints = get_type_hints(STEPS[name], include_extras=True)
    fields: dict[str, Any] = {
        key: (hints[key], parameter.default)
        for key, parameter in inspect.signature(STEPS[name]).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    return create_model(name, __config__=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False), **fields)


@cache
def _readers() -> list[str]:
    """The steps that make a clip of a recording: those that take a Recording and return a Clip."""
    hints = {name: get_type_hints(function) for name, function in STEPS.items()}
    return [name for name, held in hints.items() if Recording in held.values() and held["return"] is Clip]


@cache
def _sieves() -> list[str]:
    """The steps that can stand before the first: those that return a Recording."""
    return [name for name, function in STEPS.items() if get_type_hints(function)["return"] is Recording]


def _listed(names: Mapping[str, Any] | list[str]) -> str:
    return ", ".join(names)
