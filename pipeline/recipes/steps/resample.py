"""Resampling step: linear interpolation in time to a fixed number of frames, with the half-pixel rule."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.recipes.steps import normalise_kernels
from pipeline.skeleton.frame_rate import frame_pairs
from pipeline.skeleton.recording import Clip


def resize(clip: Clip, *, frames: Annotated[int, Field(ge=1)] = 64) -> Clip:
    """Stretch or shrink a clip to a fixed number of frames.

    A joint is missing in a new frame if it is missing in one of the two frames that the new frame is between.

    Args:
        clip: any clip.
        frames: the length of the result; 64 is what SkeleMixCLR's README and configurations use.
    """
    return clip.after(resized(clip.xyz, frames))


def resized(xyz: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Interpolate linearly in time; returns the same array if it has that many frames already.

    Frame t of the result is at (t + 1/2) T / frames - 1/2 in the source, clamped at both ends. This is OpenCV's
    INTER_LINEAR, and torch's bilinear interpolation with align_corners=False; shrinking does not average.

    Args:
        xyz: (M, T, V, 3) with T at least 1.
        frames: length of the result.

    Returns:
        (M, frames, V, 3) float32.
    """
    T = xyz.shape[1]
    if frames == T:
        return xyz
    out: NDArray[np.float32] = normalise_kernels.interpolated(np.ascontiguousarray(xyz), *frame_pairs(T, frames))
    return out
