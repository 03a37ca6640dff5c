"""Read a store: one Zarr group per ingested data set, with the clips of all recordings in one flat array.

All clips are concatenated in `xyz` (C, V, F): clip n has the columns offset[n]..offset[n+1], its bodies one after
another, each with the clip's `frames` columns. Time is the fastest axis because that compresses best: 1.80x against
1.25x with joints fastest, on the same 800 clips of UI-PRMD written as NTU's 25 joints. `pipeline/store/FORMAT.md`
describes every byte, writer.py writes it; no other file imports zarr.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.artifacts import manifest, schemas
from pipeline.errors import ArtifactError
from pipeline.files.regular_files import open_file
from pipeline.files.safe_zip import BOMB_RATIO
from pipeline.skeleton.layout import Layout
from pipeline.sources.class_title import class_title
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

TEXT_DTYPE = "StringDType()"
READ_BODY_FRAMES = SHARD_BODY_FRAMES
"""Body-frames that `Store.clips` keeps in memory."""


class Store:
    """A complete store, open for reading."""

    def __init__(self, path: Path | str) -> None:
        """Open a store after checking its manifest, file names, sizes and small files.

        Raises:
            ArtifactNotFound: `path` does not exist.
            ArtifactError: it is incomplete, damaged, of another format version, or not a store; the message names the
                file or field.
        """
        self.path = path = Path(path)
        header = manifest.open_folder(path, schemas.STORE)
        self.digest: str = header["digest"]
        self._files: dict[str, dict[str, Any]] = header["files"]
        self._verified_states: dict[str, tuple[int, ...]] = {}
        with self._zarr_errors("its Zarr group"):
            self._group = zarr.open_group(str(path), mode="r", zarr_format=3)
            attributes: Any = self._group.attrs.asdict().get("skelepipe")
        schemas.STORE_ATTRIBUTES.check(path / "zarr.json", attributes)
        self.attributes: dict[str, Any] = attributes
        self.layout = Layout.from_json(attributes["layout"])
        self.quarantine: list[dict[str, Any]] = manifest.read_json(path / QUARANTINE_FILE, schemas.QUARANTINE)
        """The recordings that could not be used, with name, file, line and reason."""
        schemas.QUARANTINE.check_fields(path / QUARANTINE_FILE, {"entries": self.quarantine})
        N, V = int(header["clips"]), len(self.layout.joints)
        self.columns: dict[str, NDArray[Any]] = {
            spec.name: self._array(spec.name, spec.dtype, (N,)) for spec in COLUMNS
        }
        self.offset: NDArray[np.int64] = self._array("offset", "int64", (N + 1,))
        lengths = self.columns["frames"].astype(np.int64) * self.columns["bodies"]
        if self.offset[0] != 0 or (lengths < 0).any() or (np.diff(self.offset) != lengths).any():
            raise ArtifactError(f"{path}: its array offset does not match frames and bodies; ingest again")
        xyz = self._require("xyz", "float32", (3, V, int(self.offset[-1])))
        if (xyz.shards, xyz.chunks) != ((3, V, SHARD_BODY_FRAMES), (3, V, CHUNK_BODY_FRAMES)):
            raise ArtifactError(
                f"{path}: its array xyz is in shards of {xyz.shards} and chunks of {xyz.chunks}, "
                f"expected {(3, V, SHARD_BODY_FRAMES)} and {(3, V, CHUNK_BODY_FRAMES)}; ingest again"
            )
        self.confidence: NDArray[np.float32] | None = None
        """(N, V) mean confidence of each joint in each clip, NaN where unknown; None if no clip has any."""
        if f"{CONFIDENCE}/zarr.json" in self._files:
            self.confidence = self._array(CONFIDENCE, "float32", (N, V))
        self.names = self._texts("name")
        self.recordings = self._texts("recording")
        self.extra: dict[str, NDArray[np.str_]] = {
            name: np.array(self._texts(f"extra_{index}"), np.str_) for index, name in enumerate(attributes["extra"])
        }

    def __len__(self) -> int:
        """Number of clips, N."""
        return len(self.names)

    def __getitem__(self, key: int | str) -> NDArray[np.float32]:
        """Return a clip by row or by name, (M, T, V, 3) in metres, NaN where missing.

        Raises:
            IndexError: there is no such row.
            KeyError: no clip has this name.
            ArtifactError: as `motion`.
        """
        if isinstance(key, str):
            if key not in self.names:
                raise KeyError(f"{self.path}: has no clip {key!r}{did_you_mean(key, self.names)}")
            return self.clip(self.names.index(key))
        if not -len(self) <= key < len(self):
            raise IndexError(f"{self.path}: has no row {key}; it has {len(self)} clips")
        return self.clip(key % len(self))

    def __repr__(self) -> str:
        """Describe the store: path, data set, numbers of clips, classes and joints, recipe."""
        labels = self.columns["label"]
        classes = len(np.unique(labels[labels >= 0]))
        about = (
            f"{self.attributes['dataset']}, {len(self):,} clips, {classes} classes, {len(self.layout.joints)} joints"
        )
        return f"Store({str(self.path)!r}: {about}, recipe {self.attributes['recipe']['name']})"

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        """Pickle a store as its path, for worker processes."""
        return type(self), (self.path,)

    def values(self, column: str) -> NDArray[Any]:
        """Return the (N,) values of a column: one of the data set (as text), of COLUMNS, `name` or `recording`.

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
        """Return the number of a class and its name, if it has one: `A006 pickup` for NTU; `unknown` below 0."""
        return class_title(label, self.attributes["classes"].get(str(label), "")) if label >= 0 else "unknown"

    @property
    def name(self) -> str:
        """The folder name without suffix."""
        return self.path.stem

    def check(self) -> None:
        """Read every byte and compare it with the manifest.

        Raises:
            ArtifactError: a file is missing, has changed or was added.
        """
        shards = [name for name in self._files if name.startswith("xyz/c/") and (self.path / name).is_file()]
        states = {name: _file_state(self.path / name) for name in shards}
        for finding in manifest.verify_folder(self.path, schemas.STORE):
            raise ArtifactError(f"{self.path}: {finding}; restore it or ingest again")
        self._verified_states |= states

    def clips(self, rows: Iterable[int] | None = None) -> Iterator[NDArray[np.float32]]:
        """Yield the clips of some rows, or all, (M, T, V, 3) in metres, NaN where missing; one shard in memory.

        For ascending rows each shard is read once, even with gaps; in any other order clips are read one by one.

        Raises:
            ArtifactError: as `motion`.
        """
        wanted = range(len(self)) if rows is None else list(rows)
        if any(later <= row for row, later in pairwise(wanted)):
            yield from map(self.clip, wanted)
            return
        buffer, start, total = np.empty((0, len(self.layout.joints), 3), np.float32), 0, int(self.offset[-1])
        for row in wanted:
            first, last, end = int(self.offset[row]), int(self.offset[row + 1]), start + len(buffer)
            if last > end:
                overlap = buffer[first - start : end - start]
                begin = first + len(overlap)
                block = self._rows(begin, min(max(last, (begin // READ_BODY_FRAMES + 1) * READ_BODY_FRAMES), total))
                buffer, start = np.concatenate([overlap, block]), first
            yield buffer[first - start : last - start].reshape(self.shape(row)).copy()

    def clip(self, row: int) -> NDArray[np.float32]:
        """Return one clip, (M, T, V, 3) in metres, NaN where missing.

        Raises:
            ArtifactError: as `motion`.
        """
        return self._rows(int(self.offset[row]), int(self.offset[row + 1])).reshape(self.shape(row))

    def blocks(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (n,) the block, from 0, in which each clip begins: BLOCK_BODY_FRAMES columns read together."""
        return self.offset[rows] // BLOCK_BODY_FRAMES

    def motion(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the columns `first` to `last` of xyz, (C, V, last - first) in metres, NaN where missing; thread-safe.

        A shard file is verified against the manifest when it is first read, and again whenever it has changed; each
        chunk is verified against its checksum on every read. So damaged data is never returned.

        Raises:
            ArtifactError: a shard is missing or damaged.
        """
        out = np.empty((3, len(self.layout.joints), last - first), np.float32)
        for shard in range(first // SHARD_BODY_FRAMES, (last - 1) // SHARD_BODY_FRAMES + 1):
            start = shard * SHARD_BODY_FRAMES
            begin, end = max(first, start), min(last, start + SHARD_BODY_FRAMES)
            name = f"xyz/c/0/0/{shard}"
            try:
                self._verify_shard(name)
                into = out[:, :, begin - first : end - first]
                shards.read_columns(
                    self.path / name,
                    self._files[name]["size"],
                    SHARD_BODY_FRAMES // CHUNK_BODY_FRAMES,
                    into,
                    CHUNK_BODY_FRAMES,
                    begin - start,
                )
            except (ValueError, KeyError, RuntimeError, OSError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                raise ArtifactError(f"{self.path / name}: {reason}; restore it or ingest again") from error
        return out

    def _verify_shard(self, name: str) -> None:
        """Verify a shard file against the manifest, unless it has not changed since it was last verified.

        Raises:
            ValueError: its checksum differs.
        """
        state = _file_state(self.path / name)
        if self._verified_states.get(name) != state:
            if manifest.file_digest(self.path / name) != self._files[name]["sha256"]:
                raise ValueError("has changed since it was written (its sha256 differs)")
            self._verified_states[name] = state

    def shape(self, row: int) -> tuple[int, int, int, int]:
        """Return (M, T, V, 3) of one clip."""
        return int(self.columns["bodies"][row]), int(self.columns["frames"][row]), len(self.layout.joints), 3

    def _rows(self, first: int, last: int) -> NDArray[np.float32]:
        return np.ascontiguousarray(self.motion(first, last).transpose(2, 1, 0))

    def _texts(self, name: str) -> list[str]:
        """Read a column of texts; in format version 1 it is a matrix of bytes."""
        N = len(self.columns["frames"])
        if self.attributes["format_version"] > 1:
            if N:
                self._check_text_count(name, N)
            texts: list[str] = self._array(name, TEXT_DTYPE, (N,)).tolist()
            return texts
        rows = self._array(name, "uint8", (N, None))
        try:
            return [bytes(row).rstrip(b"\0").decode() for row in rows]
        except UnicodeDecodeError as error:
            raise ArtifactError(f"{self.path}: its array {name} is not UTF-8 ({error}); ingest again") from error

    def _check_text_count(self, name: str, count: int) -> None:
        """Check the number of texts at the beginning of a chunk, for which the decoder allocates memory."""
        chunk = self.path / name / "c" / "0"
        try:
            with open_file(chunk) as stream:
                found = int.from_bytes(stream.read(4), "little")
        except OSError as error:
            raise ArtifactError(f"{chunk}: {error.strerror or error}; restore it or ingest again") from error
        if found != count:
            raise ArtifactError(f"{chunk}: has {found} texts, expected {count}; ingest again")

    def _array(self, name: str, dtype: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """Read one of the small arrays; None in `shape` allows any extent."""
        array = self._require(name, dtype, shape)
        chunk = "/".join([name, "c", *("0" for _ in shape)])
        if chunk not in self._files and array.size:  # zarr would return fill values
            raise ArtifactError(f"{self.path}: its array {name} has no chunk {chunk}; ingest again")
        if array.nbytes > manifest.SMALL_FILE_BYTES and array.nbytes > BOMB_RATIO * (
            size := self._files[chunk]["size"]
        ):
            raise ArtifactError(
                f"{self.path}: {chunk} has {size} bytes, but its array needs {array.nbytes}; ingest again"
            )
        with self._zarr_errors(f"its array {name}"):
            return np.asarray(array[...])

    @contextmanager
    def _zarr_errors(self, what: str) -> Iterator[None]:
        """Turn any error of zarr into an ArtifactError: for damaged metadata it raises all kinds of exceptions.

        Raises:
            ArtifactError: instead of any exception.
        """
        try:
            yield
        except Exception as error:
            raise ArtifactError(f"{self.path}: {what} cannot be read ({error}); restore it or ingest again") from error

    def _require(self, name: str, dtype: str, shape: tuple[int | None, ...]) -> Any:
        """Return an array of the group after checking its type and shape.

        Raises:
            ArtifactError: it is missing, or of another type or shape.
        """
        with self._zarr_errors(f"its array {name}"):
            array: Any = self._group.get(name)
            found: tuple[str, tuple[int, ...]] | None = None if array is None else (str(array.dtype), array.shape)
        fits = found is not None and found[0] == dtype and len(found[1]) == len(shape)
        if not fits or any(expected not in (None, extent) for expected, extent in zip(shape, array.shape, strict=True)):
            problem = "is {} {}".format(*found) if found else "is missing"
            expected_shape = tuple("any" if extent is None else extent for extent in shape)
            raise ArtifactError(
                f"{self.path}: its array {name} {problem}, expected {dtype} {expected_shape}; ingest again"
            )
        return array


def _file_state(path: Path) -> tuple[int, ...]:
    """Return what identifies an unchanged file: device, inode, size and modification time."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def verify_store(path: Path) -> list[str]:
    """Check every byte and all metadata of a store; return a list of all faults, empty if there are none."""
    faults = manifest.verify_folder(path, schemas.STORE)
    if not faults:
        try:
            Store(path)
        except ArtifactError as error:
            faults.append(str(error))
    return faults
