"""Pictures to metres: one factor for a whole recording, so that motion survives, by how large people are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.convert.take import Unreadable
from pipeline.skeleton.layout import Layout

HEIGHT = 1.7
"""Metres that people are taken to be tall."""
LENGTHS: Sequence[tuple[str, str, float]] = (
    # Ends, each the middle of its joints, and the length as a part of the height: Winter 2009, figure 4.1.
    ("hip", "shoulder", 0.818 - 0.530),
    ("knee", "hip", 0.530 - 0.285),
    ("ankle", "knee", 0.285 - 0.039),
    ("elbow", "shoulder", 0.186),
    ("wrist", "elbow", 0.146),
)
"""The trunk tells best, for it is seen from all sides; limbs tell when it is not in the picture."""
SEEN = 90
"""Percentile over frames and people: a length in a picture is never too long but by error, and often too short."""


def metres(pixels: NDArray[np.float64], layout: Layout) -> NDArray[np.float32]:
    """Positions in pictures, y down, to metres with y up.

    Args:
        pixels: (M, T, V, 2 or 3), NaN where missing; a third coordinate is depth in the same unit, away from the eye.
        layout: has left and right hips, shoulders, ...

    Returns:
        (M, T, V, 3); 0 in depth for pictures without.

    Raises:
        Unreadable: too little of anybody is seen to tell how large people are.
    """
    for lower, upper, share in LENGTHS:
        seen = _lengths(pixels, layout, lower, upper)
        if len(seen) and (length := float(np.percentile(seen, SEEN))) > 0:
            scaled = pixels * (share * HEIGHT / length)
            depth = -scaled[..., 2] if pixels.shape[-1] == 3 else np.where(np.isnan(scaled[..., 0]), np.nan, 0.0)
            return np.stack([scaled[..., 0], -scaled[..., 1], depth], axis=-1).astype(np.float32)
    raise Unreadable("neither a trunk nor a limb is seen in any frame, so that pixels cannot be made metres")


def _lengths(xyz: NDArray[np.float64], layout: Layout, lower: str, upper: str) -> NDArray[np.float64]:
    """The lengths between two kinds of joints: between their middles for the trunk, else on either side."""
    ends = [[layout.index(f"{side}_{joint}") for side in ("left", "right")] for joint in (lower, upper)]
    a, b = (xyz[..., end, :] for end in ends)
    if lower == "hip":
        a, b = a.mean(axis=-2), b.mean(axis=-2)
    found = np.linalg.norm(a - b, axis=-1).ravel()
    kept: NDArray[np.float64] = found[np.isfinite(found)]
    return kept
