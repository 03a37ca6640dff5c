"""NTU RGB+D data source: find the data set's files below some folders and read one recording."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import RawFileError, SkelepipeError
from pipeline.files import raw_files
from pipeline.skeleton.frame_rate import FRAMES_PER_SECOND
from pipeline.skeleton.layout import KINECT_V2, Layout
from pipeline.skeleton.segments import FrameIndex
from pipeline.sources.ntu.names import NTU60, NTU120, NtuDataSet, NtuName, captured, class_names, missing_names
from pipeline.sources.ntu.parser import parse
from pipeline.sources.source import Entry, Labels, Reading, Refusal, Survey, not_named_like
from pipeline.sources.text_buffer import TextReader

SUFFIX = ".skeleton"
DATA_SETS = {data_set.name: data_set for data_set in (NTU60, NTU120)}


class NtuSource:
    """The `.skeleton` files of one NTU data set: loose, in folders of any depth, or in the original zips."""

    shared = ""
    columns: tuple[str, ...] = ()
    max_people: int | None = None
    rules: Mapping[str, Any] = {}

    def __init__(self, dataset: str, roots: Sequence[Path]) -> None:
        self.name = dataset
        self.layout: Layout = KINECT_V2
        self.frames_per_second: float | None = FRAMES_PER_SECOND
        self._data_set: NtuDataSet = DATA_SETS[dataset]
        self.classes = class_names()[: self._data_set.classes]
        self._roots = tuple(roots)
        self._reader = TextReader()

    def survey(self, *, keep_missing: bool) -> Survey:
        """Find the data set's recordings, sorted by name.

        Raises:
            ArtifactNotFound: a root does not exist.
            OSError: a folder cannot be listed.
            SkelepipeError: no recording was found, or one was found twice.
        """
        found = raw_files.find(self._roots)
        left_out = found.left_out
        entries: dict[str, Entry] = {}
        missing = set()
        others = []
        for file in found.files:
            name = str(parsed := NtuName.parse(file.stem.upper()))
            if file.suffix.lower() != SUFFIX:
                left_out[f"not {SUFFIX}"] += 1
            elif parsed is None:
                others.append(file)
            elif not self._data_set.contains(parsed):
                left_out[f"setups after S{self._data_set.setups[-1]:03d}"] += 1
            elif name in entries:
                raise SkelepipeError(
                    f"{name}: found twice, as {entries[name].file} and {file}; keep one, "
                    "or name only the folder or archive to use"
                )
            elif name in missing_names() and not keep_missing:
                missing.add(name)
            else:
                entries[name] = Entry(name, file)
        left_out.update(not_named_like(f"S001C001P001R001A001{SUFFIX}", others))
        if not entries:
            skipped = "; ".join(f"{reason}: {count}" for reason, count in left_out.items())
            raise SkelepipeError(
                f"{', '.join(map(str, self._roots))}: no {self.name} recording there ({skipped or 'nothing at all'}); "
                f"expected files like S001C001P001R001A001{SUFFIX}, loose, in folders or in zip archives"
            )
        return Survey(
            entries=tuple(entries[name] for name in sorted(entries)),
            missing=tuple(sorted(missing)),
            left_out=left_out,
            absent=self._absent(entries),
        )

    def _absent(self, entries: Mapping[str, Entry]) -> dict[str, int]:
        """Count, for each setup, the usable recordings of the complete data set that were not found."""
        names = filter(None, map(NtuName.parse, entries.keys() | missing_names()))
        known = Counter(name.setup for name in names if name.was_captured)
        absent = {setup: captured(setup) - known[setup] for setup in self._data_set.setups}
        return {f"S{setup:03d}": count for setup, count in absent.items() if count}

    def read(self, entry: Entry, frame_index: FrameIndex) -> Iterator[Reading | Refusal]:
        """Parse one recording, which is one clip.

        Raises:
            RawFileError: its name or its text is invalid.
        """
        name = NtuName.parse(entry.name)
        if name is None:
            raise RawFileError(
                str(entry.file), 0, f"the name is not like S001C001P001R001A001{SUFFIX}; rename or remove it"
            )
        if name.action > self._data_set.classes:
            raise RawFileError(
                str(entry.file),
                0,
                f"class A{name.action:03d} does not exist in {self.name} (A001..A{self._data_set.classes:03d})",
            )
        with raw_files.open_file(entry.file) as stream:
            size, crc32 = self._reader.read(stream)
        recording = parse(self._reader.text, size, source=str(entry.file), name=entry.name, layout=self.layout)
        labels = Labels(
            label=name.label,
            subject=name.performer,
            camera=name.camera,
            setup=name.setup,
            replication=name.replication,
        )
        yield Reading(recording=recording, labels=labels, crc32=crc32)
