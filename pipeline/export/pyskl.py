"""PYSKL export: its annotation file, one pickle written clip by clip; pickles are never read."""

import pickle  # only ever written  # nosec B403
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.export.arrays import SIDE_NAMES, Progress
from pipeline.store.splits import Split
from pipeline.store.store import Store

PICKLE_PROTOCOL = 4
"""The newest pickle protocol of Python 3.7, which PYSKL supports."""
KeypointDtype = Literal["float32", "float16"]


class _StreamedList:
    """Pickles as a list of the items of an iterator, without keeping them in memory."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items

    def __reduce_ex__(self, protocol: Any) -> Any:
        return list, (), None, self._items


class _Array:
    """Pickles as an array that any numpy version reads; pickles of numpy 2 need numpy 1.26 or later."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A bytearray makes the array writable.
        return np.ndarray, (self._values.shape, self._values.dtype.str, bytearray(self._values.tobytes()))


def write_pyskl(
    store: Store, splits: Sequence[Split], dtype: KeypointDtype, handle: BinaryIO, progress: Progress
) -> None:
    """Write `split`, lists of names as `xsub_train` and `xsub_val`, and `annotations`, a dict per clip in row order.

    An annotation has `frame_dir` (the name), `label`, `keypoint` (M, T, V, 3) metres, 0 where missing, M = 1 or 2, and
    `total_frames`.
    """
    names = {
        f"{split.name}_{side}": [store.names[row] for row in split.side(subset)]
        for split in splits
        for side, subset in SIDE_NAMES
    }
    pickler = pickle.Pickler(handle, PICKLE_PROTOCOL)
    pickler.fast = True  # without the memo, which would keep every clip in memory
    pickler.dump({"split": names, "annotations": _StreamedList(_annotations(store, dtype, progress))})


def _annotations(store: Store, dtype: KeypointDtype, progress: Progress) -> Iterator[dict[str, Any]]:
    for row, clip in enumerate(store.clips()):
        keypoint = np.where(np.isfinite(clip), clip, np.float32(0)).astype(f"<{np.dtype(dtype).str[1:]}")
        yield {
            "frame_dir": store.names[row],
            "label": int(store.columns["label"][row]),
            "keypoint": _Array(keypoint),
            "total_frames": int(clip.shape[1]),
        }
        progress(1)
