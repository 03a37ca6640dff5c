"""Convert image coordinates to metres, with one scale per recording, from the size of the people in it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.convert.tool import Unreadable
from pipeline.skeleton.layout import Layout

BODY_HEIGHT = 1.7
"""Assumed body height in metres."""
LENGTHS: Sequence[tuple[str, str, float]] = (
    # The two ends, and the length as a fraction of body height: Winter 2009, figure 4.1.
    ("hip", "shoulder", 0.818 - 0.530),
    ("knee", "hip", 0.530 - 0.285),
    ("ankle", "knee", 0.285 - 0.039),
    ("elbow", "shoulder", 0.186),
    ("wrist", "elbow", 0.146),
)
"""The trunk comes first, because it is visible from all sides; limbs are used if it is not in the image."""
LENGTH_PERCENTILE = 90
"""Percentile over frames and people: foreshortening often makes lengths too short, only errors make them too long."""


def to_metres(pixels: NDArray[np.float64], layout: Layout) -> NDArray[np.float32]:
    """Convert image positions, y down, to metres, y up.

    Args:
        pixels: (M, T, V, 2 or 3), NaN where missing; a third coordinate is depth in the same unit, away from
            the camera.
        layout: its joint names include left_hip, right_hip, left_shoulder, ...

    Returns:
        (M, T, V, 3); depth is 0 if the input has none.

    Raises:
        Unreadable: too few joints are visible to estimate the size of the people.
    """
    for lower, upper, fraction in LENGTHS:
        lengths = _lengths(pixels, layout, lower, upper)
        if len(lengths) and (length := float(np.percentile(lengths, LENGTH_PERCENTILE))) > 0:
            scaled = pixels * (fraction * BODY_HEIGHT / length)
            depth = -scaled[..., 2] if pixels.shape[-1] == 3 else np.where(np.isnan(scaled[..., 0]), np.nan, 0.0)
            return np.stack([scaled[..., 0], -scaled[..., 1], depth], axis=-1).astype(np.float32)
    raise Unreadable("neither a trunk nor a limb is visible in any frame, so pixels cannot be converted to metres")


def _lengths(xyz: NDArray[np.float64], layout: Layout, lower: str, upper: str) -> NDArray[np.float64]:
    """Return the finite distances between two kinds of joints: of the midpoints for the trunk, else of each side."""
    ends = [[layout.index(f"{side}_{joint}") for side in ("left", "right")] for joint in (lower, upper)]
    a, b = (xyz[..., end, :] for end in ends)
    if lower == "hip":
        a, b = a.mean(axis=-2), b.mean(axis=-2)
    lengths = np.linalg.norm(a - b, axis=-1).ravel()
    finite: NDArray[np.float64] = lengths[np.isfinite(lengths)]
    return finite
