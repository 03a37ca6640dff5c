"""Npz export: a plain .npz that numpy opens, and the .npz of CTR-GCN."""

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
"""V, which is fixed in the loader of CTR-GCN."""
CLASS_COUNTS = {data_set.name: data_set.classes for data_set in (ntu_names.NTU60, ntu_names.NTU120)}
CLASS_COUNTS |= {name: len(pku_names.CLASSES) for name in pku_names.DATA_SETS}
"""Number of classes of the known data sets."""


def write_npz(store: Store, handle: BinaryIO, progress: Progress) -> None:
    """Write `data` float32 (N, 3, T, V, 2) in metres, T the longest clip, `lengths`, `names`, `labels`, ... by name.

    `lengths` are int32; `labels`, `subjects`, `cameras`, `setups` and `replications` int64, -1 where unknown;
    `confidence` (N, V) float32, if the store has it.
    """
    names = np.array(store.names, np.str_)
    order = np.argsort(names, kind="stable")
    frames = int(store.columns["frames"].max())
    shape = (len(store), 3, frames, len(store.layout.joints), MAX_BODIES)
    with zipfile.ZipFile(handle, "w") as archive:
        _write_member(archive, "data", np.float32, shape, padded_clips(store, order, frames, progress))
        for name, values in column_arrays(store, order).items():
            _write_member(archive, name, values.dtype, values.shape, iter([values]))


def column_arrays(store: Store, order: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return the arrays next to `data`, in the order of the rows given."""
    columns = ("label", *NUMERIC_LABELS)
    return {
        **({} if store.confidence is None else {"confidence": store.confidence[order]}),
        "lengths": store.columns["frames"][order].astype(np.int32),
        "names": np.array(store.names, np.str_)[order],
        **{f"{column}s": store.columns[column][order].astype(np.int64) for column in columns},
    }


def write_ctrgcn(store: Store, split: Split, handle: BinaryIO, progress: Progress) -> None:
    """Write `x_train`, `y_train`, `x_test`, `y_test` as seq_transformation.py of CTR-GCN and MAMP does.

    x is float32 (N, T, 150), the columns of a frame ordered by body, joint and x y z; y is one-hot, float64
    (N, classes). T is the common length of all clips, otherwise 300 or the length of the longest clip.

    Raises:
        ArtifactError: the skeleton does not have 25 joints.
    """
    joints = len(store.layout.joints)
    if joints != CTRGCN_JOINTS:
        raise ArtifactError(
            f"{store.path}: has {joints} joints per body, but the loader of CTR-GCN expects {CTRGCN_JOINTS}"
        )
    frames = array_frames(store)
    labels = store.columns["label"]
    classes = np.eye(CLASS_COUNTS.get(store.attributes["dataset"], int(labels.max()) + 1))
    with zipfile.ZipFile(handle, "w") as archive:
        for side, rows in (("train", split.train), ("test", split.test)):
            motion = (clip.transpose(1, 3, 2, 0) for clip in padded_clips(store, rows, frames, progress))
            _write_member(archive, f"x_{side}", np.float32, (len(rows), frames, joints * MAX_BODIES * 3), motion)
            _write_member(archive, f"y_{side}", np.float64, (len(rows), len(classes)), iter([classes[labels[rows]]]))


def _write_member(
    archive: zipfile.ZipFile, name: str, dtype: Any, shape: Sequence[int], blocks: Iterator[NDArray[Any]]
) -> None:
    """Write one array of an archive; dated 1980, so that equal stores give equal bytes."""
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
        write_npy(cast(BinaryIO, member), np.dtype(dtype), shape, blocks)
