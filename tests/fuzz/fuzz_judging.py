"""What a fuzz target is: seed files for a parser, mutations of them, and a check of the result.

A check has a file's bytes read and compares the result with a slow twin where there is one. It raises `Wrong` for any
exception that is not one of skelepipe's, for a message that does not name the file (and the line, for texts), and for
a result that differs from the twin's.
"""

import io
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import RawFileError, SkelepipeError
from tests.fuzz import damage

MAX_MESSAGE_CHARACTERS = 5000


class Wrong(Exception):
    """A parser behaved incorrectly."""


class Outcome(NamedTuple):
    """The result of a case."""

    refused: bool
    twin: bool = False
    """Whether a twin parsed the file, too, and agreed."""


Judge = Callable[[bytes], Outcome]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A parser to be fuzzed."""

    name: str
    start: Callable[[Path], tuple[Sequence[bytes], Judge]]
    """Prepare an empty folder; return the seed files and the judge."""
    ways: tuple[damage.Way, ...]
    share: int
    """Share of all cases, in thousandths."""
    room: int = 8 << 20
    """Bytes of memory that a case may use regardless of the file size."""
    times: int = 32
    """Additional bytes of memory allowed per byte of the file."""

    def content(self, seeds: Sequence[bytes], seed: int, number: int) -> bytes:
        """Return the file of one case. It depends only on the seed of the fuzzer, the target and the number."""
        chance = random.Random(f"{seed} {self.name} {number}")
        return damage.damaged(chance.choice(seeds), self.ways, chance, seeds)


def ask(read: Callable[[], Any], named: str, lines: int | None = None) -> Any:
    """Return the result of a parser, or its SkelepipeError after checking that the message names the file and line."""
    try:
        return read()
    except SkelepipeError as error:
        text = str(error)
        if named not in text:
            raise Wrong(f"the message does not name {named!r}: {text[:300]!r}") from error
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Wrong(f"the message cannot be printed: {text[:300]!r}") from error
        if len(text) > MAX_MESSAGE_CHARACTERS:
            raise Wrong(f"the message has {len(text)} characters: {text[:300]!r}") from error
        if re.search(r"[\n\r\x1b\0]", text):
            raise Wrong(f"the message is not one plain line: {text[:300]!r}") from error
        if lines is not None and not (isinstance(error, RawFileError) and 0 <= error.line <= lines):
            raise Wrong(f"the message names no line of {lines}: {text[:300]!r}") from error
        return error
    except Exception as error:
        raise Wrong(f"{type(error).__name__}: {str(error)[:300]}") from error


def same(found: Any, wanted: Any) -> None:
    """Raise Wrong if a result differs from that of the twin."""
    if found != wanted:
        raise Wrong(f"differs from the twin: {str(found)[:300]} instead of {str(wanted)[:300]}")


def written(write: Callable[..., None], *arrays: Any, **named: Any) -> bytes:
    """Return the bytes that a writer such as np.savez writes."""
    buffer = io.BytesIO()
    write(buffer, *arrays, **named)
    return buffer.getvalue()
