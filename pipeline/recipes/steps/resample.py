"""Another number of frames: linear interpolation in time by the half-pixel rule."""

from functools import lru_cache
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.recipes.steps import normalise_kernels
from pipeline.skeleton.recording import Clip


def resize(clip: Clip, *, frames: Annotated[int, Field(ge=1)] = 64) -> Clip:
    """Stretch or shrink a clip to a fixed number of frames.

    A joint that is missing in either of the two frames that a new frame lies between is missing there.

    Args:
        clip: any clip.
        frames: the length of the result; 64 is what SkeleMixCLR's README and configurations use.
    """
    return clip.after(resized(clip.xyz, frames))


def resized(xyz: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Interpolate linearly in time; the same array when it already has that many frames.

    Frame t of the result looks at (t + 1/2) T / frames - 1/2 in the source, held at both ends. This is OpenCV's
    INTER_LINEAR, and torch's bilinear interpolation with align_corners=False; nothing is averaged when shrinking.

    Args:
        xyz: (M, T, V, 3) with T at least 1.
        frames: length of the result.

    Returns:
        (M, frames, V, 3) float32.
    """
    T = xyz.shape[1]
    if frames == T:
        return xyz
    blended: NDArray[np.float32] = normalise_kernels.blended(np.ascontiguousarray(xyz), *between(T, frames))
    return blended


@lru_cache(1024)
def between(T: int, frames: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """For each of `frames` frames the two of T that it lies between, and the weight of the one above, (frames,) each.

    By the half-pixel rule; frames of their own when T is `frames`. Not to be written to.
    """
    source = np.clip((np.arange(frames) + 0.5) * (T / frames) - 0.5, 0, T - 1)
    below = np.floor(source).astype(np.int64)
    above = np.ceil(source).astype(np.int64)  # the same frame where the source is a whole one: its neighbour may be NaN
    return below, above, (source - below).astype(np.float32)
