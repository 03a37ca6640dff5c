"""Guess label, subject and camera of recordings from their paths: class folders, or words of the file names."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

_TYPED = {
    "label": re.compile(r"(?:a|act|action|class)[-_]?\d+", re.IGNORECASE),
    "subject": re.compile(r"(?:s|p|subj|subject|person|actor|user)[-_]?\d+", re.IGNORECASE),
    "camera": re.compile(r"(?:c|cam|camera|view)[-_]?\d+", re.IGNORECASE),
}
"""Words that say themselves what they number, such as `p03` or `cam2`."""
_TAKE = re.compile(r"(?:r|t|take|rep|trial)?\d+", re.IGNORECASE)


def guess_columns(files: Sequence[PurePosixPath]) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Guess the columns label, subject and camera of each file, and where each column comes from.

    Words are separated by `_`, `-`, `.` or a space. A word such as `p03` is the subject, `cam2` the camera. If the
    files are in several folders, these are the labels; else the first word that differs is the label. The next one is
    the subject. Numbers alone are repetitions. Names with different numbers of words tell nothing.
    """
    rows: list[dict[str, str]] = [{} for _ in files]
    found: dict[str, str] = {}

    def use(column: str, values: Sequence[str], source: str) -> None:
        if column not in found and len({*values}) > 1:
            found[column] = source
            for row, value in zip(rows, values, strict=True):
                row[column] = value

    words = [re.split(r"[_\-. ]+", file.stem) for file in files]
    columns = list(zip(*words, strict=True)) if len({len(word) for word in words}) == 1 else []
    free = []
    for position, values in enumerate(columns):
        kind = next((kind for kind, form in _TYPED.items() if all(map(form.fullmatch, values))), "")
        if kind:
            use(kind, values, f"word {position + 1} of the file names")
        elif not all(map(_TAKE.fullmatch, values)) and len({*values}) > 1:
            free.append((position, values))
    use("label", [file.parent.name for file in files], "the folders' names")
    for position, values in free:
        use("label" if "label" not in found else "subject", values, f"word {position + 1} of the file names")
    return rows, found


def pattern_columns(
    pattern: re.Pattern[str], files: Sequence[PurePosixPath]
) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Return the named groups of a pattern that is searched in each path, and that they come from it."""
    matches = [pattern.search(str(file)) for file in files]
    rows = [_values(match.groupdict()) if match else {} for match in matches]
    return rows, dict.fromkeys((column for row in rows for column in row), "--pattern")


def _values(groups: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in groups.items() if value}
