"""Arrays for export: clips padded to two bodies, derived streams, and .npy files written clip by clip."""

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
"""T of the arrays of reference code; the longest recording of NTU RGB+D."""
SIDE_NAMES = (("train", "train"), ("val", "test"))
"""Names of the two sides of a split in reference code, whose "val" is the test set."""

Stream = Literal["joint", "bone", "motion", "bone-motion"]
Progress = Callable[[int], None]
"""Called with the number of clips finished since the last call."""


def refuse_extra_bodies(store: Store) -> None:
    """Check that no clip has more bodies than an array.

    Raises:
        ArtifactError: a clip has more.
    """
    if store.columns["bodies"].max() > MAX_BODIES:
        raise ArtifactError(f"{store.path}: has clips of more than {MAX_BODIES} bodies, which this format cannot hold")


def refuse_unlabelled(store: Store) -> None:
    """Check that every clip has a label.

    Raises:
        ArtifactError: a clip has none.
    """
    unknown = np.flatnonzero(store.columns["label"] < 0)
    if len(unknown):
        raise ArtifactError(
            f"{store.path}: {len(unknown)} of {len(store)} clips have no label, first {store.names[unknown[0]]}; "
            "add labels, or export npz or hdf5"
        )


def array_frames(store: Store) -> int:
    """Return T of the array: the common length of all clips, otherwise 300 or the length of the longest clip."""
    frames = store.columns["frames"]
    return int(frames[0]) if (frames == frames[0]).all() else max(REFERENCE_FRAMES, int(frames.max()))


def derive_stream(clip: NDArray[np.float32], stream: Stream, layout: Layout) -> NDArray[np.float32]:
    """Derive a stream from a clip (M, T, V, 3), NaN where joints are missing, as 2s-AGCN defines it.

    A bone is the difference to the parent joint, 0 for the root; motion is the difference to the next frame, 0 in the
    last frame. It is NaN if either end is missing. (The scripts of 2s-AGCN use zeros for missing joints and after the
    end of a clip, so there they store the difference to the origin.)
    """
    if stream in {"bone", "bone-motion"}:
        clip = clip - clip[:, :, [joint if parent == -1 else parent for joint, parent in enumerate(layout.parents)]]
    if stream in {"motion", "bone-motion"}:
        clip = np.diff(clip, axis=1, append=clip[:, -1:])
    return clip


def padded_clips(
    store: Store, rows: Rows, frames: int, progress: Progress, stream: Stream = "joint"
) -> Iterator[NDArray[np.float32]]:
    """Yield one stream of the clips of some rows, padded, (C, T, V, M)."""
    for clip in store.clips(rows.tolist()):
        yield pad_clip(derive_stream(clip, stream, store.layout), frames)
        progress(1)


def write_npy(
    handle: BinaryIO, dtype: np.dtype[np.generic], shape: Sequence[int], blocks: Iterator[NDArray[np.generic]]
) -> None:
    """Write an array in C order as .npy, block by block."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(map(int, shape))}
    np.lib.format.write_array_header_1_0(handle, header)
    for block in blocks:
        handle.write(block.astype(dtype, copy=False).tobytes())
