"""One HDF5 file with what the .npz has, compressed clip by clip, and with splits, layout and lineage."""

import json
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from pipeline import padded
from pipeline.export_npz import small_arrays
from pipeline.splits import Split
from pipeline.store import Store


def write(store: Store, splits: Sequence[Split], path: Path, done: padded.Done) -> None:
    """`data` float32 (N, 3, T, V, 2) metres, a clip a chunk, gzip, and what stands beside it in the .npz.

    Rows are in the store's order; T is the longest clip. `splits/NAME/train` and `test` hold row numbers. The file's
    attributes are the store's facts as JSON, with its digest and the unit.
    """
    frames = int(store.columns["frames"].max())
    shape = (len(store), 3, frames, len(store.layout.joints), padded.BODIES)
    rows = np.arange(len(store))
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "data",
            shape,
            "<f4",
            chunks=(1, *shape[1:]),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
            fletcher32=True,
        )
        for row, clip in enumerate(padded.clips(store, rows, frames, done)):
            data[row] = clip
        for name, values in small_arrays(store, rows).items():
            kept = values.astype(h5py.string_dtype()) if values.dtype.kind == "U" else values
            file.create_dataset(name, data=kept)
        file.create_dataset("bodies", data=store.columns["bodies"].astype(np.int32))
        for split in splits:
            for side in ("train", "test"):
                file.create_dataset(f"splits/{split.name}/{side}", data=split.side(side))
        file.attrs["units"] = "m"
        file.attrs["store_digest"] = store.digest
        for key in ("dataset", "layout", "recipe", "classes", "tool"):
            file.attrs[key] = json.dumps(store.facts[key], sort_keys=True)
