"""ST-GCN export: a folder of .npy arrays and pickled labels, also for 2s-AGCN, CrosSCLR, AimCLR and SkeleMixCLR."""

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
"""The newest pickle protocol of Python 3.4 to 3.7, on which the reference code runs."""

ARRAYS: dict[Stream | None, str] = {
    None: "data.npy",
    "joint": "data_joint.npy",
    "bone": "data_bone.npy",
    "motion": "data_joint_motion.npy",
    "bone-motion": "data_bone_motion.npy",
}
"""File names after the prefix of the side: those of ST-GCN without streams, otherwise those of 2s-AGCN."""
LABELS = "label.pkl"
SUFFIX = ".skeleton"
"""Suffix of the sample names."""


def file_names() -> set[str]:
    """Return the names of all files that an export may write into its folder."""
    return {f"{side}_{name}" for side, _ in SIDE_NAMES for name in (*ARRAYS.values(), LABELS)}


def write_stgcn(store: Store, split: Split, streams: Sequence[Stream], folder: Path, progress: Progress) -> None:
    """Write an array for each side and stream, float32 (N, 3, T, V, 2), and a label file for each side.

    A label file is the pickled pair of a list of names and a list of classes from 0. T is the common length of all
    clips, otherwise 300 or the length of the longest clip. Without streams there is one array, of joints.
    """
    frames = array_frames(store)
    for side, subset in SIDE_NAMES:
        rows = split.side(subset)
        shape = (len(rows), 3, frames, len(store.layout.joints), MAX_BODIES)
        names = [store.names[row] + SUFFIX for row in rows]
        labels = store.columns["label"][rows].tolist()
        write_file(folder / f"{side}_{LABELS}", pickle.dumps((names, labels), PICKLE_PROTOCOL))
        for stream in streams or (None,):
            clips = padded_clips(store, rows, frames, progress, stream or "joint")
            with (folder / f"{side}_{ARRAYS[stream]}").open("wb") as handle:
                write_npy(handle, np.dtype(np.float32), shape, clips)
