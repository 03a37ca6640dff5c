"""What a recording shows and who: by a table, by its name, by the folder that it lies in; whichever says so first."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from pipeline.convert.take import FoundRecording, Tool
from pipeline.errors import ConfigError, one_line
from pipeline.sources.folder.manifest_csv import read_table
from pipeline.sources.ntu import names as ntu_names
from pipeline.sources.ntu.names import NtuName

NAMELESS = "unlabelled"
"""The class of all when nothing says what any recording shows."""
_NTU = re.compile(r"S\d{3}C\d{3}P\d{3}R\d{3}A\d{3}")
FOUND = {
    "table": "--labels",
    "pattern": "--pattern",
    "grammar": "the names of the files",
    "ntu": "names as NTU RGB+D has them",
    "folder": "the folders' names",
    "itself": "the data set itself",
}
"""Where a column may come from, in words."""


class Labels:
    """What is known of the recordings of one conversion."""

    def __init__(self, found: Sequence[FoundRecording], tool: Tool, table: Path | None, pattern: str | None) -> None:
        """Get ready to look recordings up.

        Args:
            found: all recordings.
            tool: whose they are.
            table: a CSV with a column file, and label, subject, or any others.
            pattern: a regular expression with named groups, looked for in a file's name.

        Raises:
            ArtifactNotFound, ConfigError: the table or the pattern cannot be used.
        """
        self.sources: dict[str, set[str]] = {}
        """For each column where it came from, by the keys of FOUND."""
        self._tool = tool
        self._pattern = _compiled(pattern) if pattern else None
        self._rows = _table(table) if table else {}
        stems = Counter(PurePosixPath(name).stem for name in self._rows)
        self._stems = {PurePosixPath(name).stem: name for name in self._rows if stems[PurePosixPath(name).stem] == 1}
        self._used: set[str] = set()
        self._folders = _folders(found)

    def of(self, found: FoundRecording) -> dict[str, str]:
        """The columns of one recording: label, subject, ...; without those that nothing says."""
        name = found.file.name if not found.numbers else found.name
        ways: list[tuple[str, Mapping[str, str]]] = [
            ("table", self._row(found, name)),
            ("pattern", _groups(self._pattern, name)),
            ("grammar", self._by_grammar(found)),
            ("ntu", _ntu(name)),
            ("folder", {"label": self._folders[found]} if self._folders else {}),
        ]
        out: dict[str, str] = {}
        for source, columns in ways:
            for column, value in columns.items():
                if value and column not in out:
                    out[column] = one_line(value)
                    self.sources.setdefault(column, set()).add(source)
        return out

    def _row(self, found: FoundRecording, name: str) -> Mapping[str, str]:
        path = str(found.inner)
        tries = [path.split("/", cut)[-1] for cut in range(path.count("/") + 1)] if not found.numbers else []
        stem = PurePosixPath(name).stem
        key = next((key for key in (*tries, name, stem, found.name) if key in self._rows), None)
        key = key or self._stems.get(stem) or self._stems.get(found.name)  # a table may name the videos
        if key is None:
            return {}
        self._used.add(key)
        return self._rows[key]

    @property
    def unused(self) -> int:
        """Rows of the table that no recording has asked for."""
        return len(self._rows) - len(self._used)

    def _by_grammar(self, found: FoundRecording) -> dict[str, str]:
        match = re.fullmatch(self._tool.grammar, found.name) if self._tool.grammar else None
        columns = {name: str(int(value)) for name, value in (match.groupdict() if match else {}).items() if value}
        names = self._tool.classes.get(found.file.suffix.lower(), {})
        if columns.get("label") in names:
            columns["label"] = names[columns["label"]]
        return columns


def class_names(found: Sequence[FoundRecording], tool: Tool, labels: Sequence[str]) -> list[str]:
    """The names of all classes in the order of their labels; empty when labels are numbers."""
    for suffix in sorted({one.file.suffix.lower() for one in found}):
        names = list(tool.classes.get(suffix, {}).values())
        if {*labels} <= {*names}:
            return names
    return [] if all(label.isascii() and label.isdigit() for label in labels) else sorted({*labels})


def splits(rows: Sequence[Mapping[str, str]], sources: Mapping[str, set[str]]) -> dict[str, dict[str, list[str]]]:
    """Who trains: `xsub` every second person, `xview` all cameras but one; by NTU's lists where names are NTU's."""
    out = {}
    is_ntu = "ntu" in sources.get("subject", set())
    subjects, cameras = (_sorted({row.get(column, "") for row in rows} - {""}) for column in ("subject", "camera"))
    train = [one for one in subjects if int(one) in ntu_names.NTU120.xsub_train] if is_ntu else subjects[::2]
    if 0 < len(train) < len(subjects):
        out["xsub"] = {"subject": train}
    if len(cameras) > 1:
        out["xview"] = {"camera": [one for one in cameras if one != "1"] if is_ntu else cameras[:-1]}
    return {name: rule for name, rule in out.items() if all(rule.values())}


def _sorted(values: set[str]) -> list[str]:
    return sorted(values, key=lambda text: (not text.isdigit(), int(text) if text.isdigit() else 0, text))


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--pattern {pattern!r}: is no regular expression: {error}") from error
    if not found.groupindex:
        raise ConfigError(
            rf"--pattern {pattern!r}: has no named group; expected such as (?P<label>\w+)_(?P<subject>\d+)"
        )
    _refuse_own(f"--pattern {pattern!r}", found.groupindex)
    return found


def _refuse_own(where: str, columns: Mapping[str, object]) -> None:
    if own := [name for name in columns if name in ("key", "start", "end", "name", "source")]:
        raise ConfigError(f"{where}: {own[0]} means something else in a manifest; call it otherwise")


def _table(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a table by file, as they name it."""
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file; name a CSV with the columns file and label")
    header, rows = read_table(path, {"file"})
    _refuse_own(str(path), dict.fromkeys(header))
    out: dict[str, dict[str, str]] = {}
    for line, cells, fault in rows:
        name = cells.get("file", "").replace("\\", "/")
        if fault or not name:
            raise ConfigError(f"{path}:{line}: {fault or 'names no file'}")
        if name in out:
            raise ConfigError(f"{path}:{line}: {name} stands in an earlier line as well")
        out[name] = {column: value for column, value in cells.items() if column != "file"}
    return out


def _groups(pattern: re.Pattern[str] | None, name: str) -> Mapping[str, str]:
    match = pattern.search(name) if pattern else None
    return {key: value or "" for key, value in match.groupdict().items()} if match else {}


def _ntu(name: str) -> dict[str, str]:
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


def _folders(found: Sequence[FoundRecording]) -> dict[FoundRecording, str]:
    """For each recording the folder that may say what it shows; nothing when they all lie in one.

    Where every folder holds the frames of a single video, it is the folder above that is meant.
    """
    parents = {one: one.inner.parent for one in found}
    if found and all(one.numbers for one in found) and max(Counter(parents.values()).values()) == 1 < len(found):
        parents = {one: parent.parent for one, parent in parents.items()}
    names = {one: parent.name for one, parent in parents.items()}
    return names if len({*names.values()}) > 1 else {}
