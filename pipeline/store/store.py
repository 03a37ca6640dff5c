"""The store: one Zarr group per ingested data set, ragged and flat; what is in it, and how it is read.

All clips' rows stand one after another in `xyz` (C, V, F): clip n owns columns offset[n]..offset[n+1], its bodies one
after another, each with the clip's `frames` columns. Time runs fastest because that compresses best: 1.80x against
1.25x with joints fastest, on the same 800 clips of UI-PRMD written as NTU's 25 joints. `pipeline/store/FORMAT.md`
has the layout byte by byte, writer.py writes it; no other file imports zarr.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.artifacts import manifest, schemas
from pipeline.errors import ArtifactError
from pipeline.files.safe_zip import BOMB_RATIO
from pipeline.skeleton.layout import Layout
from pipeline.store import shards
from pipeline.store.columns import (
    BLOCK_BODY_FRAMES,
    CHUNK_BODY_FRAMES,
    COLUMNS,
    CONFIDENCE,
    QUARANTINE_FILE,
    SHARD_BODY_FRAMES,
)
from pipeline.suggest import did_you_mean

READ_BODY_FRAMES = SHARD_BODY_FRAMES
"""Body-frames that `Store.clips` holds at once."""


class Store:
    """A complete store, opened for reading."""

    def __init__(self, path: Path) -> None:
        """Open a store after checking its manifest, names, sizes and small files.

        Raises:
            ArtifactNotFound: there is nothing at `path`.
            ArtifactError: it is incomplete, damaged, of another format version, or no store; the text names the field.
        """
        self.path = path
        sealed = manifest.open_folder(path, schemas.STORE)
        self.digest: str = sealed["digest"]
        self._files: dict[str, dict[str, Any]] = sealed["files"]
        self._seen: dict[str, tuple[int, ...]] = {}
        with self._zarr("its Zarr group"):
            self._group = zarr.open_group(str(path), mode="r", zarr_format=3)
            facts: Any = self._group.attrs.asdict().get("skelepipe")
        schemas.STORE_ATTRIBUTES.check(path / "zarr.json", facts)
        self.attributes: dict[str, Any] = facts
        self.layout = Layout.from_json(facts["layout"])
        self.quarantine: list[dict[str, Any]] = manifest.read_json(path / QUARANTINE_FILE, schemas.QUARANTINE)
        """The recordings that could not be used: name, file, line, reason."""
        schemas.QUARANTINE.check_fields(path / QUARANTINE_FILE, {"entries": self.quarantine})
        N, V = int(sealed["clips"]), len(self.layout.joints)
        self.columns: dict[str, NDArray[Any]] = {
            spec.name: self._array(spec.name, spec.dtype, (N,)) for spec in COLUMNS
        }
        self.offset: NDArray[np.int64] = self._array("offset", "int64", (N + 1,))
        lengths = self.columns["frames"].astype(np.int64) * self.columns["bodies"]
        if self.offset[0] != 0 or (lengths < 0).any() or (np.diff(self.offset) != lengths).any():
            raise ArtifactError(f"{path}: its array offset is not what frames and bodies add up to; ingest again")
        xyz = self._require("xyz", "float32", (3, V, int(self.offset[-1])))
        if (xyz.shards, xyz.chunks) != ((3, V, SHARD_BODY_FRAMES), (3, V, CHUNK_BODY_FRAMES)):
            raise ArtifactError(
                f"{path}: its array xyz is in shards of {xyz.shards} and chunks of {xyz.chunks}, "
                f"expected {(3, V, SHARD_BODY_FRAMES)} and {(3, V, CHUNK_BODY_FRAMES)}; ingest again"
            )
        self.confidence: NDArray[np.float32] | None = None
        """(N, V) how sure of each joint each clip's recording is on average, NaN where it does not say; None: all."""
        if f"{CONFIDENCE}/zarr.json" in self._files:
            self.confidence = self._array(CONFIDENCE, "float32", (N, V))
        self.names = self._texts("name")
        self.recordings = self._texts("recording")
        self.extra: dict[str, NDArray[np.str_]] = {
            name: np.array(self._texts(f"extra_{place}"), np.str_) for place, name in enumerate(facts["extra"])
        }

    def __len__(self) -> int:
        """Number of clips, N."""
        return len(self.names)

    def values(self, column: str) -> NDArray[Any]:
        """(N,) the values of one of the data set's own columns as text, else of COLUMNS, `name` or `recording`.

        Raises:
            ArtifactError: there is no such column.
        """
        texts = {"name": self.names, "recording": self.recordings}
        values = self.extra.get(column, self.columns.get(column))
        if values is None and column in texts:
            values = np.array(texts[column], np.str_)
        if values is None:
            raise ArtifactError(
                f"{self.path}: has no column {column!r}{did_you_mean(column, [*self.columns, *self.extra])}; "
                f"it has {', '.join([*self.columns, *self.extra])}"
            )
        return values

    def class_name(self, label: int) -> str:
        """A class as people know it: its number, and its name where it has one; `unknown` below 0."""
        return f"{label} {self.attributes['classes'].get(str(label), '')}".rstrip() if label >= 0 else "unknown"

    @property
    def name(self) -> str:
        """What the store is called: its folder without suffix."""
        return self.path.stem

    def check(self) -> None:
        """Read every byte and compare it with the manifest.

        Raises:
            ArtifactError: something is missing, changed or was added.
        """
        shards = [name for name in self._files if name.startswith("xyz/c/") and (self.path / name).is_file()]
        states = {name: _state(self.path / name) for name in shards}
        for finding in manifest.verify_folder(self.path, schemas.STORE):
            raise ArtifactError(f"{self.path}: {finding}; restore it or ingest again")
        self._seen |= states

    def clips(self, rows: Iterable[int] | None = None) -> Iterator[NDArray[np.float32]]:
        """The clips of some rows, or all, (M, T, V, 3) in metres, NaN where missing; one shard in memory at a time.

        Rows that ascend, however many are left out, cost each shard once; others are read one by one.

        Raises:
            ArtifactError: as `motion`.
        """
        wanted = range(len(self)) if rows is None else list(rows)
        if any(later <= row for row, later in pairwise(wanted)):
            yield from map(self.clip, wanted)
            return
        held, start, total = np.empty((0, len(self.layout.joints), 3), np.float32), 0, int(self.offset[-1])
        for row in wanted:
            first, last, end = int(self.offset[row]), int(self.offset[row + 1]), start + len(held)
            if last > end:
                kept = held[first - start : end - start]
                begin = first + len(kept)
                block = self._rows(begin, min(max(last, (begin // READ_BODY_FRAMES + 1) * READ_BODY_FRAMES), total))
                held, start = np.concatenate([kept, block]), first
            yield held[first - start : last - start].reshape(self.shape(row)).copy()

    def clip(self, row: int) -> NDArray[np.float32]:
        """One clip, (M, T, V, 3) in metres, NaN where missing.

        Raises:
            ArtifactError: as `motion`.
        """
        return self._rows(int(self.offset[row]), int(self.offset[row + 1])).reshape(self.shape(row))

    def blocks(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) the block, from 0, in which each row's clip begins: BLOCK columns of xyz, which are read at once."""
        return self.offset[rows] // BLOCK_BODY_FRAMES

    def motion(self, first: int, last: int) -> NDArray[np.float32]:
        """(C, V, last - first) columns of xyz in metres, NaN where missing; safe to call in several threads.

        A shard whose file is another than when it was last looked at is first held against the manifest, whole; each
        chunk is held against its checksum whenever it is read. So what is not what was written is never returned.

        Raises:
            ArtifactError: a shard is gone, or not what was written.
        """
        out = np.empty((3, len(self.layout.joints), last - first), np.float32)
        for shard in range(first // SHARD_BODY_FRAMES, (last - 1) // SHARD_BODY_FRAMES + 1):
            start = shard * SHARD_BODY_FRAMES
            here, there = max(first, start), min(last, start + SHARD_BODY_FRAMES)
            name = f"xyz/c/0/0/{shard}"
            try:
                self._look_at(name)
                into = out[:, :, here - first : there - first]
                shards.read_columns(
                    self.path / name,
                    self._files[name]["size"],
                    SHARD_BODY_FRAMES // CHUNK_BODY_FRAMES,
                    into,
                    CHUNK_BODY_FRAMES,
                    here - start,
                )
            except (ValueError, KeyError, RuntimeError, OSError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                raise ArtifactError(f"{self.path / name}: {reason}; restore it or ingest again") from error
        return out

    def _look_at(self, name: str) -> None:
        """Hold a shard's file against the manifest unless it is the very file that was found good before.

        Raises:
            ValueError: it is not what was written.
        """
        state = _state(self.path / name)
        if self._seen.get(name) != state:
            if manifest.file_digest(self.path / name) != self._files[name]["sha256"]:
                raise ValueError("has other content than when it was written")
            self._seen[name] = state

    def shape(self, row: int) -> tuple[int, int, int, int]:
        """(M, T, V, 3) of one clip."""
        return int(self.columns["bodies"][row]), int(self.columns["frames"][row]), len(self.layout.joints), 3

    def _rows(self, first: int, last: int) -> NDArray[np.float32]:
        return np.ascontiguousarray(self.motion(first, last).transpose(2, 1, 0))

    def _texts(self, name: str) -> list[str]:
        rows = self._array(name, "uint8", (len(self.columns["frames"]), None))
        try:
            return [bytes(row).rstrip(b"\0").decode() for row in rows]
        except UnicodeDecodeError as error:
            raise ArtifactError(f"{self.path}: its array {name} is not UTF-8 ({error}); ingest again") from error

    def _array(self, name: str, dtype: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """One of the small arrays, whole; None is any extent."""
        array = self._require(name, dtype, shape)
        chunk = "/".join([name, "c", *("0" for _ in shape)])
        if chunk not in self._files and array.size:  # of which zarr would say that it is all fill values
            raise ArtifactError(f"{self.path}: its array {name} has no chunk {chunk}; ingest again")
        if array.nbytes > manifest.SMALL_FILE_BYTES and array.nbytes > BOMB_RATIO * (
            size := self._files[chunk]["size"]
        ):
            raise ArtifactError(f"{self.path}: {chunk} has {size} bytes, its array {array.nbytes}; ingest again")
        with self._zarr(f"its array {name}"):
            return np.asarray(array[...])

    @contextmanager
    def _zarr(self, what: str) -> Iterator[None]:
        """Say what of the store zarr cannot read: metadata of which it makes nothing end in every kind of exception.

        Raises:
            ArtifactError: in the place of any of them.
        """
        try:
            yield
        except Exception as error:
            raise ArtifactError(f"{self.path}: {what} cannot be read ({error}); restore it or ingest again") from error

    def _require(self, name: str, dtype: str, shape: tuple[int | None, ...]) -> Any:
        """An array of the group as the format has it.

        Raises:
            ArtifactError: it is not there, or of another type or shape.
        """
        with self._zarr(f"its array {name}"):
            array: Any = self._group.get(name)
            found: tuple[str, tuple[int, ...]] | None = None if array is None else (str(array.dtype), array.shape)
        fits = found is not None and found[0] == dtype and len(found[1]) == len(shape)
        if not fits or any(wanted not in (None, extent) for wanted, extent in zip(shape, array.shape, strict=True)):
            there = "is {} {}".format(*found) if found else "is missing"
            told = tuple("any" if extent is None else extent for extent in shape)
            raise ArtifactError(f"{self.path}: its array {name} {there}, expected {dtype} {told}; ingest again")
        return array


def _state(path: Path) -> tuple[int, ...]:
    """What tells that a file is the one that it was."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def verify_store(path: Path) -> list[str]:
    """Read every byte of a store and name everything that is wrong with it, be it only in what it says of itself."""
    wrong = manifest.verify_folder(path, schemas.STORE)
    if not wrong:
        try:
            Store(path)
        except ArtifactError as error:
            wrong.append(str(error))
    return wrong
