"""NTU RGB+D as ingest sees it: which files below a folder belong to the data set, and the reading of one."""

import os
import stat
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.errors import ArtifactNotFound, RawFileError, SkelepipeError
from pipeline.layout import KINECT_V2, Layout
from pipeline.ntu_names import NTU60, NtuDataSet, NtuName, class_names, missing_names
from pipeline.ntu_text import TextReader, parse
from pipeline.source import Entry, Labels, Reading, Survey

SUFFIX = ".skeleton"
ARCHIVES = {".zip", ".7z", ".gz", ".tar", ".rar"}


class NtuSource:
    """The `.skeleton` files of one NTU data set, loose or in folders of any depth."""

    def __init__(self, facts: NtuDataSet) -> None:
        self.name = facts.name
        self.layout: Layout = KINECT_V2
        self._facts = facts
        self._reader = TextReader()

    def survey(self, roots: Sequence[Path], *, keep_missing: bool) -> Survey:
        """Find the data set's recordings below `roots`, in order of name.

        Raises:
            ArtifactNotFound: a root does not exist.
            OSError: a folder cannot be looked into; what lies in it would be lost without a word.
            SkelepipeError: none is there, or one lies there twice.
        """
        entries: dict[str, Entry] = {}
        missing, left_out = [], Counter[str]()
        for path in (path for root in roots for path in _files(root)):
            if path.suffix != SUFFIX:
                left_out["archives, unpack them first" if path.suffix in ARCHIVES else f"not {SUFFIX}"] += 1
                continue
            status = _status(path)
            name = NtuName.parse(path.stem)
            if status is not None and not stat.S_ISREG(status.st_mode):
                left_out["not a regular file"] += 1
            elif name is not None and not self._facts.holds(name):
                left_out[f"setups after S{self._facts.setups[-1]:03d}"] += 1
            elif path.stem in entries:
                raise SkelepipeError(
                    f"{path.stem}: found twice, as {entries[path.stem].path} and {path}; keep one, "
                    "or name the folder that counts"
                )
            elif path.stem in missing_names() and not keep_missing:
                missing.append(path.stem)
            else:
                entries[path.stem] = Entry(path.stem, path, status.st_size if status else 0)
        if not entries:
            seen = "; ".join(f"{what}: {count}" for what, count in left_out.items())
            raise SkelepipeError(
                f"{', '.join(map(str, roots))}: no {self.name} recording there ({seen or 'nothing at all'}); "
                f"expected files like S001C001P001R001A001{SUFFIX}, loose or in folders"
            )
        return Survey(
            entries=tuple(entries[name] for name in sorted(entries)), missing=tuple(sorted(missing)), left_out=left_out
        )

    def read(self, entry: Entry) -> Reading:
        """Parse one recording.

        Raises:
            RawFileError: its name or its text cannot be used as it stands.
        """
        name = NtuName.parse(entry.name)
        if name is None:
            raise RawFileError(
                str(entry.path), 0, f"the name is not like S001C001P001R001A001{SUFFIX}; rename or remove it"
            )
        if name.action > self._facts.classes:
            raise RawFileError(
                str(entry.path),
                0,
                f"class A{name.action:03d} does not exist in {self.name} (A001..A{self._facts.classes:03d})",
            )
        try:
            size, crc32 = self._reader.read_file(entry.path)
        except OSError as error:
            raise RawFileError(str(entry.path), 0, f"cannot be read: {error.strerror}") from error
        recording = parse(self._reader.text, size, source=str(entry.path), name=entry.name, layout=self.layout)
        labels = Labels(
            label=name.label,
            subject=name.performer,
            camera=name.camera,
            setup=name.setup,
            replication=name.replication,
        )
        return Reading(recording=recording, labels=labels, size=size, crc32=crc32)

    def crc32(self, entry: Entry) -> int:
        """crc32 of a recording's bytes; 0 when they cannot be read."""
        try:
            with entry.path.open("rb") as handle:
                total = 0
                while block := handle.read(1 << 20):
                    total = zlib.crc32(block, total)
        except OSError:
            return 0
        return total

    def class_name(self, label: int) -> str:
        """What a class is called in the data set's list."""
        return class_names()[label]


def _status(path: Path) -> os.stat_result | None:
    """What kind of file and how large; None for a link to nowhere or a file that has gone: reading it tells more."""
    try:
        return path.stat()
    except OSError:
        return None


def _files(root: Path) -> Iterator[Path]:
    """Every file at or below `root`, links followed, hidden ones passed over.

    Raises:
        ArtifactNotFound: there is no such root.
        OSError: a folder cannot be looked into.
    """
    if not root.exists():
        raise ArtifactNotFound(root, "name the folder that holds the recordings")
    if root.is_file():
        yield root
        return

    def refuse(error: OSError) -> None:
        raise error

    entered = set()
    for here, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        if (real := os.path.realpath(here)) in entered:
            folders.clear()  # a link that leads back up
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here, name) for name in sorted(names) if not name.startswith("."))


NTU60_SOURCE = NtuSource(NTU60)
