"""Recipe steps of SkeleMixCLR (Chen et al. 2022), exact to its bugs: length, centring, rotation."""

import numpy as np

from pipeline.errors import UnusableClip
from pipeline.recipes.steps import normalise_kernels
from pipeline.skeleton.recording import Clip


def counted_frames(clip: Clip) -> Clip:
    """Keep the first N frames, where N is the number of frames in which the first joint of the first body is nonzero.

    This is SkeleMixCLR's bug: it uses the number of such frames as the end of the clip. So each empty frame at the
    start or in between removes a real frame at the end.

    Raises:
        UnusableClip: the first body is in no frame; SkeleMixCLR crashes on it.
    """
    length = int((np.abs(clip.xyz[0, :, 0]).sum(axis=-1) != 0).sum())
    if length == 0:
        raise UnusableClip("the first body is in no frame")
    return clip.after(clip.xyz[:, :length], frames_trimmed=clip.xyz.shape[1] - length)


def centre_each_frame(clip: Clip) -> Clip:
    """Subtract from each body its own centre joint in the same frame.

    SkeleMixCLR does this with joint 20 of Kinect v2. The position of a body, and that of two relative to each other, is
    lost.
    """
    return clip.after(normalise_kernels.centred(np.ascontiguousarray(clip.xyz), clip.layout.centre))


def turn_each_frame(clip: Clip) -> Clip:
    """Rotate each body in each frame about the vertical so that its shoulders point along +x, as SkeleMixCLR does.

    The angle is arccos(x / (length + 1e-4)) of the horizontal shoulder vector, in float32. Its sign is chosen once per
    body: negative if the sum of the vector's z over the clip is 0 or more. So a frame whose own z has the other sign is
    rotated in the wrong direction, and 1e-4 metres make every angle slightly wrong. Both bugs are kept, because the
    data stored by SkeleMixCLR has them.
    """
    left, right = clip.layout.shoulders
    across = clip.xyz[:, :, right] - clip.xyz[:, :, left]  # (M, T, 3)
    across[..., 1] = 0
    length = np.sqrt((across * across).sum(axis=-1))
    angle = np.arccos(across[..., 0] / (length + np.float32(1e-4)))
    angle = np.where(across[..., 2].sum(axis=1) >= 0, -1, 1).astype(np.float32)[:, None] * angle
    return clip.after(normalise_kernels.rotated(np.ascontiguousarray(clip.xyz), np.cos(angle), np.sin(angle)))
