"""Read `manifest.csv`, the list of clips of a folder with their labels; invalid rows have a reason."""

import csv
import io
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.files.regular_files import read_text
from pipeline.files.spreadsheet import unescape_cell
from pipeline.sources.folder.arrays import SUFFIXES
from pipeline.sources.folder.skeleton_toml import Condition, FolderSpec
from pipeline.sources.source import NUMERIC_LABELS, Labels
from pipeline.suggest import did_you_mean

MANIFEST_CSV = "manifest.csv"
KNOWN_COLUMNS = ("file", "key", "name", "label", *NUMERIC_LABELS, "start", "end")
"""The columns with a meaning; all others are stored unchanged."""
MAX_CLASSES = 100_000
MAX_INTEGER = 2**31 - 1
"""Largest number that a store's column can hold."""

Cells = Mapping[str, str]
"""The cells of a row by column; empty when the number of fields differs from that of the header."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One clip: a row of the manifest.csv."""

    line: int
    """Number of the line where the row ends, from 1."""
    name: str
    """Name of the clip; unique among the valid rows."""
    file: str
    """Path relative to the folder of the manifest.csv, with `/`; empty when the row names no readable file."""
    key: str
    """Key of the array in the file; empty when the row names none."""
    start: int | None
    end: int | None
    """The interval as written; None where it is empty."""
    labels: Labels
    fault: str
    """Why the row cannot be used; empty when it can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestCsv:
    """The content of a `manifest.csv`, with the classes and splits of the `skeleton.toml` in its folder."""

    rows: tuple[Row, ...]
    classes: tuple[str, ...]
    """Class names by label; empty for a label that has no name in `skeleton.toml`."""
    columns: tuple[str, ...]
    """Names of the columns in `Labels.extra` of each row."""
    rules: Mapping[str, Any]
    """The splits of `skeleton.toml`, with the values that the store will have."""


def read_manifest_csv(path: Path, spec: FolderSpec, *, with_labels: bool = True) -> ManifestCsv:
    """Read a `manifest.csv`.

    Args:
        path: the file.
        spec: the content of the `skeleton.toml` in its folder.
        with_labels: False ignores labels and splits: all labels are -1.

    Raises:
        ConfigError: the file is no such table, a label has no name in `skeleton.toml`, or the column of a split is
            missing.
    """
    header, lines = read_table(path, {"file"})
    if with_labels and "label" not in header and (similar := did_you_mean("label", header)):
        raise ConfigError(f"{path}: has no column label{similar}; rename that column, whether it has the labels or not")
    all_cells = [cells for _, cells, _ in lines]
    classes, label_of = NO_CLASSES
    if with_labels:
        classes, label_of = _classes(path, spec, [(line, cells.get("label", "")) for line, cells, _ in lines])
    numbers = {
        column: _numbering(cells.get(column, "") for cells in all_cells)
        for column in NUMERIC_LABELS
        if column in header
    }
    in_splits = {column for sides in spec.splits.values() for side in sides.values() for column in side or ()}
    stored = {*header} - {*KNOWN_COLUMNS} | in_splits - {"name", "label", *NUMERIC_LABELS}
    columns = {column: column for column in header if column in stored}
    columns |= {f"{column}_name": column for column, (_, is_text) in numbers.items() if is_text}
    files = [_file_and_key(cells.get("file", ""), cells.get("key", "")) for cells in all_cells]
    names = _clip_names(all_cells, files)
    line_of_name: dict[str, int] = {}
    rows = []
    for (line, cells, fault), (file, key, file_fault), name in zip(lines, files, names, strict=True):
        label, label_fault = label_of(cells.get("label", ""))
        (start, start_fault), (end, end_fault) = (_frame(column, cells.get(column, "")) for column in ("start", "end"))
        fault = fault or file_fault or label_fault or start_fault or end_fault
        if not fault and line_of_name.setdefault(name, line) != line:
            fault = f"has the name {name} of line {line_of_name[name]}; give each clip a name in a column called name"
        numeric = {column: number_of[cells.get(column, "")] for column, (number_of, _) in numbers.items()}
        labels = Labels(label=label, extra=tuple(cells.get(column, "") for column in columns.values()), **numeric)
        name = name or f"{MANIFEST_CSV}:{line}"
        rows.append(Row(line=line, name=name, file=file, key=key, start=start, end=end, labels=labels, fault=fault))
    return ManifestCsv(
        rows=tuple(rows),
        classes=classes,
        columns=tuple(columns),
        rules=_rules(path, spec, header, all_cells, rows, classes) if with_labels else {},
    )


def read_table(path: Path, needed: Set[str]) -> tuple[list[str], list[tuple[int, Cells, str]]]:
    """Read a CSV table with a header.

    Returns:
        The header, and for every row its line number, its cells, and a fault if their number is wrong.

    Raises:
        ConfigError: the file is no such table, or a needed column is missing.
    """
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 (byte {error.start}); save it as such") from error
    first = re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0]
    for delimiter in ",;\t":
        try:
            cells = next(csv.reader([first], delimiter=delimiter), [])
            header = [unicodedata.normalize("NFC", cell.strip()) for cell in cells]
        except csv.Error as error:
            raise ConfigError(f"{path}: its first line cannot be read as CSV: {error}") from error
        header = [cell.casefold() if cell.casefold() in KNOWN_COLUMNS else cell for cell in header]
        if needed <= set(header):
            break
    else:
        columns = f"column{'s' * (len(needed) - 1)} {' and '.join(sorted(needed))}"
        raise ConfigError(f"{path}: its first line names no {columns}, but is {first.strip()[:80]!r}")
    if repeated := [column for column, count in Counter(header).items() if column and count > 1]:
        raise ConfigError(f"{path}: has two columns called {', '.join(repeated)}")
    rows: list[tuple[int, Cells, str]] = []
    paths = header.index("file") if "file" in header else None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for fields in reader:
            cells = [unescape_cell(field.strip()) for field in fields]
            # The same name in another Unicode form is the same subject or class; a path must stay as it is written.
            cells = [cell if index == paths else unicodedata.normalize("NFC", cell) for index, cell in enumerate(cells)]
            if not any(cells):
                continue
            fault = "" if len(cells) == len(header) else f"{len(cells)} fields, the first line has {len(header)}"
            by_column = {column: cell for column, cell in zip(header, cells, strict=False) if column and not fault}
            rows.append((reader.line_num, by_column, fault))
    except csv.Error as error:
        raise ConfigError(f"{path}:{reader.line_num}: cannot be read as CSV: {error}") from error
    if len(rows) < 2:
        raise ConfigError(f"{path}: has no row below its header")
    return [column for column in header if column], rows[1:]


NO_CLASSES: tuple[tuple[str, ...], Callable[[str], tuple[int, str]]] = (), lambda text: (-1, "")
"""The result of `_classes` without labels."""


def _integer(text: str) -> int | None:
    """Convert a text to an integer, also one that a spreadsheet wrote as `1.0`; None for other text."""
    match = re.fullmatch(r"([+-]?[0-9]{1,18})(?:\.0*)?", text)
    return int(match[1]) if match else None


def _classes(
    path: Path, spec: FolderSpec, labels: Sequence[tuple[int, str]]
) -> tuple[tuple[str, ...], Callable[[str], tuple[int, str]]]:
    """Return the names of all classes, and a function from a cell to its label (-1 if it is empty) and its fault.

    Without class names in `skeleton.toml` labels are numbers if at least half are; else they are names, numbered in
    sorted order.

    Raises:
        ConfigError: `skeleton.toml` has class names, but none for one of the numbers.
    """
    texts = [text for _, text in labels if text]
    numbers = {text: number for text in texts if (number := _integer(text)) is not None and 0 <= number < MAX_CLASSES}
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
    labels_by_text = {name: label for label, name in names.items()} | numbers

    def label_of(text: str) -> tuple[int, str]:
        if text in labels_by_text:
            return labels_by_text[text], ""
        return -1, f"label {text!r} is neither the number of a class, from 0, nor its name" if text else ""

    return tuple(names.get(label, "") for label in range(max(names, default=-1) + 1)), label_of


def _numbering(texts: Iterable[str]) -> tuple[Mapping[str, int], bool]:
    """Map a column's texts to numbers (-1 if empty); texts that are not all integers are numbered from 1, sorted.

    Returns:
        The numbers by text, and whether the texts were numbered.
    """
    values = sorted(set(texts) - {""})
    numbers = {
        text: number for text in values if (number := _integer(text)) is not None and -1 <= number <= MAX_INTEGER
    }
    is_text = len(numbers) < len(values)
    return (dict(zip(values, range(1, len(values) + 1), strict=True)) if is_text else numbers) | {"": -1}, is_text


def _file_and_key(file: str, key: str) -> tuple[str, str, str]:
    """Return the file and the key that a row names, and the fault; the file is empty when it cannot be read."""
    path, _, inner = file.replace("\\", "/").partition("::")
    path = posixpath.normpath(path) if path else ""
    if not path:
        return "", key, "names no file"
    if path.startswith("/") or re.match("[A-Za-z]:", path) or path.split("/")[0] == "..":
        return "", key, f"file {file!r} is outside the folder; give a path relative to it, such as clips/one.npy"
    if posixpath.splitext(path)[1].lower() not in SUFFIXES:
        return "", key, f"file {file!r} is none of {', '.join(SUFFIXES)}"
    if inner and key and inner != key:
        return path, key, f"names two arrays, {inner!r} after :: and {key!r} as its key"
    return path, inner or key, ""


def _frame(column: str, text: str) -> tuple[int | None, str]:
    """Return the number of a frame (None if empty), and the fault."""
    number = _integer(text)
    if text and (number is None or not 0 <= number <= MAX_INTEGER):
        return None, f"{column} {text!r} is not the number of a frame"
    return number, ""


def _clip_names(table: Sequence[Cells], files: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return the clip name of each row: its column `name`, else from its file, with key and interval if needed."""
    row_counts = Counter(file for file, _, _ in files)
    stems = file_names(row_counts)
    names = []
    for cells, (file, key, _) in zip(table, files, strict=True):
        name = stems[file]
        if row_counts[file] > 1:
            start, end = cells.get("start", ""), cells.get("end", "")
            name += (f"_{key.strip('/').replace('/', '_')}" if key else "") + (
                f"_{start}-{end}" if start or end else ""
            )
        names.append(cells.get("name") or (name if file else ""))
    return names


def file_names(files: Iterable[str]) -> dict[str, str]:
    """Return unique names for files: their stems, else their paths without suffix, else their whole paths."""
    paths = list(dict.fromkeys(files))
    stems = {path: posixpath.splitext(posixpath.basename(path))[0] for path in paths}
    without_suffix = {path: posixpath.splitext(path)[0].replace("/", "_") for path in paths}
    whole = {path: unicodedata.normalize("NFC", path) for path in paths}
    maps = [
        {path: unicodedata.normalize("NFC", name) for path, name in names.items()} for names in (stems, without_suffix)
    ]
    return next((names for names in maps if len({*names.values()}) == len(paths)), whole)


def _rules(
    path: Path,
    spec: FolderSpec,
    header: Sequence[str],
    table: Sequence[Cells],
    rows: Sequence[Row],
    classes: Sequence[str],
) -> dict[str, Any]:
    """Return the splits with the values of the store: numbers in numeric columns, else the text of the manifest.csv."""

    def stored_values(column: str) -> dict[Any, set[Any]]:
        values: dict[Any, set[Any]] = {}
        for cells, row in zip(table, rows, strict=True):
            text = row.name if column == "name" else cells.get(column, "")
            value = getattr(row.labels, column) if column in ("label", *NUMERIC_LABELS) else text
            values.setdefault(_comparable(text), set()).add(value)
            if column == "label" and row.labels.label >= 0:
                values.setdefault(_comparable(classes[row.labels.label]), set()).add(value)
        return values

    def side(where: str, condition: Condition | None) -> dict[str, list[Any]] | None:
        if condition is None:
            return None
        values = {}
        for column, wanted in condition.items():
            if column not in header and column != "name":
                hint = did_you_mean(column, header)
                raise ConfigError(f"{where}: {path.name} has no column {column!r}{hint}; it has {', '.join(header)}")
            stored = stored_values(column)
            matching = [
                stored.get(_comparable(value), {value if isinstance(value, int) else str(value)}) for value in wanted
            ]
            values[column] = sorted(set().union(*matching), key=lambda value: (isinstance(value, str), value))
        return values

    return {
        split: {name: side(f"{spec.path}: splits.{split}.{name}", condition) for name, condition in sides.items()}
        for split, sides in spec.splits.items()
    }


def _comparable(value: Any) -> Any:
    """Return the same value for all ways to write it: an integer, `true` or `false`, or else the text."""
    text = str(value).strip()
    number = _integer(text)
    return (text.casefold() if text.casefold() in ("true", "false") else text) if number is None else number
