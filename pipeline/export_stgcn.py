"""The folder of ST-GCN, as 2s-AGCN, CrosSCLR, AimCLR and SkeleMixCLR read it too: .npy arrays and pickled labels."""

import pickle
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipeline import padded
from pipeline.publish import write_file
from pipeline.splits import Split
from pipeline.store import Store

SIDES = (("train", "train"), ("val", "test"))
"""How the peers call the two sides of a split; their "val" is the test set."""
PROTOCOL = 4
"""The newest pickle protocol that Python 3.4 to 3.7 know: the peers run on old ones."""


def files() -> list[str]:
    """The names of all that an export writes into its folder."""
    return [f"{side}_{what}" for side, _ in SIDES for what in ("data.npy", "label.pkl")]


def write(store: Store, split: Split, stream: padded.Stream, folder: Path, done: padded.Done) -> None:
    """`train_data.npy` and `val_data.npy`, float32 (N, 3, T, V, 2), and for each a `_label.pkl`.

    A label file is the pickled pair of a list of names and a list of classes from 0. T is what all clips of the store
    have, else 300, or the longest clip's when that is more.
    """
    frames = padded.room(store)
    for side, subset in SIDES:
        rows = split.side(subset)
        shape = (len(rows), 3, frames, len(store.layout.joints), padded.BODIES)

        def fill(handle: BinaryIO, rows: np.ndarray = rows, shape: tuple[int, ...] = shape) -> None:
            clips = padded.clips(store, rows, frames, done)
            derived = (padded.derive(clip, stream, store.layout) for clip in clips)
            padded.write_npy(handle, np.dtype(np.float32), shape, derived)

        write_file(folder / f"{side}_data.npy", fill)
        names = [store.names[row] for row in rows]
        labels = store.columns["label"][rows].tolist()
        write_file(folder / f"{side}_label.pkl", pickle.dumps((names, labels), PROTOCOL))
