"""Clips as the field's training code takes them: padded arrays of two bodies, written one clip at a time."""

from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ArtifactError
from pipeline.skeleton.layout import Layout
from pipeline.store.batches import MAX_BODIES, pad_clip
from pipeline.store.splits import Rows
from pipeline.store.store import Store

REFERENCE_FRAMES = 300
"""T of the peers' arrays; the longest recording of NTU RGB+D."""
SIDE_NAMES = (("train", "train"), ("val", "test"))
"""How the peers call the two sides of a split; their "val" is the test set."""

Stream = Literal["joint", "bone", "motion", "bone-motion"]
Progress = Callable[[int], None]
"""Is told of so many more clips."""


def refuse_extra_bodies(store: Store) -> None:
    """Make sure that every clip has as many bodies as an array has room for.

    Raises:
        ArtifactError: one has more.
    """
    if store.columns["bodies"].max() > MAX_BODIES:
        raise ArtifactError(f"{store.path}: has clips of more than {MAX_BODIES} bodies, which this format cannot hold")


def refuse_unlabelled(store: Store) -> None:
    """Make sure that every clip has a label.

    Raises:
        ArtifactError: one has none.
    """
    unknown = np.flatnonzero(store.columns["label"] < 0)
    if len(unknown):
        raise ArtifactError(
            f"{store.path}: {len(unknown)} of {len(store)} clips have no label, first {store.names[unknown[0]]}; "
            "give them one, or export npz or hdf5"
        )


def array_frames(store: Store) -> int:
    """T of a store's array: what all clips have, else the peers' 300, or the longest clip's when that is more."""
    frames = store.columns["frames"]
    return int(frames[0]) if (frames == frames[0]).all() else max(REFERENCE_FRAMES, int(frames.max()))


def derive_stream(clip: NDArray[np.float32], stream: Stream, layout: Layout) -> NDArray[np.float32]:
    """A stream of a clip (M, T, V, 3), NaN where joints are missing, as 2s-AGCN defines it.

    A bone is the way from a joint's parent, that of the root 0; motion is the way to the next frame, that of the last
    frame 0. What lacks an end is NaN. (Where 2s-AGCN's scripts find zeros for a missing joint, or behind the end of a
    clip, they take the way to the origin.)
    """
    if stream in {"bone", "bone-motion"}:
        clip = clip - clip[:, :, [joint if up == -1 else up for joint, up in enumerate(layout.parents)]]
    if stream in {"motion", "bone-motion"}:
        clip = np.diff(clip, axis=1, append=clip[:, -1:])
    return clip


def padded_clips(
    store: Store, rows: Rows, frames: int, done: Progress, stream: Stream = "joint"
) -> Iterator[NDArray[np.float32]]:
    """A stream of the clips of some rows of a store, padded, (C, T, V, M)."""
    for clip in store.clips(rows.tolist()):
        yield pad_clip(derive_stream(clip, stream, store.layout), frames)
        done(1)


def write_npy(
    handle: BinaryIO, dtype: np.dtype[np.generic], shape: Sequence[int], blocks: Iterator[NDArray[np.generic]]
) -> None:
    """An array in C order as numpy's .npy, block by block."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(map(int, shape))}
    np.lib.format.write_array_header_1_0(handle, header)
    for block in blocks:
        handle.write(block.astype(dtype, copy=False).tobytes())
