"""The folder of ST-GCN, as 2s-AGCN, CrosSCLR, AimCLR and SkeleMixCLR read it too: .npy arrays and pickled labels."""

import pickle  # only ever written  # nosec B403
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.export.arrays import SIDE_NAMES, Progress, Stream, array_frames, padded_clips, write_npy
from pipeline.files.atomic import write_file
from pipeline.store.batches import MAX_BODIES
from pipeline.store.splits import Split
from pipeline.store.store import Store

PICKLE_PROTOCOL = 4
"""The newest pickle protocol that Python 3.4 to 3.7 know: the peers run on old ones."""

ARRAYS: dict[Stream | None, str] = {
    None: "data.npy",
    "joint": "data_joint.npy",
    "bone": "data_bone.npy",
    "motion": "data_joint_motion.npy",
    "bone-motion": "data_bone_motion.npy",
}
"""What follows the side in an array's name: ST-GCN's where no stream was asked for, else 2s-AGCN's."""
LABELS = "label.pkl"
SUFFIX = ".skeleton"
"""What the names of samples end in there."""


def file_names() -> set[str]:
    """The names of all that exports write into their folder."""
    return {f"{side}_{what}" for side, _ in SIDE_NAMES for what in (*ARRAYS.values(), LABELS)}


def write_stgcn(store: Store, split: Split, streams: Sequence[Stream], folder: Path, done: Progress) -> None:
    """For each side and stream an array, float32 (N, 3, T, V, 2), and for each side a label file.

    A label file is the pickled pair of a list of names and a list of classes from 0. T is what all clips of the store
    have, else 300, or the longest clip's when that is more. Without streams the one array has joints.
    """
    frames = array_frames(store)
    for side, subset in SIDE_NAMES:
        rows = split.side(subset)
        shape = (len(rows), 3, frames, len(store.layout.joints), MAX_BODIES)
        names = [store.names[row] + SUFFIX for row in rows]
        labels = store.columns["label"][rows].tolist()
        write_file(folder / f"{side}_{LABELS}", pickle.dumps((names, labels), PICKLE_PROTOCOL))
        for stream in streams or (None,):
            clips = padded_clips(store, rows, frames, done, stream or "joint")
            with (folder / f"{side}_{ARRAYS[stream]}").open("wb") as handle:
                write_npy(handle, np.dtype(np.float32), shape, clips)
