"""How 2s-AGCN prepares a clip, bug by bug: it is repeated to 300 frames, centred, and turned by spine and shoulders.

A body, a frame or a joint counts as missing there when its coordinates sum to zero, in float32. Whether numbers that
should cancel do so depends on the order in which they are added, and that on the order in memory: (C, T, V, M).
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

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
    M, T, V = clip.xyz.shape[:3]
    if frames < T:
        raise UnusableClip(f"{T} frames, and the peers' arrays end at {frames}")
    xyz = _in_their_order(np.concatenate([clip.xyz, np.zeros((M, frames - T, V, 3), np.float32)], axis=1))
    for body in xyz:
        if body.sum() == 0:
            continue
        if body[0].sum() == 0:
            seen = body[body.sum(axis=-1).sum(axis=-1) != 0]
            body *= 0  # no more than the peer does: NaN and infinity leave NaN behind
            body[: len(seen)] = seen
        for t in np.flatnonzero(_frame_sums(body) == 0):
            if body[t:].sum() == 0:
                if t == 0:
                    raise UnusableClip("what is left of a body sums to zero; 2s-AGCN crashes on it")
                body[t:] = body[np.arange(frames - t) % t]
                break
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
    index = clip.layout.index(joint)
    xyz = _in_their_order(clip.xyz)
    if xyz.sum() == 0:
        return clip
    centre = xyz[0, :, [index]].copy().swapaxes(0, 1)  # (T, 1, 3)
    for body in xyz:
        if body.sum() != 0:
            body[:] = (body - centre) * (body.sum(axis=-1) != 0)[..., None]
    return clip.after(xyz)


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
    xyz = _in_their_order(clip.xyz)
    if xyz.sum() == 0:
        return clip
    rotation = _rotation(xyz[0, 0, head] - xyz[0, 0, tail], np.eye(3)[axis])
    for body in xyz:
        if body.sum() != 0:
            there = _frame_sums(body) != 0
            x, y, z = (body[there, :, i].astype(np.float64) for i in range(3))
            for i, (of_x, of_y, of_z) in enumerate(rotation):
                body[there, :, i] = of_x * x + of_y * y + of_z * z
    return clip.after(xyz)


def _rotation(vector: NDArray[np.float32], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) what turns a vector onto a unit vector; nothing where either angle or axis is under 1e-6.

    The angle comes of a vector made unit in float32: near 0 it may be off by 3e-4 rad, so that is repeated.
    """
    axis = np.cross(vector, target)
    if np.abs(vector).sum() < 1e-6 or np.abs(axis).sum() < 1e-6:
        return np.eye(3)
    length = np.sqrt(np.float32((vector * vector).astype(np.float64).sum()))  # np.linalg.norm's, on any processor
    angle = np.arccos(np.clip((vector / length) @ target, -1, 1))
    if angle < 1e-6:
        return np.eye(3)
    x, y, z = axis / np.sqrt((axis * axis).sum())
    across = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation: NDArray[np.float64] = np.eye(3) + np.sin(angle) * across + (1 - np.cos(angle)) * (across @ across)
    return rotation


def _in_their_order(xyz: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy of (M, T, V, 3) that lies in memory as (3, T, V, M)."""
    return xyz.transpose(3, 1, 2, 0).copy().transpose(3, 1, 2, 0)


def _frame_sums(body: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T,) the sum of each frame of a body (T, V, 3), added as numpy adds one of their frames: all x, all y, all z."""
    sums: NDArray[np.float32] = np.ascontiguousarray(body.swapaxes(1, 2)).reshape(len(body), -1).sum(axis=1)
    return sums
