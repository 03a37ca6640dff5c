"""The two forms a recording takes on its way: rows as they stand in the file, then bodies on one time line."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.layout import Layout


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """What a parser yields: one row for every body in every frame, in file order. Empty frames have no row."""

    name: str
    """The sample's name, without suffix."""
    layout: Layout
    frames: int
    """Frames in the file, empty ones included."""
    frame: NDArray[np.int32]
    """(R,) the row's frame, from 0, never falling."""
    slot: NDArray[np.int32]
    """(R,) the row's position among the bodies of its frame, from 0."""
    body: NDArray[np.int64]
    """(R,) the sensor's id of the person; about 7.2e16, so never a float."""
    xyz: NDArray[np.float32]
    """(R, V, 3) metres in the sensor's space (x to its left, y up, z away from it); NaN or infinite where the file says so."""
    tracking: NDArray[np.int8]
    """(R, V) 0 not tracked, 1 inferred, 2 tracked."""


@dataclass(kw_only=True, slots=True)
class Clip:
    """What recipe steps work on and a store keeps: M bodies on one common time line."""

    name: str
    layout: Layout
    xyz: NDArray[np.float32]
    """(M, T, V, 3) metres; NaN where a body or joint is missing, for every recipe but the peers' (they write zeros)."""
    quality: dict[str, int] = field(default_factory=dict)
    """What the steps saw and did, by name of the count (see pipeline/recipe.py, QUALITY)."""
