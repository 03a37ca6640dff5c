"""HDF5 export: the arrays of the .npz, compressed clip by clip, with splits, layout and lineage."""

import json
from collections.abc import Callable, Sequence
from io import FileIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.export.arrays import Progress, padded_clips
from pipeline.export.npz import column_arrays
from pipeline.store.batches import MAX_BODIES
from pipeline.store.splits import Split
from pipeline.store.store import Store


def write_hdf5(store: Store, splits: Sequence[Split], path: Path, progress: Progress) -> None:
    """Write `data` float32 (N, 3, T, V, 2) in metres, one gzip chunk per clip, and the other arrays of the .npz.

    Rows are in store order; T is the longest clip. `splits/NAME/train` and `test` hold row numbers. The attributes of
    the file are attributes of the store as JSON, its digest and the unit.
    """
    with path.open("w+b", buffering=0) as raw:
        disk = _DeferringFile(raw)
        try:
            with h5py.File(disk, "w") as file:
                _fill(file, store, splits, disk, progress)
        finally:
            disk.check()  # reported before the errors that HDF5 raises for the incomplete file


def _fill(file: h5py.File, store: Store, splits: Sequence[Split], disk: "_DeferringFile", progress: Progress) -> None:
    frames = int(store.columns["frames"].max())
    shape = (len(store), 3, frames, len(store.layout.joints), MAX_BODIES)
    rows = np.arange(len(store))
    compression: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}
    data = file.create_dataset("data", shape, "<f4", chunks=(1, *shape[1:]), **compression)
    for row, clip in enumerate(padded_clips(store, rows, frames, progress)):
        data[row] = clip
        disk.check()
    for name, values in column_arrays(store, rows).items():
        stored = values.astype(h5py.string_dtype()) if values.dtype.kind == "U" else values
        file.create_dataset(name, data=stored)
    file.create_dataset("bodies", data=store.columns["bodies"].astype(np.int32))
    for split in splits:
        for side in ("train", "test"):
            file.create_dataset(f"splits/{split.name}/{side}", data=split.side(side))
    file.attrs["units"] = "m"
    file.attrs["store_digest"] = store.digest
    for key in ("dataset", "layout", "recipe", "classes", "tool"):
        file.attrs[key] = json.dumps(store.attributes[key], sort_keys=True)


class _DeferringFile:
    """A file for HDF5 that defers write errors, because HDF5 crashes Python when it closes a file after one.

    `check` raises the error; until then further writes are discarded.
    """

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._error: OSError | None = None
        self.seek, self.tell, self.read, self.readinto = file.seek, file.tell, file.read, file.readinto

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def write(self, block: memoryview) -> int:
        remaining = block
        while len(remaining) and self._error is None:
            remaining = remaining[self._try(self._file.write, remaining) :]
        return len(block)

    def truncate(self, size: int) -> int:
        self._try(self._file.truncate, size)
        return size

    def flush(self) -> None:
        """Do nothing: the file is unbuffered."""

    def _try(self, action: Callable[[Any], int], argument: Any) -> int:
        try:
            return action(argument)
        except OSError as error:
            self._error = error
            return 0
