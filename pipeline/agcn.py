"""How 2s-AGCN prepares a clip, bug by bug: it is repeated to 300 frames, centred, and turned by spine and shoulders.

A body, a frame or a joint counts as missing there when its coordinates sum to zero, in float32. Whether numbers that
should cancel do so depends on the order in which they are added, and that on the order in memory: (C, T, V, M).
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline import agcn_kernels
from pipeline.errors import UnusableClip
from pipeline.recording import Clip


def repeat_frames(clip: Clip, *, frames: Annotated[int, Field(ge=1)] = 300) -> Clip:
    """Give a clip so many frames: each body's own from its first to its last, over and over.

    A body that is missing in the first frame loses all frames in which it is missing, and so falls out of step with the
    other. Otherwise missing frames between its own stay, zero.

    Args:
        clip: bodies, zero where they are absent.
        frames: the length of the result; 300 there.

    Raises:
        UnusableClip: the clip has more frames, or the peer crashes: the first frame's coordinates sum to zero, and
            those of all that is left of the body, while those of the whole body did not.
    """
    T = clip.xyz.shape[1]
    if frames < T:
        raise UnusableClip(f"{T} frames, and the peers' arrays end at {frames}")
    xyz, well = agcn_kernels.repeat(np.ascontiguousarray(clip.xyz), frames)
    if not well:
        raise UnusableClip("what is left of a body sums to zero; 2s-AGCN crashes on it")
    return clip.after(xyz)


def centre_on_first(clip: Clip, *, joint: str = "spine_mid") -> Clip:
    """Subtract the first body's joint of the same frame from all joints of all bodies that are there.

    The way the first body goes is lost, the distance between two people is kept. Where the first body is missing, the
    others stay where they are.

    Args:
        clip: bodies, zero where they are absent.
        joint: the joint at the origin; the middle of the spine there.

    Raises:
        LayoutError: the skeleton has no such joint.
    """
    return clip.after(agcn_kernels.centre(np.ascontiguousarray(clip.xyz), clip.layout.index(joint)))


def spine_to_z(clip: Clip, *, lower: str = "spine_base", upper: str = "spine_mid") -> Clip:
    """Turn the clip so that the first body's spine points along +z in the first frame.

    In later frames, and for other bodies, it points wherever that takes it.

    Args:
        clip: bodies, zero where they are absent.
        lower: where the spine begins; its base there.
        upper: where it ends; its middle there.

    Raises:
        LayoutError: the skeleton has no such joint.
    """
    return _turned(clip, clip.layout.index(lower), clip.layout.index(upper), axis=2)


def shoulders_to_x(clip: Clip) -> Clip:
    """Turn the clip so that the first body's shoulders, left to right, point along +x in the first frame.

    The shortest way, about whatever axis, which tilts the spine a little out of z again. Shoulders that point along -x
    stay so: there is no shortest way.
    """
    left, right = clip.layout.shoulders
    return _turned(clip, left, right, axis=0)


def _turned(clip: Clip, tail: int, head: int, axis: int) -> Clip:
    """The clip turned so that a bone of the first body lies along x (0) or z (2) in the first frame."""
    xyz = np.ascontiguousarray(clip.xyz)
    sums, sizes, is_nobody = agcn_kernels.weigh_all(xyz)
    if is_nobody:
        return clip
    rotation = _rotation(xyz[0, 0, head] - xyz[0, 0, tail], axis)
    return clip.after(agcn_kernels.turn(xyz, rotation, sums, sizes))


def _rotation(vector: NDArray[np.float32], axis: int) -> NDArray[np.float64]:
    """(3, 3) what turns a vector onto x (0) or z (2); nothing where the angle or the axis of rotation is under 1e-6.

    The angle comes of a vector made unit in float32: near 0 it may be off by 3e-4 rad, so that is repeated.
    """
    x, y, z = vector.tolist()
    about = (0.0, z, -y) if axis == 0 else (y, -x, 0.0)  # the vector across the axis
    crosswise = abs(about[0]) + abs(about[1]) + abs(about[2])
    if np.abs(vector).sum() < 1e-6 or crosswise < 1e-6:
        return np.eye(3)
    length = np.sqrt(np.float32((vector * vector).astype(np.float64).sum()))  # np.linalg.norm's, on any processor
    angle = np.arccos(min(max(float((vector / length)[axis]), -1.0), 1.0))
    if angle < 1e-6:
        return np.eye(3)
    x, y, z = about / np.sqrt(about[0] * about[0] + about[1] * about[1] + about[2] * about[2])
    across = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation: NDArray[np.float64] = np.eye(3) + np.sin(angle) * across + (1 - np.cos(angle)) * (across @ across)
    return rotation
