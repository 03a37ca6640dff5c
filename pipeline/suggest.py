"""Suggest known words or existing paths for a typo: "did you mean X?" in error messages."""

import difflib
import itertools
import os
from collections.abc import Iterable
from pathlib import Path

MIN_SIMILARITY, MIN_SHORT_SIMILARITY = 0.7, 0.65
"""Smallest difflib ratio, from 0 to 1, of a suggestion (`quik` and `quick` have 0.89, `none` and `clean` 0.44), and the
smallest for words of up to SHORT_CHARACTERS characters (`npy` and `npz` have 0.67)."""
SHORT_CHARACTERS = 4
MAX_SUGGESTIONS = 3
MAX_CHARACTERS, MAX_WORDS = 64, 5000
"""Limits of what is compared: difflib needs quadratic time, and names may come from untrusted files."""
SEARCH_FOLDERS = (Path("processed"), Path("runs"))
"""Folders in which a name without a folder is searched."""


def close_words(word: object, known: Iterable[str]) -> list[str]:
    """Return the known words closest to an unknown one, best first; empty if the word is known or nothing is close.

    Case, `-`, `_` and blanks are ignored. The last part of a dotted word matches the whole (`queue_size` matches
    `pair.queue_size`); so do its initials (`lr` matches `learning_rate`) and its beginning (`batch` matches
    `batch_size`).
    """
    asked = str(word)
    words = list(dict.fromkeys(itertools.islice(known, MAX_WORDS)))
    if not asked or len(asked) > MAX_CHARACTERS or asked in words:
        return []
    typed = _normalise(asked)
    by_spelling: dict[str, list[str]] = {}
    exact, prefixed = [], []
    for other in (other for other in words if len(other) <= MAX_CHARACTERS):
        whole = _normalise(other)
        last = whole.rpartition(".")[2]
        initials = "".join(part[:1] for part in last.split("_"))
        for spelling in {whole, last}:
            by_spelling.setdefault(spelling, []).append(other)
        if typed in {whole, last} or (len(typed) > 1 and typed == initials):
            exact.append(other)
        elif len(typed) > 2 and last.startswith(typed):
            prefixed.append(other)
    if found := exact or prefixed:
        return found[:MAX_SUGGESTIONS]
    cutoff = MIN_SIMILARITY if len(asked) > SHORT_CHARACTERS else MIN_SHORT_SIMILARITY
    close = difflib.get_close_matches(typed, by_spelling, MAX_SUGGESTIONS, cutoff)
    # Words that are clearly worse than the best one would only distract.
    ratios = [difflib.SequenceMatcher(None, spelling, typed).ratio() for spelling in close]
    close = [spelling for spelling, ratio in zip(close, ratios, strict=True) if ratio >= ratios[0] - 0.1]
    return list(dict.fromkeys(other for spelling in close for other in by_spelling[spelling]))[:MAX_SUGGESTIONS]


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return ` (did you mean X?)` for a message, or an empty string."""
    return format_suggestions(close_words(word, known))


def format_suggestions(words: Iterable[str]) -> str:
    """Return ` (did you mean X or Y?)`, or an empty string if there are no words."""
    listed = " or ".join(words)
    return f" (did you mean {listed}?)" if listed else ""


def did_you_mean_path(path: Path) -> str:
    """Like `did_you_mean`, for a missing path: each missing part is replaced by the closest name in its folder.

    A bare name is also searched in processed/ and runs/, with or without its suffix.
    """
    found = _correct_path(path)
    if not found and path.parent == Path():
        found = [folder / name for folder in SEARCH_FOLDERS for name in _close_names(path.name, folder)]
    return format_suggestions(map(str, found[:MAX_SUGGESTIONS]))


def _correct_path(path: Path) -> list[Path]:
    corrected = Path(path.anchor)
    for part in path.parts[1 if path.anchor else 0 :]:
        exists = part == ".." or os.path.lexists(corrected / part)
        names = [part] if exists else _close_names(part, corrected)
        if not names:
            return []
        corrected /= names[0]
    return [corrected] if corrected != path else []


def _close_names(name: str, folder: Path) -> list[str]:
    """Return the names in a folder closest to `name`; the stems must be close, an equal suffix is not enough."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in itertools.islice(entries, MAX_WORDS))
    except OSError:
        return []
    names = [other for other in names if not other.startswith(".")]
    stem = name.partition(".")[0]
    same_stem = [other for other in names if other.partition(".")[0] == stem]
    close = (other for other in close_words(name, names) if close_words(stem, [other.partition(".")[0]]))
    return same_stem[:MAX_SUGGESTIONS] or list(close)


def _normalise(word: str) -> str:
    return word.casefold().replace("-", "_").replace(" ", "_")
