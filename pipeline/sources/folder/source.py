"""Folder data source: recordings of any skeleton, with a `skeleton.toml` and a `manifest.csv`."""

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, count, groupby
from pathlib import Path
from typing import Any

from pipeline.artifacts import manifest
from pipeline.errors import ArtifactNotFound, ConfigError, RawFileError, printable_name
from pipeline.files import raw_files
from pipeline.files.raw_files import RawFile
from pipeline.files.regular_files import read_bytes
from pipeline.skeleton.frame_rate import FRAMES_PER_SECOND, at_common_rate, is_resampled
from pipeline.skeleton.layout import Layout
from pipeline.skeleton.recording import Recording
from pipeline.skeleton.segments import FrameIndex, cut_interval, frame_range
from pipeline.sources.folder import arrays
from pipeline.sources.folder.manifest_csv import MANIFEST_CSV, Row, file_names, read_manifest_csv
from pipeline.sources.folder.skeleton_toml import SKELETON_TOML, read_skeleton_toml
from pipeline.sources.source import Entry, Reading, Refusal, Survey


class FolderSource:
    """The recordings of one folder, with the skeleton layout that its `skeleton.toml` describes."""

    name = "folder"

    def __init__(self, roots: Sequence[Path], *, with_labels: bool = True) -> None:
        """Read the `skeleton.toml` and the `manifest.csv` of the folder.

        Args:
            roots: a list of one folder.
            with_labels: False ignores labels and splits, for new recordings that have none.

        Raises:
            ArtifactNotFound: the folder does not exist.
            ConfigError: `roots` is not one folder with both files, or one of the files is invalid.
            LayoutError: the layout contradicts itself.
        """
        self._root = _only_folder(roots)
        self._spec = read_skeleton_toml(self._root / SKELETON_TOML)
        table = read_manifest_csv(self._root / MANIFEST_CSV, self._spec, with_labels=with_labels)
        self.layout: Layout = self._spec.layout
        self.frames_per_second = self._spec.frames_per_second
        self.max_people = self._spec.max_people
        self.classes = table.classes
        self.columns = table.columns
        self.rules: Mapping[str, Any] = table.rules
        paths = [self._root / name for name in (SKELETON_TOML, MANIFEST_CSV)]
        self.shared = manifest.json_digest([hashlib.sha256(read_bytes(path)).hexdigest() for path in paths])
        self._manifest_csv = RawFile(paths[1], "", paths[1].stat().st_size)
        self._rows = _rows_by_recording(table.rows)

    def survey(self, *, keep_missing: bool) -> Survey:
        """List the files that the manifest.csv names, sorted by name; a row without a usable file is an entry, too."""
        entries = []
        for name in sorted(self._rows):
            file = self._manifest_csv
            if self._rows[name][0].file:
                path = _existing_path(self._root, self._rows[name][0].file)
                file = RawFile(path, "", path.stat().st_size if path.is_file() else 0)
            entries.append(Entry(name, file))
        used = {entry.file.path for entry in entries} | {self._manifest_csv.path, self._spec.path}
        others = sorted(path for path in self._root.rglob("[!.]*") if path.is_file() and path not in used)
        first = f", first {printable_name(others[0].relative_to(self._root).as_posix())}" if others else ""
        left_out = {f"not in {MANIFEST_CSV}{first}": len(others)} if others else {}
        return Survey(entries=tuple(entries), left_out=left_out, notes=(self._rate_note(),))

    def _rate_note(self) -> str:
        """Describe the frame rate of the recordings."""
        rate = self.frames_per_second
        if rate is None:
            return f"{SKELETON_TOML} has no frames_per_second: {FRAMES_PER_SECOND} are assumed"
        resampled = f", resampled to {FRAMES_PER_SECOND}" if is_resampled(rate) else ""
        return f"recordings at {rate:g} frames per second{resampled}"

    def read(self, entry: Entry, frame_index: FrameIndex) -> Iterator[Reading | Refusal]:
        """Read one file, once, and yield the clips that rows of the manifest.csv define.

        Raises:
            RawFileError: the file cannot be used.
        """
        usable = []
        for row in self._rows[entry.name]:
            is_there = not row.file or entry.file.size or entry.file.path.is_file()
            missing = "" if is_there else f"{row.file}: there is no such file"
            if row.fault or missing:
                yield self._refusal(row, row.fault or missing)
            else:
                usable.append(row)
        if not usable:
            return
        crc32 = raw_files.crc32(entry.file)
        with arrays.open_arrays(entry.file, self._spec) as read_bodies:
            ordered = sorted(usable, key=lambda row: (row.key, row.name))
            for key, rows in groupby(ordered, key=lambda row: row.key):
                try:
                    bodies = read_bodies(key)
                except RawFileError as error:
                    for row in rows:
                        yield Refusal(name=row.name, file=entry.file, line=error.line, reason=error.reason)
                    continue
                whole = Recording.from_bodies(entry.name, self.layout, bodies.xyz, bodies.confidence)
                # If a file numbers its frames, then start and end are these numbers, even if the first is not 0.
                shift = 0 if bodies.first is None else frame_range(bodies.first, 0, frame_index)[0]
                for row in rows:
                    yield self._clip(row, whole, shift, frame_index, crc32)

    def _clip(self, row: Row, whole: Recording, shift: int, frame_index: FrameIndex, crc32: int) -> Reading | Refusal:
        """Cut a row's clip out of a recording; `shift` is the difference between the file's frame numbers and ours."""
        start, end = frame_range(row.start or 0, row.end or 0, frame_index)
        first = 0 if row.start is None else start - shift
        stop = whole.frames if row.end is None else end - shift
        clip, beyond = cut_interval(whole, row.name, first, stop)
        if not len(clip.frame):
            start_end = f"start {row.start}, end {row.end}, counted {frame_index}: "
            as_written = "" if row.start is row.end is None else start_end
            if stop <= first and row.end is not None:
                return self._refusal(row, f"{as_written}the end comes before the start")
            if not clip.frames:
                return self._refusal(row, f"{as_written}the recording has none of these frames, only {whole.frames}")
            return self._refusal(row, f"{as_written}nobody is seen in any frame")
        step_counts = {"frames_beyond": beyond}
        try:
            clip = at_common_rate(clip, self._spec.frames_per_second)
        except RawFileError as error:
            return self._refusal(row, error.reason)
        return Reading(recording=clip, labels=row.labels, crc32=crc32, start=max(first, 0), step_counts=step_counts)

    def _refusal(self, row: Row, reason: str) -> Refusal:
        return Refusal(name=row.name, file=self._manifest_csv, line=row.line, reason=reason)


def _existing_path(root: Path, file: str) -> Path:
    """Return the path of a file, also if the file system has its name in another Unicode form."""
    forms = (root / unicodedata.normalize(form, file) for form in ("NFC", "NFD"))
    return next((path for path in (root / file, *forms) if path.is_file()), root / file)


def _only_folder(roots: Sequence[Path]) -> Path:
    """Return the folder that the user named, after a check that it has both files."""
    if len(roots) != 1:
        raise ConfigError(f"folder reads one folder at a time, found {len(roots)}: {', '.join(map(str, roots))}")
    root = roots[0]
    if not root.exists():
        raise ArtifactNotFound(root, "name the folder that holds the recordings")
    missing = [name for name in (SKELETON_TOML, MANIFEST_CSV) if not (root / name).is_file()]
    if missing:
        below = sorted(path.parent for path in root.glob(f"*/{SKELETON_TOML}"))
        hint = f"`skelepipe init {root}` drafts both" if len(missing) > 1 else "docs/data/folder.md describes both"
        hint = f"did you mean {', '.join(map(str, below))}?" if below else hint
        raise ConfigError(f"{root}: has no {' and no '.join(missing)}; {hint}")
    return root


def _rows_by_recording(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Group rows by file, with a unique recording name for each file: its only clip's name, or one from the path."""
    rows_by_file: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        rows_by_file[row.file or f"{MANIFEST_CSV}:{row.line}"].append(row)
    default_names = file_names(file for file, its_rows in rows_by_file.items() if its_rows[0].file)
    file_of_clip = {row.name: file for file, its_rows in rows_by_file.items() for row in its_rows if not row.fault}
    recordings: dict[str, list[Row]] = {}
    for file, its_rows in rows_by_file.items():
        only_clip = [its_rows[0].name] if len(its_rows) == 1 and not its_rows[0].fault else []
        names = chain([*only_clip, default_names.get(file, file), file], (f"{file} {number}" for number in count(2)))
        free = (name for name in names if file_of_clip.get(name, file) == file and name not in recordings)
        recordings[next(free)] = its_rows
    return recordings
