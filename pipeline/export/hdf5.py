"""One HDF5 file with what the .npz has, compressed clip by clip, and with splits, layout and lineage."""

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


def write_hdf5(store: Store, splits: Sequence[Split], path: Path, done: Progress) -> None:
    """`data` float32 (N, 3, T, V, 2) metres, a clip a chunk, gzip, and what stands beside it in the .npz.

    Rows are in the store's order; T is the longest clip. `splits/NAME/train` and `test` hold row numbers. The file's
    attributes are the store's facts as JSON, with its digest and the unit.
    """
    with path.open("w+b", buffering=0) as raw:
        disk = _Disk(raw)
        try:
            with h5py.File(disk, "w") as file:
                _fill(file, store, splits, disk, done)
        finally:
            disk.check()  # before what HDF5 makes of a file that does not hold what was written


def _fill(file: h5py.File, store: Store, splits: Sequence[Split], disk: "_Disk", done: Progress) -> None:
    frames = int(store.columns["frames"].max())
    shape = (len(store), 3, frames, len(store.layout.joints), MAX_BODIES)
    rows = np.arange(len(store))
    packed: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}
    data = file.create_dataset("data", shape, "<f4", chunks=(1, *shape[1:]), **packed)
    for row, clip in enumerate(padded_clips(store, rows, frames, done)):
        data[row] = clip
        disk.check()
    for name, values in column_arrays(store, rows).items():
        kept = values.astype(h5py.string_dtype()) if values.dtype.kind == "U" else values
        file.create_dataset(name, data=kept)
    file.create_dataset("bodies", data=store.columns["bodies"].astype(np.int32))
    for split in splits:
        for side in ("train", "test"):
            file.create_dataset(f"splits/{split.name}/{side}", data=split.side(side))
    file.attrs["units"] = "m"
    file.attrs["store_digest"] = store.digest
    for key in ("dataset", "layout", "recipe", "classes", "tool"):
        file.attrs[key] = json.dumps(store.attributes[key], sort_keys=True)


class _Disk:
    """A file for HDF5 that keeps a refusal of the disk to itself: HDF5 cannot close after one, and takes Python down.

    What was refused is raised by `check`; until then writing goes on into nothing.
    """

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._refused: OSError | None = None
        self.seek, self.tell, self.read, self.readinto = file.seek, file.tell, file.read, file.readinto

    def check(self) -> None:
        if self._refused is not None:
            raise self._refused

    def write(self, block: memoryview) -> int:
        left = block
        while len(left) and self._refused is None:
            left = left[self._try(self._file.write, left) :]
        return len(block)

    def truncate(self, size: int) -> int:
        self._try(self._file.truncate, size)
        return size

    def flush(self) -> None:
        """Nothing waits here."""

    def _try(self, action: Callable[[Any], int], given: Any) -> int:
        try:
            return action(given)
        except OSError as error:
            self._refused = error
            return 0
