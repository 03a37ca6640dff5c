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

LONGEST_MESSAGE = 5000


class Wrong(Exception):
    """What a parser did that it must not."""


class Outcome(NamedTuple):
    """What came of a case."""

    refused: bool
    twin: bool = False
    """Whether a twin was asked, and said the same."""


Judge = Callable[[bytes], Outcome]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A parser under fire."""

    name: str
    start: Callable[[Path], tuple[Sequence[bytes], Judge]]
    """Makes what it needs in an empty folder; gives the files to begin with, and the judge."""
    ways: tuple[damage.Way, ...]
    share: int
    """Of a thousand parts of all cases."""
    room: int = 8 << 20
    """Bytes of memory that a case may take however small its file."""
    times: int = 32
    """Bytes of memory that each byte of a file may take beyond that."""

    def content(self, seeds: Sequence[bytes], seed: int, number: int) -> bytes:
        """The file of one case, which follows from the fuzzer's seed, the target and the number alone."""
        chance = random.Random(f"{seed} {self.name} {number}")
        return damage.damaged(chance.choice(seeds), self.ways, chance, seeds)


def ask(read: Callable[[], Any], named: str, lines: int | None = None) -> Any:
    """What a parser gives, or its refusal: an error of ours that names the file, and one of its lines if so asked."""
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
        if len(text) > LONGEST_MESSAGE:
            raise Wrong(f"the message has {len(text)} characters: {text[:300]!r}") from error
        if re.search(r"[\n\r\x1b\0]", text):
            raise Wrong(f"the message is not one plain line: {text[:300]!r}") from error
        if lines is not None and not (isinstance(error, RawFileError) and 0 <= error.line <= lines):
            raise Wrong(f"the message names no line of {lines}: {text[:300]!r}") from error
        return error
    except Exception as error:
        raise Wrong(f"{type(error).__name__}: {str(error)[:300]}") from error


def same(found: Any, wanted: Any) -> None:
    """Hold an answer against the twin's."""
    if found != wanted:
        raise Wrong(f"other than the twin: {str(found)[:300]} for {str(wanted)[:300]}")


def written(write: Callable[..., None], *arrays: Any, **named: Any) -> bytes:
    made = io.BytesIO()
    write(made, *arrays, **named)
    return made.getvalue()
