"""Did you mean: the known words that are nearest to an unknown one, for every message that names one."""

import difflib
import itertools
import os
from collections.abc import Iterable
from pathlib import Path

MIN_SIMILARITY, ENOUGH_FOR_SHORT = 0.7, 0.65
"""How alike two words must be, from 0 to 1 by difflib's ratio (`quik` and `quick` are 0.89, `none` and `clean` 0.44),
and how alike when one has at most SHORT letters (`npy` and `npz` are 0.67)."""
SHORT = 4
MAX_SUGGESTIONS = 3
"""Words that are named."""
MAX_CHARACTERS, MAX_WORDS = 64, 5000
"""Characters and words that are looked at: difflib takes time by their square, and names may come from a stranger."""
USUAL = (Path("processed"), Path("runs"))
"""Where a name without a folder is looked for."""


def close_words(word: object, known: Iterable[str]) -> list[str]:
    """The known words that may be meant, the likeliest first; none for a known word, or one that is like no other.

    Large and small letters, `-`, `_` and blanks are alike. Of dotted words the last part may stand for the whole
    (`queue_size` for `pair.queue_size`), and for a word the first letters of its parts (`lr` for `learning_rate`) or
    its beginning (`batch` for `batch_size`).
    """
    asked = str(word)
    words = list(dict.fromkeys(itertools.islice(known, MAX_WORDS)))
    if not asked or len(asked) > MAX_CHARACTERS or asked in words:
        return []
    likeness = {other: _alike(_plain(asked), _plain(other)) for other in words if 0 < len(other) <= MAX_CHARACTERS}
    enough = MIN_SIMILARITY if len(asked) > SHORT else ENOUGH_FOR_SHORT
    best = max(likeness.values(), default=0.0)
    close = [other for other, ratio in likeness.items() if ratio >= max(enough, best - 0.1)]
    return sorted(close, key=lambda other: -likeness[other])[:MAX_SUGGESTIONS]


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """` (did you mean X?)` for a message, or nothing."""
    return format_suggestions(close_words(word, known))


def format_suggestions(words: Iterable[str]) -> str:
    """` (did you mean X or Y?)`, or nothing when there are none."""
    said = " or ".join(words)
    return f" (did you mean {said}?)" if said else ""


def did_you_mean_path(path: Path) -> str:
    """As `meant`, for a path that is not there: each part of it that is missing by the nearest name in its folder.

    A bare name is also looked for in processed/ and runs/, with or without its suffix.
    """
    found = _corrected(path)
    if not found and path.parent == Path():
        for folder in USUAL:
            names = _names(folder)
            whole = [name for name in names if path.name in {name, name.partition(".")[0]}]
            found += [folder / name for name in whole or _near(path.name, folder)]
    return format_suggestions(map(str, found[:MAX_SUGGESTIONS]))


def _corrected(path: Path) -> list[Path]:
    here = Path(path.anchor)
    for part in path.parts[1 if path.anchor else 0 :]:
        near = [part] if part == ".." or os.path.lexists(here / part) else _near(part, here)
        if not near:
            return []
        here /= near[0]
    return [here] if here != path else []


def _near(name: str, folder: Path) -> list[str]:
    """As `nearest`, of the names in a folder; that suffixes are alike is not enough."""
    stem = _plain(name.partition(".")[0])
    alike = {other: _alike(stem, _plain(other.partition(".")[0])) for other in close_words(name, _names(folder))}
    return [other for other, ratio in alike.items() if ratio >= ENOUGH_FOR_SHORT]


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name for entry in itertools.islice(entries, MAX_WORDS) if not entry.name.startswith(".")
            )
    except OSError:
        return []


def _plain(word: str) -> str:
    return word.casefold().replace("-", "_").replace(" ", "_")


def _alike(asked: str, other: str) -> float:
    """How alike two words are, from 0 to 1."""
    last = other.rpartition(".")[2]
    if asked in {last, other}:
        return 1.0
    if len(asked) > 1 and asked == "".join(part[:1] for part in last.split("_")):
        return 0.95
    if len(asked) > 2 and last.startswith(asked):
        return 0.9
    ends = asked.rpartition(".")[2] if "." in other else asked
    return max(_ratio(asked, other), 0.97 * _ratio(ends, last))


def _ratio(one: str, other: str) -> float:
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    hopeless = matcher.real_quick_ratio() < ENOUGH_FOR_SHORT or matcher.quick_ratio() < ENOUGH_FOR_SHORT
    return 0.0 if hopeless else matcher.ratio()
