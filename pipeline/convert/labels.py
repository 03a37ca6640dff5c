"""Find label, subject, ... of recordings: from a table, the file name or the folder name, in this order."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from pipeline.convert.tool import FoundRecording, Tool
from pipeline.errors import ConfigError, one_line
from pipeline.sources.folder.manifest_csv import read_table
from pipeline.sources.ntu import names as ntu_names
from pipeline.sources.ntu.names import NtuName

_NTU = re.compile(r"S\d{3}C\d{3}P\d{3}R\d{3}A\d{3}")
SOURCES = {
    "table": "--labels",
    "pattern": "--pattern",
    "grammar": "the names of the files",
    "ntu": "file names in the format of NTU RGB+D",
    "folder": "the folders' names",
    "itself": "the data set itself",
}
"""Descriptions of the sources of a column."""


class LabelLookup:
    """Looks up the labels of the recordings of one conversion."""

    def __init__(
        self, recordings: Sequence[FoundRecording], tool: Tool, table: Path | None, pattern: str | None
    ) -> None:
        """Read the table and compile the pattern.

        Args:
            recordings: all recordings.
            tool: the tool that wrote them.
            table: a CSV with the column file, and label, subject or any other columns.
            pattern: a regular expression with named groups, searched in file names.

        Raises:
            ArtifactNotFound, ConfigError: the table or the pattern cannot be used.
        """
        self.sources: dict[str, set[str]] = {}
        """Where the values of each column came from: keys of SOURCES."""
        self._tool = tool
        self._pattern = compile_pattern(pattern) if pattern else None
        self._rows = _read_table(table) if table else {}
        stems = Counter(PurePosixPath(name).stem for name in self._rows)
        self._stems = {PurePosixPath(name).stem: name for name in self._rows if stems[PurePosixPath(name).stem] == 1}
        self._used: set[str] = set()
        self._folders = _folder_labels(recordings)

    def look_up(self, recording: FoundRecording) -> dict[str, str]:
        """Return the known columns of one recording: label, subject, ..."""
        name = recording.file.name if not recording.numbers else recording.name
        sources: list[tuple[str, Mapping[str, str]]] = [
            ("table", self._table_row(recording, name)),
            ("pattern", _pattern_groups(self._pattern, name)),
            ("grammar", self._grammar_columns(recording)),
            ("ntu", _ntu_columns(name)),
            ("folder", {"label": self._folders[recording]} if self._folders else {}),
        ]
        out: dict[str, str] = {}
        for source, columns in sources:
            for column, value in columns.items():
                if value and column not in out:
                    out[column] = one_line(value)
                    self.sources.setdefault(column, set()).add(source)
        return out

    def _table_row(self, recording: FoundRecording, name: str) -> Mapping[str, str]:
        path = str(recording.inner)
        tails = [path.split("/", cut)[-1] for cut in range(path.count("/") + 1)] if not recording.numbers else []
        stem = PurePosixPath(name).stem
        key = next((key for key in (*tails, name, stem, recording.name) if key in self._rows), None)
        key = key or self._stems.get(stem) or self._stems.get(recording.name)  # the table may name videos
        if key is None:
            return {}
        self._used.add(key)
        return self._rows[key]

    def unused_rows(self) -> int:
        """Count the rows of the table that match no recording."""
        return len(self._rows) - len(self._used)

    def _grammar_columns(self, recording: FoundRecording) -> dict[str, str]:
        match = re.fullmatch(self._tool.grammar, recording.name) if self._tool.grammar else None
        columns = {name: str(int(value)) for name, value in (match.groupdict() if match else {}).items() if value}
        names = self._tool.classes.get(recording.file.suffix.lower(), {})
        if columns.get("label") in names:
            columns["label"] = names[columns["label"]]
        return columns


def class_names(recordings: Sequence[FoundRecording], tool: Tool, labels: Sequence[str]) -> list[str]:
    """Return the names of all classes in the order of their labels; empty if the labels are numbers."""
    for suffix in sorted({one.file.suffix.lower() for one in recordings}):
        names = list(tool.classes.get(suffix, {}).values())
        if {*labels} <= {*names}:
            return names
    return [] if all(label.isascii() and label.isdigit() for label in labels) else sorted({*labels})


def split_rules(rows: Sequence[Mapping[str, str]], sources: Mapping[str, set[str]]) -> dict[str, dict[str, list[str]]]:
    """Return the training condition of each split.

    `xsub` trains on every second subject, `xview` on all cameras except the last. Data with NTU file names gets the
    official lists.
    """
    out = {}
    is_ntu = "ntu" in sources.get("subject", set())
    subjects, cameras = (
        _sort_numbers_first({row.get(column, "") for row in rows} - {""}) for column in ("subject", "camera")
    )
    train = [one for one in subjects if int(one) in ntu_names.NTU120.xsub_train] if is_ntu else subjects[::2]
    if 0 < len(train) < len(subjects):
        out["xsub"] = {"subject": train}
    if len(cameras) > 1:
        out["xview"] = {"camera": [one for one in cameras if one != "1"] if is_ntu else cameras[:-1]}
    return {name: rule for name, rule in out.items() if all(rule.values())}


def _sort_numbers_first(values: set[str]) -> list[str]:
    return sorted(values, key=lambda text: (not text.isdigit(), int(text) if text.isdigit() else 0, text))


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a regular expression with named groups.

    Raises:
        ConfigError: it is none, or a group has a name with another meaning.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--pattern {pattern!r}: is not a regular expression: {error}") from error
    if not compiled.groupindex:
        raise ConfigError(
            rf"--pattern {pattern!r}: has no named group; expected for example (?P<label>\w+)_(?P<subject>\d+)"
        )
    _refuse_reserved(f"--pattern {pattern!r}", compiled.groupindex)
    return compiled


def _refuse_reserved(prefix: str, columns: Mapping[str, object]) -> None:
    if reserved := [name for name in columns if name in ("key", "start", "end", "name", "source")]:
        raise ConfigError(f"{prefix}: {reserved[0]} has another meaning in manifest.csv; choose another name")


def _read_table(path: Path) -> dict[str, dict[str, str]]:
    """Read the rows of a table by their file."""
    if not path.is_file():
        raise ConfigError(f"{path}: does not exist; name a CSV with the columns file and label")
    header, rows = read_table(path, {"file"})
    _refuse_reserved(str(path), dict.fromkeys(header))
    out: dict[str, dict[str, str]] = {}
    for line, cells, fault in rows:
        name = cells.get("file", "").replace("\\", "/")
        if fault or not name:
            raise ConfigError(f"{path}:{line}: {fault or 'has no file'}")
        if name in out:
            raise ConfigError(f"{path}:{line}: {name} is in an earlier line, too")
        out[name] = {column: value for column, value in cells.items() if column != "file"}
    return out


def _pattern_groups(pattern: re.Pattern[str] | None, name: str) -> Mapping[str, str]:
    match = pattern.search(name) if pattern else None
    return {key: value or "" for key, value in match.groupdict().items()} if match else {}


def _ntu_columns(name: str) -> dict[str, str]:
    match = _NTU.search(name)
    parsed = NtuName.parse(match[0]) if match else None
    if parsed is None:
        return {}
    numbers = {
        "label": parsed.label,
        "subject": parsed.performer,
        "camera": parsed.camera,
        "setup": parsed.setup,
        "replication": parsed.replication,
    }
    return {column: str(number) for column, number in numbers.items()}


def _folder_labels(recordings: Sequence[FoundRecording]) -> dict[FoundRecording, str]:
    """Return each recording's folder name as its label; nothing if all recordings are in one folder.

    If every folder contains the frames of a single video, the parent folder is used.
    """
    parents = {one: one.inner.parent for one in recordings}
    has_frames = len(recordings) > 1 and all(one.numbers for one in recordings)
    if has_frames and max(Counter(parents.values()).values()) == 1:
        parents = {one: parent.parent for one, parent in parents.items()}
    names = {one: parent.name for one, parent in parents.items()}
    return names if len({*names.values()}) > 1 else {}
