"""Parse TOML within bounds: limited nesting, limited key length, integers of at most 64 bits."""

import re
import tomllib
from typing import Any

MAX_DEPTH = 32
"""Largest nesting of tables and lists, and number of parts of a key; real files need at most four."""
_PART = r"(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+')"
_LONG_KEY = re.compile(rf"(?<![\w.-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{MAX_DEPTH}}}", re.ASCII)


def loads(text: str) -> dict[str, Any]:
    """Parse a TOML text.

    Raises:
        ValueError: it is not TOML, is nested too deeply, or has an integer of more than 64 bits.
    """
    if _LONG_KEY.search(text):  # tomllib needs quadratic time: minutes for a hundred kilobytes
        raise ValueError(f"a key of more than {MAX_DEPTH} parts")
    try:
        plain = tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"nested too deeply, expected at most {MAX_DEPTH} levels") from None
    level: list[Any] = [plain]
    for _ in range(MAX_DEPTH + 1):
        inner = []
        for container in level:
            for value in container.values() if isinstance(container, dict) else container:
                if isinstance(value, dict | list):
                    inner.append(value)
                elif isinstance(value, int) and not -(2**63) <= value < 2**63:
                    raise ValueError("an integer of more than 64 bits, which TOML does not allow")
        level = inner
    if level:
        raise ValueError(f"nested too deeply, expected at most {MAX_DEPTH} levels")
    return plain
