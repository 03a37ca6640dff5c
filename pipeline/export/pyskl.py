"""PYSKL's annotation file: one pickle, written clip by clip; nothing here ever reads one."""

import pickle  # only ever written  # nosec B403
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.export.arrays import SIDE_NAMES, Progress
from pipeline.store.splits import Split
from pipeline.store.store import Store

PICKLE_PROTOCOL = 4
"""The newest pickle protocol that Python 3.7 knows, on which PYSKL still runs."""
KeypointDtype = Literal["float32", "float16"]


class _Streamed:
    """Pickles as the list of what an iterator yields, without holding it."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items

    def __reduce_ex__(self, protocol: Any) -> Any:
        return list, (), None, self._items


class _Array:
    """Pickles as an array in a way that numpy of any version reads: numpy 2's own pickles need 1.26 or later."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A bytearray, so that the array can be written to.
        return np.ndarray, (self._values.shape, self._values.dtype.str, bytearray(self._values.tobytes()))


def write_pyskl(store: Store, splits: Sequence[Split], dtype: KeypointDtype, handle: BinaryIO, done: Progress) -> None:
    """`split`: lists of names as `xsub_train` and `xsub_val`; `annotations`: a dict for each clip, in row order.

    An annotation has `frame_dir` (the name), `label`, `keypoint` (M, T, V, 3) metres, 0 where missing, M = 1 or 2, and
    `total_frames`.
    """
    names = {
        f"{split.name}_{side}": [store.names[row] for row in split.side(subset)]
        for split in splits
        for side, subset in SIDE_NAMES
    }
    pickler = pickle.Pickler(handle, PICKLE_PROTOCOL)
    pickler.fast = True  # without a memo, which would hold every clip
    pickler.dump({"split": names, "annotations": _Streamed(_annotations(store, dtype, done))})


def _annotations(store: Store, dtype: KeypointDtype, done: Progress) -> Iterator[dict[str, Any]]:
    for row, clip in enumerate(store.clips()):
        keypoint = np.where(np.isfinite(clip), clip, np.float32(0)).astype(f"<{np.dtype(dtype).str[1:]}")
        yield {
            "frame_dir": store.names[row],
            "label": int(store.columns["label"][row]),
            "keypoint": _Array(keypoint),
            "total_frames": int(clip.shape[1]),
        }
        done(1)
