"""TOML text to plain data, without what trips those who look at it next: gigantic numbers, bottomless nesting."""

import re
import tomllib
from typing import Any

MAX_DEPTH = 32
"""Tables and lists within each other, and parts of a key; nothing here takes more than four."""
_PART = r"(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+')"
_LONG_KEY = re.compile(rf"(?<![\w.-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{MAX_DEPTH}}}", re.ASCII)


def loads(text: str) -> dict[str, Any]:
    """What a TOML text holds.

    Raises:
        ValueError: it is not TOML, or nested too deeply, or has an integer of more than 64 bits; the text says which.
    """
    if _LONG_KEY.search(text):  # tomllib takes time by the square of the parts: minutes for a hundred kilobytes
        raise ValueError(f"a key of more than {MAX_DEPTH} parts")
    try:
        plain = tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"nested too deeply, expected at most {MAX_DEPTH} levels") from None
    level: list[Any] = [plain]
    for _ in range(MAX_DEPTH + 1):
        inner = []
        for held in level:
            for value in held.values() if isinstance(held, dict) else held:
                if isinstance(value, dict | list):
                    inner.append(value)
                elif isinstance(value, int) and not -(2**63) <= value < 2**63:
                    raise ValueError("an integer of more than 64 bits, which TOML does not have")
        level = inner
    if level:
        raise ValueError(f"nested too deeply, expected at most {MAX_DEPTH} levels")
    return plain
