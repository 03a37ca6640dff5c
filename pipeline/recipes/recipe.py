"""Load, validate and apply recipes: ordered lists of processing steps with parameters.

A step is a plain function. One step, the reader, takes a Recording and returns a Clip. Before it, filters may take and
return a Recording; after it, all steps take and return a Clip. A recipe can set the keyword-only parameters of a step;
values are validated against the annotations in its signature.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any, Self, cast, get_type_hints

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from pipeline.errors import LayoutError, RecipeError, explain
from pipeline.files import safe_toml
from pipeline.files.regular_files import read_text
from pipeline.recipes.registry import STEPS
from pipeline.skeleton.recording import STEP_COUNTS, Clip, Recording
from pipeline.skeleton.segments import DEFAULT_FRAME_INDEX, FrameIndex
from pipeline.suggest import did_you_mean, did_you_mean_path

LIMIT_PEOPLE = "limit_people"
"""The step that `Recipe.with_max_people` adds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeStep:
    """One step of a recipe: a key of STEPS, and a value for each of its parameters."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Recipe:
    """An ordered list of steps. Two recipes are equal if their `resolved` is equal; the description does not count."""

    name: str
    description: str
    steps: tuple[RecipeStep, ...]
    frame_index: FrameIndex = DEFAULT_FRAME_INDEX
    """How the frame numbers of clips in long recordings are counted."""

    @property
    def resolved(self) -> dict[str, Any]:
        """The complete recipe as plain data, with all defaults filled in; `recipe_from_plain` reads it back."""
        steps = [{"step": step.name, **step.parameters} for step in self.steps]
        return {"name": self.name, "frame_index": self.frame_index, "steps": steps}

    def with_frame_index(self, frame_index: FrameIndex | None) -> Self:
        """Return the recipe with another frame-index convention; None changes nothing."""
        return self if frame_index is None else replace(self, frame_index=frame_index)

    @property
    def limits_people(self) -> bool:
        """Whether a step limits the number of people."""
        return any(step.name == LIMIT_PEOPLE for step in self.steps)

    def with_max_people(self, people: int | None) -> Self:
        """Return the recipe with the step `limit_people`, which replaces an existing one; None changes nothing.

        The step comes before `pick_actors`, so that ghosts and furniture are gone, or else after the bodies are found.
        """
        if people is None:
            return self
        steps = [step for step in self.steps if step.name != LIMIT_PEOPLE]
        names = [step.name for step in steps]
        found = max(number for number, name in enumerate(names) if name in (*_readers(), "rejoin")) + 1
        position = names.index("pick_actors") if "pick_actors" in names else found
        steps.insert(position, RecipeStep(name=LIMIT_PEOPLE, parameters={"people": people}))
        return replace(self, steps=tuple(steps))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.resolved == other.resolved

    def __hash__(self) -> int:
        return hash(repr(self.resolved))


class _Form(BaseModel):
    """The keys of a recipe file; the steps are validated later."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    description: str = ""
    frame_index: FrameIndex = DEFAULT_FRAME_INDEX
    steps: list[dict[str, Any]]


def shipped_recipes() -> list[str]:
    """Return the sorted names of the recipes that come with the package."""
    folder = resources.files("pipeline.recipes") / "shipped"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(recipe: str = "clean") -> Recipe:
    """Read a recipe.

    Args:
        recipe: the name of a shipped recipe, or the path of a TOML file (it ends in .toml or contains a folder).

    Raises:
        RecipeError: the recipe or file does not exist, or `recipe_from_plain` refuses it.
    """
    read: Callable[[], str]
    if recipe.endswith(".toml") or len(Path(recipe).parts) > 1:
        source = recipe
        read = partial(read_text, Path(recipe))
    elif recipe in shipped_recipes():
        source = f"{recipe}.toml"
        read = partial((resources.files("pipeline.recipes") / "shipped" / source).read_text, encoding="utf-8")
    else:
        raise RecipeError(
            f"no recipe is called {recipe!r}{did_you_mean(recipe, shipped_recipes())}; "
            f"there are {_listed(shipped_recipes())}, or give the path of a .toml"
        )
    try:
        plain = safe_toml.loads(read())
    except FileNotFoundError as error:
        raise RecipeError(f"{source}: no such recipe file{did_you_mean_path(Path(source))}") from error
    except (OSError, ValueError) as error:
        raise RecipeError(f"{source}: cannot be read as TOML: {getattr(error, 'strerror', None) or error}") from error
    return recipe_from_plain(plain, source)


def recipe_from_plain(plain: Mapping[str, Any], source: str) -> Recipe:
    """Build a recipe from plain data: the content of a TOML file, or `Recipe.resolved`.

    Args:
        plain: `name`, `description` and `frame_index` (optional), and `steps`, each with `step` and its parameters.
        source: the origin of the data, for messages.

    Raises:
        RecipeError: a key, step or parameter is unknown, a value is invalid, or the steps are in a wrong order; the
            message names the source and the step.
    """
    try:
        form = _Form.model_validate(dict(plain))
    except ValidationError as error:
        raise RecipeError(f"{source}: {explain(error.errors(), list(_Form.model_fields))}") from error
    if not form.steps:
        raise RecipeError(f"{source}: a recipe needs at least one step; the first is one of {_listed(_readers())}")
    steps = tuple(_validate_step(entry, number, source) for number, entry in enumerate(form.steps, start=1))
    _validate_order(steps, source)
    return Recipe(name=form.name, description=form.description, steps=steps, frame_index=form.frame_index)


def apply_recipe(recipe: Recipe, recording: Recording) -> Clip:
    """Apply all steps and return the clip, with every count of STEP_COUNTS.

    Raises:
        UnusableClip: a step finds nothing to keep; the text is the reason.
        RecipeError: a step names a joint that the recording's skeleton does not have.
    """
    *_, last = stages(recipe, recording)
    clip = cast(Clip, last)  # `recipe_from_plain` ensures it
    clip.step_counts = dict.fromkeys(STEP_COUNTS, 0) | clip.step_counts
    return clip


def stages(recipe: Recipe, recording: Recording) -> Iterator[Recording | Clip]:
    """Yield the result of each step in turn.

    Raises:
        UnusableClip, RecipeError: see `apply_recipe`.
    """
    current: Recording | Clip = recording
    for step in recipe.steps:
        # Absurd coordinates (infinite, 1e30) may become infinite or NaN here: no reason to warn, NaN means missing.
        with np.errstate(over="ignore", invalid="ignore"):
            current = _apply_step(recipe, step, current)
        yield current


def _apply_step(recipe: Recipe, step: RecipeStep, current: Recording | Clip) -> Recording | Clip:
    try:
        return STEPS[step.name](current, **step.parameters)
    except LayoutError as error:
        raise RecipeError(
            f"recipe {recipe.name}, step {step.name}: {error}; name joints of this layout in a recipe of your own, "
            "or use another recipe"
        ) from error


def _validate_step(entry: Mapping[str, Any], number: int, source: str) -> RecipeStep:
    """Validate one step of a recipe, numbered from 1, and fill in its defaults."""
    name = entry.get("step")
    where = f"{source}: step {number}"
    if not isinstance(name, str):
        raise RecipeError(f'{where}: needs step = "..."; steps are {_listed(STEPS)}')
    if name not in STEPS:
        raise RecipeError(f"{where}: no step is called {name!r}{did_you_mean(name, STEPS)}; steps are {_listed(STEPS)}")
    where = f"{where} ({name})"
    model = _parameter_model(name)
    try:
        parameters = model.model_validate({key: value for key, value in entry.items() if key != "step"})
    except ValidationError as error:
        raise RecipeError(f"{where}: {explain(error.errors(), list(model.model_fields))}") from error
    return RecipeStep(name=name, parameters=parameters.model_dump())


def _validate_order(steps: tuple[RecipeStep, ...], source: str) -> None:
    """Check the order of the steps: filters of the recording, exactly one reader, then steps that change the clip.

    Raises:
        RecipeError: a step is in the wrong position; the text names it.
    """
    is_read = False
    for number, step in enumerate(steps, start=1):
        where = f"{source}: step {number} ({step.name})"
        if step.name in _filters():
            if is_read:
                raise RecipeError(f"{where}: takes a recording, so it must come before the step that reads it")
            continue
        if (step.name in _readers()) == is_read:
            reason = "reads a recording, so it must be first" if is_read else "changes a clip, so it cannot be first"
            raise RecipeError(f"{where}: {reason}; the first is one of {_listed(_readers())}")
        is_read = True
    if not is_read:
        raise RecipeError(f"{source}: no step reads the recording; add one of {_listed(_readers())}")


@cache
def _parameter_model(name: str) -> type[BaseModel]:
    """Return a model of a step's parameters: its function's keyword-only arguments with types, bounds and defaults."""
    hints = get_type_hints(STEPS[name], include_extras=True)
    fields: dict[str, Any] = {
        key: (hints[key], parameter.default)
        for key, parameter in inspect.signature(STEPS[name]).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    return create_model(name, __config__=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False), **fields)


@cache
def _readers() -> list[str]:
    """Return the steps that take a Recording and return a Clip."""
    hints = {name: get_type_hints(function) for name, function in STEPS.items()}
    return [name for name, types in hints.items() if Recording in types.values() and types["return"] is Clip]


@cache
def _filters() -> list[str]:
    """Return the steps that may come before the reader: those that return a Recording."""
    return [name for name, function in STEPS.items() if get_type_hints(function)["return"] is Recording]


def _listed(names: Mapping[str, Any] | list[str]) -> str:
    return ", ".join(names)
