"""Recipe steps of SkeleMixCLR (Chen et al. 2022)."""

import numpy as np

from pipeline.errors import UnusableClip
from pipeline.recipes.steps import normalise_kernels
from pipeline.skeleton.recording import Clip


def counted_frames(clip: Clip) -> Clip:
    """Cut a clip to as many frames, from its first, as have a first body whose first joint is not zero.

    SkeleMixCLR's length: a count where an end is meant. Empty frames at the start or between push real ones off the
    end.

    Raises:
        UnusableClip: the first body is in no frame; the peer crashes there.
    """
    length = int((np.abs(clip.xyz[0, :, 0]).sum(axis=-1) != 0).sum())
    if length == 0:
        raise UnusableClip("the first body is in no frame")
    return clip.after(clip.xyz[:, :length], frames_trimmed=clip.xyz.shape[1] - length)


def centre_each_frame(clip: Clip) -> Clip:
    """Subtract from every body its own centre joint of the same frame.

    SkeleMixCLR's rule (joint 20 of Kinect v2): where a body is, and where two are to each other, is gone.
    """
    return clip.after(normalise_kernels.centred(np.ascontiguousarray(clip.xyz), clip.layout.centre))


def turn_each_frame(clip: Clip) -> Clip:
    """Turn each body in each frame about the vertical so that its shoulders face +x, as SkeleMixCLR does it.

    The angle is arccos(x / (length + 1e-4)) of the horizontal shoulder vector, in float32, and its sign is chosen once
    per body, negative when the vector's z sums to 0 or more over the clip: a frame whose own z disagrees turns the
    wrong way, and 1e-4 metres bend every angle a little. Both are kept, because stored numbers elsewhere have them.
    """
    left, right = clip.layout.shoulders
    across = clip.xyz[:, :, right] - clip.xyz[:, :, left]  # (M, T, 3)
    across[..., 1] = 0
    length = np.sqrt((across * across).sum(axis=-1))
    angle = np.arccos(across[..., 0] / (length + np.float32(1e-4)))
    angle = np.where(across[..., 2].sum(axis=1) >= 0, -1, 1).astype(np.float32)[:, None] * angle
    return clip.after(normalise_kernels.turned(np.ascontiguousarray(clip.xyz), np.cos(angle), np.sin(angle)))
