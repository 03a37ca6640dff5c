"""Resample recordings to 30 frames per second, at which recipes count frames; linear interpolation in time."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RawFileError
from pipeline.skeleton.recording import MAX_JOINTS, Recording

FRAMES_PER_SECOND = 30
"""Of NTU RGB+D and PKU-MMD (Kinect v2), and of all clips in a store."""
TOLERANCE = 0.5
"""Recordings whose rate differs by at most this much (such as 29.97) are not resampled."""


@lru_cache(1024)
def frame_pairs(T: int, frames: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return, for each new frame, the two of T frames that it is between, and the weight of the later one.

    Three arrays (frames,), by the half-pixel rule; both frames are the same if T is `frames`. The arrays are cached, so
    do not write to them.
    """
    source = np.clip((np.arange(frames) + 0.5) * (T / frames) - 0.5, 0, T - 1)
    below = np.floor(source).astype(np.int64)
    above = np.ceil(source).astype(np.int64)  # not floor + 1: if the position is an integer, its neighbour may be NaN
    return below, above, (source - below).astype(np.float32)


def is_resampled(rate: float | None) -> bool:
    """Whether recordings of a rate in frames per second are resampled; None means that the rate is unknown."""
    return rate is not None and abs(rate - FRAMES_PER_SECOND) > TOLERANCE


def at_common_rate(recording: Recording, rate: float | None) -> Recording:
    """Resample a recording of bodies that missing joints leave at (0, 0, 0) to FRAMES_PER_SECOND.

    A joint is missing in a new frame if it is missing in one of the two frames that the new frame is between.

    Args:
        recording: from `Recording.from_bodies`.
        rate: its frames per second; None if unknown.

    Raises:
        RawFileError: it would be too long.
    """
    if not is_resampled(rate) or not recording.frames:
        return recording
    T, frames = recording.frames, max(1, round(recording.frames * FRAMES_PER_SECOND / float(rate or 1)))
    bodies, V = int(recording.slot.max(initial=-1)) + 1, len(recording.layout.joints)
    if frames * bodies * V > MAX_JOINTS:
        reason = f"has {frames} frames at {FRAMES_PER_SECOND} per second, too many; check frames_per_second = {rate:g}"
        raise RawFileError(recording.name, 0, reason)
    below, above, weight = frame_pairs(T, frames)
    xyz = np.full((bodies, T, V, 3), np.nan, np.float32)
    xyz[recording.slot, recording.frame] = np.where((recording.xyz == 0).all(2, keepdims=True), np.nan, recording.xyz)
    between = xyz[:, below] * (1 - weight)[:, None, None] + xyz[:, above] * weight[:, None, None]
    confidence = None
    if recording.confidence is not None:
        values = np.full((bodies, T, V), np.nan, np.float32)
        values[recording.slot, recording.frame] = recording.confidence
        confidence = values[:, below] * (1 - weight)[:, None] + values[:, above] * weight[:, None]
    return Recording.from_bodies(recording.name, recording.layout, np.nan_to_num(between, nan=0.0), confidence)
