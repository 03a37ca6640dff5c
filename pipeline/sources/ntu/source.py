"""NTU RGB+D as ingest sees it: which files below a folder belong to the data set, and the reading of one."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import RawFileError, SkelepipeError
from pipeline.files import raw_files
from pipeline.skeleton.layout import KINECT_V2, Layout
from pipeline.skeleton.segments import FrameIndex
from pipeline.sources.ntu.names import NTU60, NTU120, NtuDataSet, NtuName, captured, class_names, missing_names
from pipeline.sources.ntu.parser import parse
from pipeline.sources.source import Entry, Labels, Reading, Refusal, Survey
from pipeline.sources.text_buffer import TextReader

SUFFIX = ".skeleton"
FACTS = {facts.name: facts for facts in (NTU60, NTU120)}


class NtuSource:
    """The `.skeleton` files of one NTU data set: loose, in folders of any depth, or in the zips as shipped."""

    shared = ""
    columns: tuple[str, ...] = ()
    rules: Mapping[str, Any] = {}

    def __init__(self, dataset: str, roots: Sequence[Path]) -> None:
        self.name = dataset
        self.layout: Layout = KINECT_V2
        self._facts: NtuDataSet = FACTS[dataset]
        self.classes = class_names()[: self._facts.classes]
        self._roots = tuple(roots)
        self._reader = TextReader()

    def survey(self, *, keep_missing: bool) -> Survey:
        """Find the data set's recordings, in order of name.

        Raises:
            ArtifactNotFound: a root does not exist.
            OSError: a folder cannot be looked into.
            SkelepipeError: none is there, or one lies there twice.
        """
        found = raw_files.find(self._roots)
        left_out = found.left_out
        entries: dict[str, Entry] = {}
        missing = set()
        for file in found.files:
            name = NtuName.parse(file.stem.upper())
            called = str(name) if name else file.stem
            if file.suffix.lower() != SUFFIX:
                left_out[f"not {SUFFIX}"] += 1
            elif name is not None and not self._facts.holds(name):
                left_out[f"setups after S{self._facts.setups[-1]:03d}"] += 1
            elif called in entries:
                raise SkelepipeError(
                    f"{called}: found twice, as {entries[called].file} and {file}; keep one, "
                    "or name the folder or archive that counts"
                )
            elif called in missing_names() and not keep_missing:
                missing.add(called)
            else:
                entries[called] = Entry(called, file)
        if not entries:
            seen = "; ".join(f"{what}: {count}" for what, count in left_out.items())
            raise SkelepipeError(
                f"{', '.join(map(str, self._roots))}: no {self.name} recording there ({seen or 'nothing at all'}); "
                f"expected files like S001C001P001R001A001{SUFFIX}, loose, in folders or in zip archives"
            )
        return Survey(
            entries=tuple(entries[name] for name in sorted(entries)),
            missing=tuple(sorted(missing)),
            left_out=left_out,
            absent=self._absent(entries),
        )

    def _absent(self, entries: Mapping[str, Entry]) -> dict[str, int]:
        """How many usable recordings of the whole data set are not there, by setup."""
        names = filter(None, map(NtuName.parse, entries.keys() | missing_names()))
        there = Counter(name.setup for name in names if name.was_captured)
        gone = {setup: captured(setup) - there[setup] for setup in self._facts.setups}
        return {f"S{setup:03d}": count for setup, count in gone.items() if count}

    def read(self, entry: Entry, frame_index: FrameIndex) -> Iterator[Reading | Refusal]:
        """Parse one recording, which is one clip.

        Raises:
            RawFileError: its name or its text cannot be used as it stands.
        """
        name = NtuName.parse(entry.name)
        if name is None:
            raise RawFileError(
                str(entry.file), 0, f"the name is not like S001C001P001R001A001{SUFFIX}; rename or remove it"
            )
        if name.action > self._facts.classes:
            raise RawFileError(
                str(entry.file),
                0,
                f"class A{name.action:03d} does not exist in {self.name} (A001..A{self._facts.classes:03d})",
            )
        with raw_files.opened(entry.file) as stream:
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
