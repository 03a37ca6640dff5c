"""Print results and JSON to stdout, and notes to stderr; in a distributed training only rank 0 prints."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import click

from pipeline.errors import OutputFailed


def is_silent() -> bool:
    """Return whether this process is one of several that torchrun started, and not rank 0."""
    return os.environ.get("WORLD_SIZE", "1") != "1" and os.environ.get("RANK", "0") != "0"


def visible(text: str) -> str:
    """Escape characters that a terminal would obey, such as those of names in files of strangers."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in "\n\t" else character.encode("unicode_escape").decode()
        for character in text
    )


def print_results(lines: Sequence[str], *renderables: Any) -> None:
    """Print lines, then tables of rich, to stdout."""
    if is_silent():
        return
    with _stdout_errors():
        for line in lines:
            click.echo(visible(line))
        _print_renderables(renderables)


def _print_renderables(renderables: Sequence[Any]) -> None:
    if renderables:
        from rich.console import Console  # noqa: PLC0415
        from rich.segment import Segment, Segments  # noqa: PLC0415

        from trainer.terminal.console import table_width  # noqa: PLC0415

        console = Console() if sys.stdout.isatty() else Console(width=table_width())
        for renderable in renderables:
            rendered = console.render(renderable)
            segments = [part if part.control else Segment(visible(part.text), part.style) for part in rendered]
            with nullcontext() if console.is_terminal else console.capture() as captured:
                console.print(Segments(segments))
            for line in captured.get().splitlines() if captured else ():  # without trailing spaces in files
                click.echo(line.rstrip())


def print_note(lines: Sequence[str]) -> None:
    """Print lines to stderr, for example which store was chosen."""
    for line in lines if not is_silent() else ():
        click.echo(visible(line), err=True)


def print_json(value: Any) -> None:
    """Print one JSON object to stdout."""
    if not is_silent():
        with _stdout_errors():
            click.echo(json.dumps(value, default=_to_plain, allow_nan=False))


def next_command_line(command: str, *, done: bool = True) -> list[str]:
    """Return a line with the command to run next, if this stage has done its work."""
    return [f"next: {command}"] if done else []


@contextmanager
def _stdout_errors() -> Iterator[None]:
    """Name standard output in the error when it cannot be written, for example because a disk is full.

    Raises:
        OutputFailed: it cannot be written.
        BrokenPipeError: nobody reads it.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputFailed(f"standard output: cannot be written: {error.strerror or error}") from error


def _to_plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
