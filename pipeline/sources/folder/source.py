"""Any skeletons as ingest sees them: a folder with `skeleton.toml`, `manifest.csv` and the files that this names."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, count, groupby
from pathlib import Path
from typing import Any

from pipeline.artifacts import manifest
from pipeline.errors import ArtifactNotFound, ConfigError, RawFileError
from pipeline.files import raw_files
from pipeline.files.raw_files import RawFile
from pipeline.skeleton.layout import Layout
from pipeline.skeleton.recording import Recording
from pipeline.skeleton.segments import FrameIndex, cut, interval
from pipeline.sources.folder import arrays
from pipeline.sources.folder.manifest_csv import MANIFEST_CSV, Row, file_names, read_manifest_csv
from pipeline.sources.folder.skeleton_toml import SKELETON_TOML, read_skeleton_toml
from pipeline.sources.source import Entry, Reading, Refusal, Survey


class FolderSource:
    """The recordings of one folder, in whatever layout its `skeleton.toml` describes."""

    name = "folder"

    def __init__(self, roots: Sequence[Path], *, labelled: bool = True) -> None:
        """Read what describes the recordings.

        Args:
            roots: the one folder.
            labelled: False passes over labels and splits: new recordings have none.

        Raises:
            ArtifactNotFound: there is no such folder.
            ConfigError: it is not one folder with both files, or one of them is wrong.
            LayoutError: the layout contradicts itself.
        """
        self._root = _folder(roots)
        self._spec = read_skeleton_toml(self._root / SKELETON_TOML)
        described = read_manifest_csv(self._root / MANIFEST_CSV, self._spec, labelled=labelled)
        self.layout: Layout = self._spec.layout
        self.classes = described.classes
        self.columns = described.columns
        self.rules: Mapping[str, Any] = described.rules
        both = [self._root / name for name in (SKELETON_TOML, MANIFEST_CSV)]
        self.shared = manifest.digest([hashlib.sha256(path.read_bytes()).hexdigest() for path in both])
        self._manifest = RawFile(both[1], "", both[1].stat().st_size)
        self._rows = _by_recording(described.rows)

    def survey(self, *, keep_missing: bool) -> Survey:
        """The files that the manifest names, in order of name; a row that names none stands for itself."""
        entries = []
        for name in sorted(self._rows):
            file = self._manifest
            if self._rows[name][0].file:
                path = self._root / self._rows[name][0].file
                file = RawFile(path, "", path.stat().st_size if path.is_file() else 0)
            entries.append(Entry(name, file))
        named = {entry.file.path for entry in entries} | {self._manifest.path, self._spec.path}
        others = sum(path.is_file() and path not in named for path in self._root.rglob("[!.]*"))
        return Survey(entries=tuple(entries), left_out={f"not in {MANIFEST_CSV}": others} if others else {})

    def read(self, entry: Entry, frame_index: FrameIndex) -> Iterator[Reading | Refusal]:
        """Read one file, once, and yield the clips that the manifest's rows cut out of it.

        Raises:
            RawFileError: it cannot be used as it stands.
        """
        usable = []
        for row in self._rows[entry.name]:
            gone = "" if not row.file or entry.file.path.is_file() else f"{row.file}: there is no such file"
            if row.fault or gone:
                yield self._refusal(row, row.fault or gone)
            else:
                usable.append(row)
        if not usable:
            return
        crc32 = raw_files.crc32(entry.file)
        with arrays.open_arrays(entry.file, self._spec) as bodies_of:
            ordered = sorted(usable, key=lambda row: (row.key, row.name))
            for key, rows in groupby(ordered, key=lambda row: row.key):
                try:
                    bodies = bodies_of(key)
                except RawFileError as error:
                    for row in rows:
                        yield Refusal(name=row.name, file=entry.file, line=error.line, reason=error.reason)
                    continue
                whole = Recording.from_bodies(entry.name, self.layout, bodies.xyz, bodies.confidence)
                # In a file that numbers its frames, start and end are such numbers, whatever the first one is.
                shift = 0 if bodies.first is None else interval(bodies.first, 0, frame_index)[0]
                for row in rows:
                    yield self._clip(row, whole, shift, frame_index, crc32)

    def _clip(self, row: Row, whole: Recording, shift: int, frame_index: FrameIndex, crc32: int) -> Reading | Refusal:
        """The frames of a recording that a row asks for; `shift` is how far its numbers run ahead of ours."""
        start, end = interval(row.start or 0, row.end or 0, frame_index)
        first = 0 if row.start is None else start - shift
        stop = whole.frames if row.end is None else end - shift
        clip, beyond = cut(whole, row.name, first, stop)
        if not len(clip.frame):
            start_end = f"start {row.start}, end {row.end}, counted {frame_index}: "
            asked = "" if row.start is row.end is None else start_end
            if stop <= first and row.end is not None:
                return self._refusal(row, f"{asked}the end comes before the start")
            if not clip.frames:
                return self._refusal(row, f"{asked}the recording has none of these frames, only {whole.frames}")
            return self._refusal(row, f"{asked}nobody is seen in any frame")
        return Reading(
            recording=clip, labels=row.labels, crc32=crc32, start=max(first, 0), step_counts={"frames_beyond": beyond}
        )

    def _refusal(self, row: Row, reason: str) -> Refusal:
        return Refusal(name=row.name, file=self._manifest, line=row.line, reason=reason)


def _folder(roots: Sequence[Path]) -> Path:
    """The one folder that the user named, if both files are there."""
    if len(roots) != 1:
        raise ConfigError(f"folder reads one folder at a time, found {len(roots)}: {', '.join(map(str, roots))}")
    root = roots[0]
    if not root.exists():
        raise ArtifactNotFound(root, "name the folder that holds the recordings")
    missing = [name for name in (SKELETON_TOML, MANIFEST_CSV) if not (root / name).is_file()]
    if missing:
        below = sorted(path.parent for path in root.glob(f"*/{SKELETON_TOML}"))
        hint = f"did you mean {', '.join(map(str, below))}?" if below else "docs/data/folder.md says what belongs in it"
        raise ConfigError(f"{root}: has no {' and no '.join(missing)}; {hint}")
    return root


def _by_recording(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of every file under a name of its own: that of its only clip, else after the file."""
    files: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        files[row.file or f"{MANIFEST_CSV}:{row.line}"].append(row)
    called = file_names(file for file, held in files.items() if held[0].file)
    clips = {row.name: file for file, held in files.items() for row in held if not row.fault}
    recordings: dict[str, list[Row]] = {}
    for file, held in files.items():
        only = [held[0].name] if len(held) == 1 and not held[0].fault else []
        names = chain([*only, called.get(file, file), file], (f"{file} {number}" for number in count(2)))
        recordings[next(name for name in names if clips.get(name, file) == file and name not in recordings)] = held
    return recordings
