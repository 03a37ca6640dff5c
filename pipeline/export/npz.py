"""Zip archives of .npy arrays: the plain one that numpy opens without skelepipe, and CTR-GCN's."""

import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ArtifactError
from pipeline.export.arrays import Progress, array_frames, padded_clips, write_npy
from pipeline.sources.ntu import names as ntu_names
from pipeline.sources.pku import names as pku_names
from pipeline.sources.source import NUMERIC_LABELS
from pipeline.store.batches import MAX_BODIES
from pipeline.store.splits import Split
from pipeline.store.store import Store

CTRGCN_JOINTS = 25
"""V that CTR-GCN's loader has written into it."""
CLASS_COUNTS = {facts.name: facts.classes for facts in (ntu_names.NTU60, ntu_names.NTU120)}
CLASS_COUNTS |= {name: len(pku_names.CLASSES) for name in pku_names.DATA_SETS}
"""Classes of the data sets that have a known number."""


def write_npz(store: Store, handle: BinaryIO, done: Progress) -> None:
    """`data` float32 (N, 3, T, V, 2) metres with T the longest clip, `lengths`, `names`, `labels`, ... by sorted name.

    `lengths` are int32; `labels`, `subjects`, `cameras`, `setups` and `replications` int64, -1 where unknown;
    `confidence` (N, V) float32, if the store has it.
    """
    names = np.array(store.names, np.str_)
    order = np.argsort(names, kind="stable")
    frames = int(store.columns["frames"].max())
    shape = (len(store), 3, frames, len(store.layout.joints), MAX_BODIES)
    with zipfile.ZipFile(handle, "w") as archive:
        _member(archive, "data", np.float32, shape, padded_clips(store, order, frames, done))
        for name, values in column_arrays(store, order).items():
            _member(archive, name, values.dtype, values.shape, iter([values]))


def column_arrays(store: Store, order: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """What stands beside `data`, in an order of rows; `confidence` (N, V) float32 where the store has it."""
    columns = ("label", *NUMERIC_LABELS)
    return {
        **({} if store.confidence is None else {"confidence": store.confidence[order]}),
        "lengths": store.columns["frames"][order].astype(np.int32),
        "names": np.array(store.names, np.str_)[order],
        **{f"{column}s": store.columns[column][order].astype(np.int64) for column in columns},
    }


def write_ctrgcn(store: Store, split: Split, handle: BinaryIO, done: Progress) -> None:
    """`x_train`, `y_train`, `x_test`, `y_test` as CTR-GCN's and MAMP's seq_transformation.py save them.

    x is float32 (N, T, 150), a frame's columns body by body, joint by joint, x y z; y is one-hot, float64 (N, classes).
    T is what all clips of the store have, else 300, or the longest clip's when that is more.

    Raises:
        ArtifactError: the skeleton is not one of 25 joints.
    """
    joints = len(store.layout.joints)
    if joints != CTRGCN_JOINTS:
        raise ArtifactError(f"{store.path}: has {joints} joints a body, and CTR-GCN's loader takes {CTRGCN_JOINTS}")
    frames = array_frames(store)
    labels = store.columns["label"]
    classes = np.eye(CLASS_COUNTS.get(store.attributes["dataset"], int(labels.max()) + 1))
    with zipfile.ZipFile(handle, "w") as archive:
        for side, rows in (("train", split.train), ("test", split.test)):
            motion = (clip.transpose(1, 3, 2, 0) for clip in padded_clips(store, rows, frames, done))
            _member(archive, f"x_{side}", np.float32, (len(rows), frames, joints * MAX_BODIES * 3), motion)
            _member(archive, f"y_{side}", np.float64, (len(rows), len(classes)), iter([classes[labels[rows]]]))


def _member(
    archive: zipfile.ZipFile, name: str, dtype: Any, shape: Sequence[int], blocks: Iterator[NDArray[Any]]
) -> None:
    """One array of an archive; dated 1980 so that the same store gives the same bytes."""
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
        write_npy(cast(BinaryIO, member), np.dtype(dtype), shape, blocks)
