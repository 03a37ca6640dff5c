"""The folders that are written to: room, kind of file system, and whether it keeps what publishing relies on."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.errors import OutputLocked, SkelepipeError
from pipeline.files import atomic
from pipeline.files.disk import nearest_folder
from pipeline.files.locks import sole_writer
from trainer.doctor.findings import PROJECT_ROOT, Finding

MOUNTS = Path("/proc/self/mounts")
NETWORK = re.compile(r"nfs|cifs|smb|lustre|gpfs|beegfs|ceph|9p|afs|gluster|panfs|weka|orangefs|fuse\.|davfs")
"""Kinds of file system that lie on other machines, by their beginnings; `fuse.` may."""
FOLDERS = (Path("processed"), Path("runs"))
"""Where commands write when nothing else is said."""
MEMORY = {"tmpfs", "ramfs"}
LOW_SPACE_BYTES, NO_SPACE_BYTES = 5e9, 1e8
"""Bytes of free room below which it is said, and below which nothing works: NTU-120's store takes some 2 GB."""


def examine(folders: Sequence[Path] = FOLDERS) -> Iterator[Finding]:
    """Each folder that is written to, the temporary one, and the one where compiled loops are kept."""
    seen: dict[Path, Finding] = {}
    for folder in [*folders, Path(tempfile.gettempdir())]:
        there = nearest_folder(folder)
        if there.resolve() in seen:
            yield replace(seen[there.resolve()], text=f"{shown(folder)}: the same, in {there}")
            continue
        seen[there.resolve()] = place(folder, there)
        yield seen[there.resolve()]
    yield cache()


def shown(folder: Path) -> str:
    """A folder as the user knows it."""
    return f"{folder}/" if not folder.is_absolute() else str(folder)


def place(folder: Path, there: Path) -> Finding:
    """One folder: its file system and what can be done there."""
    kind, free = kind_of(there), shutil.disk_usage(there).free
    said = f"{shown(folder)}: {kind}, {free / 1e9:.1f} GB free"
    if there != folder.absolute():
        said += ", not made yet"
    if fault := trial(there):
        return Finding("disk", "problem", f"{said}; {fault}", "choose another folder: cd there, or name --out")
    if free < NO_SPACE_BYTES or (os.statvfs(there).f_files and not os.statvfs(there).f_favail):
        return Finding("disk", "problem", f"{said}: no room", "make room, or choose another disk")
    if free < LOW_SPACE_BYTES:
        return Finding("disk", "note", f"{said}: little", "ingest --dry-run says what it will take")
    if NETWORK.match(kind):
        todo = "works, but is slower than a disk of this machine; one machine at a time writes one output"
        return Finding("disk", "note", f"{said}: on the network", todo)
    if kind in MEMORY and folder.absolute() != Path(tempfile.gettempdir()):
        return Finding("disk", "note", f"{said}: lies in memory", "it is gone after a restart")
    return Finding("disk", "ok", f"{said}; files are locked, synced and renamed there")


def kind_of(folder: Path, mounts: str | None = None) -> str:
    """The kind of file system that a folder lies on; `unknown file system` where nothing says it."""
    if mounts is None:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="replace") if MOUNTS.is_file() else ""
    best, kind = -1, "unknown file system"
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        at = Path(re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), fields[1]))
        if folder.resolve().is_relative_to(at) and len(at.parts) >= best:
            best, kind = len(at.parts), fields[2]
    return kind


def trial(folder: Path) -> str:
    """Do in a folder what publishing does, and take it away again; what went wrong, or nothing."""
    try:
        with tempfile.TemporaryDirectory(prefix=".skelepipe-doctor-", dir=folder) as made:
            return _publish(Path(made))
    except OSError as error:
        return f"nothing can be written there: {error.strerror or error}"
    except SkelepipeError as error:
        return str(error).rpartition(": cannot be written: ")[2]


def _publish(folder: Path) -> str:
    file, made, output = folder / "file", folder / "made", folder / "output"
    with sole_writer(file):
        try:
            with sole_writer(file):
                return "locks do not hold: two commands could write one output at once"
        except OutputLocked:
            pass
        atomic.write_file(file, b"doctor")
        made.mkdir()
        atomic.write_file(made / "file", b"doctor")
        atomic.publish_folder(made, output)
        whole = file.read_bytes() == (output / "file").read_bytes() == b"doctor"
        return "" if whole else "what was written is read back otherwise"


def cache() -> Finding:
    """Where numba keeps compiled loops: the first of its places that can be written."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    places = [Path(chosen)] if chosen else [PROJECT_ROOT / "pipeline" / "__pycache__", home / "numba"]
    for folder in places:
        if os.access(nearest_folder(folder), os.W_OK):
            return Finding("disk", "ok", f"compiled loops are kept in {folder}")
    said = f"compiled loops cannot be kept in {' or '.join(map(str, places))}"
    return Finding("disk", "problem", said, "NUMBA_CACHE_DIR=FOLDER, one that you can write to")
