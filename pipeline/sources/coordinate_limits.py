"""Limits of coordinates in metres: beyond them, a number is damaged or in other units."""

import numpy as np
from numpy.typing import NDArray

MAX_METRES = 100.0
"""Largest coordinate in a text of NTU RGB+D or PKU-MMD, and largest extent of a body in a folder data set.

Kinect v2 measures depth from 0.5 m to 8 m, and tracks people up to 4.5 m away (Microsoft, Human Interface Guidelines
for Kinect v2, 2014), so true coordinates are below 10 m. Ten times as much leaves room for joints that the sensor
guesses, and is still exceeded by everybody in millimetres or centimetres.
"""
MAX_POSITION = 10_000.0
"""Largest coordinate in a folder data set, in metres, whose origin may be far away. Up to here, float32 resolves a
millimetre."""


def first_beyond(xyz: NDArray[np.float32], limit: float) -> tuple[int, ...] | None:
    """Return the index of the first finite coordinate beyond ±limit, or None; NaN and infinity mean missing."""
    values = xyz.reshape(-1)
    # Nearly always true; numpy's argmin takes a third of the time of min, and both find NaN, which compares as false.
    if not len(values) or (values[values.argmin()] >= -limit and values[values.argmax()] <= limit):
        return None
    beyond = np.flatnonzero(np.isfinite(xyz) & (np.abs(xyz) > limit))
    return tuple(map(int, np.unravel_index(beyond[0], xyz.shape))) if len(beyond) else None


def explain_beyond(axis: int, joint: str, value: float, limit: float) -> str:
    """Say that a coordinate of a joint is beyond a limit, for a message, and what to do."""
    return (
        f"{'xyz'[axis]} of {joint} is {value:.4g} m, expected at most {limit:g} m; a damaged number or other units; "
        "repair or replace the file, or convert it to metres"
    )
