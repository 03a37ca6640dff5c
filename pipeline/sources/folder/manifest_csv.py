"""`manifest.csv`: which clips a folder holds and what is known of each; rows that cannot be used say why."""

import csv
import io
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.sources.folder.arrays import SUFFIXES
from pipeline.sources.folder.skeleton_toml import Condition, FolderSpec
from pipeline.sources.source import NUMBERED, Labels
from pipeline.suggest import meant

MANIFEST_CSV = "manifest.csv"
OWN = ("file", "key", "name", "label", *NUMBERED, "start", "end")
"""The columns that mean something here; every other one is kept as it is."""
MOST_CLASSES = 100_000
LARGEST = 2**31 - 1
"""What a store's column can hold."""

Cells = Mapping[str, str]
"""A row's texts by column; empty when the row has not as many fields as the header."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One clip as the manifest has it."""

    line: int
    """Where its row ends, from 1."""
    name: str
    """The clip's; unique among the rows without fault."""
    file: str
    """Below the manifest's folder, divided by `/`; empty when the row names no file that could be read."""
    key: str
    """Of the array in the file; empty when the row names none."""
    start: int | None
    end: int | None
    """The interval as written; None where it is empty."""
    labels: Labels
    fault: str
    """Why the row cannot be used; empty when it can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a `manifest.csv` says, held against the `skeleton.toml` beside it."""

    rows: tuple[Row, ...]
    classes: tuple[str, ...]
    """Names by label; empty where `skeleton.toml` passes a label over."""
    columns: tuple[str, ...]
    """What `Labels.extra` holds of each row."""
    rules: Mapping[str, Any]
    """The splits of `skeleton.toml`, with values as a store has them."""


def read_manifest_csv(path: Path, spec: FolderSpec, *, labelled: bool = True) -> Manifest:
    """Read a `manifest.csv`.

    Args:
        path: the file.
        spec: what the `skeleton.toml` beside it says.
        labelled: False passes over labels and splits: all labels are -1, whatever stands there.

    Raises:
        ConfigError: it is no such table, has a label that `skeleton.toml` has no name for, or no column that a split
            is by.
    """
    header, lines = table(path, {"file", "label"} if labelled else {"file"})
    cells_of = [cells for _, cells, _ in lines]
    classes, label_of = NO_CLASSES
    if labelled:
        classes, label_of = _classes(path, spec, [(line, cells.get("label", "")) for line, cells, _ in lines])
    numbers = {
        column: _numbering(cells.get(column, "") for cells in cells_of) for column in NUMBERED if column in header
    }
    by_split = {column for sides in spec.splits.values() for side in sides.values() for column in side or ()}
    kept = {*header} - {*OWN} | by_split - {"name", "label", *NUMBERED}
    columns = {column: column for column in header if column in kept}
    columns |= {f"{column}_name": column for column, (_, is_text) in numbers.items() if is_text}
    places = [_position(cells.get("file", ""), cells.get("key", "")) for cells in cells_of]
    names = _names(cells_of, places)
    taken: dict[str, int] = {}
    rows = []
    for (line, cells, fault), (file, key, misplaced), name in zip(lines, places, names, strict=True):
        label, unlabelled = label_of(cells.get("label", ""))
        (start, start_fault), (end, end_fault) = (_frame(column, cells.get(column, "")) for column in ("start", "end"))
        fault = fault or misplaced or unlabelled or start_fault or end_fault
        if not fault and taken.setdefault(name, line) != line:
            fault = f"is called {name} like line {taken[name]}; name each clip in a column called name"
        numbered = {column: of[cells.get(column, "")] for column, (of, _) in numbers.items()}
        labels = Labels(label=label, extra=tuple(cells.get(column, "") for column in columns.values()), **numbered)
        name = name or f"{MANIFEST_CSV}:{line}"
        rows.append(Row(line=line, name=name, file=file, key=key, start=start, end=end, labels=labels, fault=fault))
    return Manifest(
        rows=tuple(rows),
        classes=classes,
        columns=tuple(columns),
        rules=_rules(path, spec, header, cells_of, rows, classes) if labelled else {},
    )


def table(path: Path, needed: Set[str]) -> tuple[list[str], list[tuple[int, Cells, str]]]:
    """A table with named columns: the header, and of every row line, cells and what is wrong with their number.

    Raises:
        ConfigError: it is no such table, or lacks a column that is needed.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 (byte {error.start}); save it as such") from error
    first = re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0]
    for delimiter in ",;\t":
        try:
            header = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter), [])]
        except csv.Error as error:
            raise ConfigError(f"{path}: its first line cannot be read as CSV: {error}") from error
        header = [cell.casefold() if cell.casefold() in OWN else cell for cell in header]
        if needed <= set(header):
            break
    else:
        columns = f"column{'s' * (len(needed) - 1)} {' and '.join(sorted(needed))}"
        raise ConfigError(f"{path}: its first line names no {columns}, but is {first.strip()[:80]!r}")
    if twice := [column for column, count in Counter(header).items() if column and count > 1]:
        raise ConfigError(f"{path}: has two columns called {', '.join(twice)}")
    rows: list[tuple[int, Cells, str]] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for fields in reader:
            cells = [field.strip() for field in fields]
            if not any(cells):
                continue
            fault = "" if len(cells) == len(header) else f"{len(cells)} fields, the first line has {len(header)}"
            named = {column: cell for column, cell in zip(header, cells, strict=False) if column and not fault}
            rows.append((reader.line_num, named, fault))
    except csv.Error as error:
        raise ConfigError(f"{path}:{reader.line_num}: cannot be read as CSV: {error}") from error
    if len(rows) < 2:
        raise ConfigError(f"{path}: has no row below its header")
    return [column for column in header if column], rows[1:]


NO_CLASSES: tuple[tuple[str, ...], Callable[[str], tuple[int, str]]] = (), lambda text: (-1, "")
"""What `_classes` answers where nothing has a label."""


def _whole(text: str) -> int | None:
    """The whole number that a text is, also one that a spreadsheet wrote as `1.0`."""
    found = re.fullmatch(r"([+-]?[0-9]{1,18})(?:\.0*)?", text)
    return int(found[1]) if found else None


def _classes(
    path: Path, spec: FolderSpec, labels: Sequence[tuple[int, str]]
) -> tuple[tuple[str, ...], Callable[[str], tuple[int, str]]]:
    """Names of all classes, and a function from a cell to its label and what is wrong with it.

    Without names in `skeleton.toml` labels are numbers if most are, else names, numbered in their sorted order.

    Raises:
        ConfigError: a number has no name in `skeleton.toml`, which names others.
    """
    texts = [text for _, text in labels if text]
    numbers = {text: number for text in texts if (number := _whole(text)) is not None and 0 <= number < MOST_CLASSES}
    names = spec.classes
    if names is not None:
        for line, text in labels:
            if numbers.get(text, next(iter(names), 0)) not in names:
                known = ", ".join(f"{label} {name}" for label, name in sorted(names.items()))
                raise ConfigError(f"{path}:{line}: label {text} has no name in {spec.path}; [classes] there: {known}")
    elif 2 * sum(text in numbers for text in texts) >= len(texts):
        names = {number: f"class {number}" for number in range(max(numbers.values(), default=-1) + 1)}
    else:
        names, numbers = dict(enumerate(sorted(set(texts)))), {}
    labelled = {name: label for label, name in names.items()} | numbers

    def label_of(text: str) -> tuple[int, str]:
        if text in labelled:
            return labelled[text], ""
        return -1, f"label {text!r} is neither the number of a class, from 0, nor its name" if text else "has no label"

    return tuple(names.get(label, "") for label in range(max(names, default=-1) + 1)), label_of


def _numbering(texts: Iterable[str]) -> tuple[Mapping[str, int], bool]:
    """Numbers for a column's texts, -1 for an empty one, and whether they are names: numbered from 1 as they sort."""
    there = sorted(set(texts) - {""})
    numbers = {text: number for text in there if (number := _whole(text)) is not None and -1 <= number <= LARGEST}
    is_text = len(numbers) < len(there)
    return (dict(zip(there, range(1, len(there) + 1), strict=True)) if is_text else numbers) | {"": -1}, is_text


def _position(file: str, key: str) -> tuple[str, str, str]:
    """The file and the key that a row names, and what is wrong with them; without a file when it cannot be read."""
    path, _, inner = file.replace("\\", "/").partition("::")
    path = posixpath.normpath(path) if path else ""
    if not path:
        return "", key, "names no file"
    if path.startswith("/") or re.match("[A-Za-z]:", path) or path.split("/")[0] == "..":
        return "", key, f"file {file!r} leads out of the folder; name it from there, such as clips/one.npy"
    if posixpath.splitext(path)[1].lower() not in SUFFIXES:
        return "", key, f"file {file!r} is none of {', '.join(SUFFIXES)}"
    if inner and key and inner != key:
        return path, key, f"names two arrays, {inner!r} after :: and {key!r} as its key"
    return path, inner or key, ""


def _frame(column: str, text: str) -> tuple[int | None, str]:
    number = _whole(text)
    if text and (number is None or not 0 <= number <= LARGEST):
        return None, f"{column} {text!r} is not the number of a frame"
    return number, ""


def _names(table: Sequence[Cells], places: Sequence[tuple[str, str, str]]) -> list[str]:
    """What the rows' clips are called: as they say, else after their file, with key and interval if it has several."""
    rows_of = Counter(file for file, _, _ in places)
    stems = file_names(rows_of)
    names = []
    for cells, (file, key, _) in zip(table, places, strict=True):
        name = stems[file]
        if rows_of[file] > 1:
            start, end = cells.get("start", ""), cells.get("end", "")
            name += (f"_{key.strip('/').replace('/', '_')}" if key else "") + (
                f"_{start}-{end}" if start or end else ""
            )
        names.append(cells.get("name") or (name if file else ""))
    return names


def file_names(files: Iterable[str]) -> dict[str, str]:
    """Names for files, all different: their stems, else their paths without suffix, else with it."""
    paths = list(dict.fromkeys(files))
    stems = {path: posixpath.splitext(posixpath.basename(path))[0] for path in paths}
    joined = {path: posixpath.splitext(path)[0].replace("/", "_") for path in paths}
    whole = {path: path for path in paths}
    return next(names for names in (stems, joined, whole) if len({*names.values()}) == len(paths))


def _rules(
    path: Path,
    spec: FolderSpec,
    header: Sequence[str],
    table: Sequence[Cells],
    rows: Sequence[Row],
    classes: Sequence[str],
) -> dict[str, Any]:
    """The splits with every value as the store has it: a number in a numbered column, else the manifest's own text."""

    def stored(column: str) -> dict[Any, set[Any]]:
        known: dict[Any, set[Any]] = {}
        for cells, row in zip(table, rows, strict=True):
            text = row.name if column == "name" else cells.get(column, "")
            value = getattr(row.labels, column) if column in ("label", *NUMBERED) else text
            known.setdefault(_plain(text), set()).add(value)
            if column == "label" and not row.fault:
                known.setdefault(_plain(classes[row.labels.label]), set()).add(value)
        return known

    def side(where: str, condition: Condition | None) -> dict[str, list[Any]] | None:
        if condition is None:
            return None
        values = {}
        for column, wanted in condition.items():
            if column not in header and column != "name":
                raise ConfigError(
                    f"{where}: {path.name} has no column {column!r}{meant(column, header)}; it has {', '.join(header)}"
                )
            known = stored(column)
            found = [known.get(_plain(value), {value if isinstance(value, int) else str(value)}) for value in wanted]
            values[column] = sorted(set().union(*found), key=lambda value: (isinstance(value, str), value))
        return values

    return {
        name: {which: side(f"{spec.path}: splits.{name}.{which}", condition) for which, condition in sides.items()}
        for name, sides in spec.splits.items()
    }


def _plain(value: Any) -> Any:
    """What equal values share however they are written: a whole number, true or false, or else their text."""
    text = str(value).strip()
    number = _whole(text)
    return (text.casefold() if text.casefold() in ("true", "false") else text) if number is None else number
