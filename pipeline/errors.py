"""Exceptions for users: one root class, one subclass with an exit code per kind of error, and message formatting."""

import reprlib
import zlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.suggest import did_you_mean, did_you_mean_path

MAX_NAME_CHARACTERS = 200
"""Longest name shown whole in a message."""
MAX_MESSAGE_CHARACTERS = 4000
"""Longest message."""


def printable_name(name: str) -> str:
    """Return a file name for a message: one line, shortened, without control characters that a terminal would obey."""
    plain = name if name.isprintable() else name.encode("unicode_escape").decode()
    if len(plain) <= MAX_NAME_CHARACTERS:
        return plain
    return f"{plain[:120]}...{zlib.crc32(plain.encode()):08x}...{plain[-40:]}"


def one_line(text: str) -> str:
    """Escape and shorten a message, which may quote file contents, as `printable_name` does for names."""
    plain = text if text.isprintable() else "".join(map(_visible, text))
    return (
        plain if len(plain) <= MAX_MESSAGE_CHARACTERS else f"{plain[: MAX_MESSAGE_CHARACTERS - 500]} ... {plain[-400:]}"
    )


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def explain(faults: Iterable[Mapping[str, Any]], known: Collection[str] = ()) -> str:
    """Describe pydantic validation errors in one line, such as `pair.momentum = 2: input should be less than 1`.

    Args:
        faults: what `ValidationError.errors()` returns, or some of it.
        known: the keys that are valid where an unknown key was given.
    """
    return "; ".join(dict.fromkeys(_explain_one(fault, known) for fault in faults))


def _explain_one(fault: Mapping[str, Any], known: Collection[str]) -> str:
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return (
            f"{key!r} is unknown{did_you_mean(fault['loc'][-1], known)}; it takes {', '.join(known) or 'no parameters'}"
        )
    if fault["type"] == "missing":
        return f"{key!r} is missing"
    if not key or isinstance(fault["input"], Mapping):
        return f"{key}: {validation_reason(fault)}".removeprefix(": ")
    return f"{key} = {reprlib.repr(fault['input'])}: {validation_reason(fault)}"


def validation_reason(fault: Mapping[str, Any]) -> str:
    """The reason of one pydantic validation error, to follow a colon."""
    if fault["type"] == "int_parsing_size":
        return f"{fault['input']!r} is too large"
    text = str(fault["msg"]).removeprefix("Value error, ")
    return f"{text[:1].lower()}{text[1:]}"


class SkelepipeError(Exception):
    """An error that the user can fix; the message says where it is, what was expected and what to do."""

    exit_code = 1

    def __str__(self) -> str:
        return one_line(super().__str__())


class RawFileError(SkelepipeError):
    """A recording cannot be used: the file, the line (from 1; 0 if no line applies) and the reason."""

    def __init__(self, source: str, line: int, reason: str) -> None:
        super().__init__(f"{source}:{line}: {reason}" if line else f"{source}: {reason}")
        self.source = source
        self.line = line
        self.reason = one_line(reason)


class UnusableClip(SkelepipeError):
    """A recording was read, but a recipe step found nothing usable in it; the message is the reason."""


class RecipeError(SkelepipeError):
    """A recipe has an unknown step or parameter, or an invalid value."""


class LayoutError(SkelepipeError):
    """A skeleton layout contradicts itself."""


class ArtifactError(SkelepipeError):
    """A store, split, run or checkpoint is missing, incomplete, damaged, or does not match another."""


class ArtifactNotFound(ArtifactError, FileNotFoundError):
    """There is no artifact at the path."""

    exit_code = 2

    def __init__(
        self, path: Path, hint: str = "", suggestion: str | None = None, message: str = "no such file or folder"
    ) -> None:
        """Compose the message.

        Args:
            path: what does not exist.
            hint: what to do.
            suggestion: as `suggest.did_you_mean` formats it; None: close existing paths.
            message: what is wrong.
        """
        suggestion = did_you_mean_path(path) if suggestion is None else suggestion
        super().__init__(f"{path}: {message}{suggestion}" + (f"; {hint}" if hint else ""))


class OutputExists(ArtifactError):
    """The output exists and was made from other input; `--force` replaces it."""


class OutputLocked(SkelepipeError):
    """Another process is writing the same output."""

    exit_code = 6


class OutputFailed(SkelepipeError):
    """The output cannot be written: the disk is full, read-only or broken."""

    exit_code = 5


class InputFailed(SkelepipeError):
    """The input disappeared while it was read, or its disk or network reports an error; nothing is published."""

    exit_code = 5


class WorkerDied(SkelepipeError):
    """Worker processes died repeatedly on the same recordings; the work of the others is kept."""


class ClusterError(SkelepipeError):
    """A Dask cluster does not answer, or its workers cannot do the work; finished work is kept."""


class NotFinite(SkelepipeError):
    """A training diverged, or stored weights are damaged: a number is NaN or infinite. Nothing is saved."""


class ConfigError(SkelepipeError):
    """A configuration key is unknown, or its value is invalid."""

    exit_code = 2
