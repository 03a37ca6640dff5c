"""Accept paths as text in functions and requests that work with `pathlib.Path`."""

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)


def accept_text_paths(function: Callable[P, R]) -> Callable[P, R]:
    """Convert text to `Path` in the arguments of a function that are annotated as Path, or as a sequence of Path.

    A single path in place of a sequence is a sequence of one.
    """

    @functools.wraps(function)
    def convert_and_call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature().bind(*args, **kwargs)
        for name, annotation in hints().items():
            if name in bound.arguments:
                bound.arguments[name] = _to_paths(bound.arguments[name], annotation)
        return function(*bound.args, **bound.kwargs)

    @functools.cache
    def signature() -> inspect.Signature:
        return inspect.signature(function)

    @functools.cache
    def hints() -> dict[str, Any]:
        return {name: hint for name, hint in get_type_hints(function).items() if name != "return" and _has_path(hint)}

    return convert_and_call


def request_with_text_paths(cls: C) -> C:
    """The same for the fields of a dataclass; put it above `@dataclass`."""
    cls.__init__ = accept_text_paths(cls.__init__)  # type: ignore[misc]
    return cls


def _has_path(annotation: Any) -> bool:
    return annotation is Path or any(_has_path(part) for part in get_args(annotation))


def _to_paths(value: Any, annotation: Any) -> Any:
    takes_several = any(_is_sequence(part) for part in (annotation, *get_args(annotation)))
    if isinstance(value, str | os.PathLike):
        path = Path(value)
        return (path,) if takes_several else path
    if takes_several and isinstance(value, list | tuple):
        return tuple(Path(each) if isinstance(each, str) else each for each in value)
    return value


def _is_sequence(annotation: Any) -> bool:
    origin = get_origin(annotation)
    return inspect.isclass(origin) and issubclass(origin, Sequence)
