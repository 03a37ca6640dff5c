"""How 2s-AGCN prepares a clip, bug by bug: it is repeated to 300 frames, centred, and turned by spine and shoulders.

A body, a frame or a joint counts as missing there when its coordinates sum to zero, in float32: zero_sums.py.
"""

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.errors import UnusableClip
from pipeline.recipes.reference import agcn_kernels
from pipeline.recipes.reference.stgcn import Longer, count_slots, first_slots, within
from pipeline.recipes.reference.zero_sums import ZeroSums
from pipeline.skeleton.recording import Clip, Recording


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
    xyz = np.zeros((M, frames, V, 3), np.float32)
    xyz[:, :T] = clip.xyz
    is_zero = ZeroSums(xyz)
    present = [m for m in range(M) if not is_zero.body(m)]
    late = [m for m in present if is_zero.frames(m)[0]]
    for m in late:
        seen = xyz[m, xyz[m].sum(axis=-1).sum(axis=-1) != 0]
        xyz[m] *= 0  # no more than the peer does: NaN and infinity leave NaN behind
        xyz[m, : len(seen)] = seen
    if late:
        is_zero = ZeroSums(xyz)
    for m in present:
        end = next((t for t in np.flatnonzero(is_zero.frames(m)).tolist() if is_zero.body(m, first=t)), frames)
        if end == 0:
            raise UnusableClip("what is left of a body sums to zero; 2s-AGCN crashes on it")
        xyz[m, end:] = np.resize(xyz[m, :end], xyz[m, end:].shape)
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
    is_zero = ZeroSums(clip.xyz)
    if is_zero.nobody():
        return clip
    xyz = np.array(clip.xyz, order="C")
    for m, body in enumerate(xyz):
        if not is_zero.body(m):
            agcn_kernels.centre(body, clip.xyz[0, :, index])
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
    is_zero = ZeroSums(clip.xyz)
    if is_zero.nobody():
        return clip
    xyz = np.array(clip.xyz, order="C")
    rotation = _rotation(xyz[0, 0, head] - xyz[0, 0, tail], axis)
    for m, body in enumerate(xyz):
        if not is_zero.body(m):
            agcn_kernels.turn(body, ~is_zero.frames(m), rotation)
    return clip.after(xyz)


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
    norm = math.sqrt(about[0] * about[0] + about[1] * about[1] + about[2] * about[2])
    x, y, z = (value / norm for value in about)
    across = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation: NDArray[np.float64] = np.eye(3) + np.sin(angle) * across + (1 - np.cos(angle)) * (across @ across)
    return rotation


def bodies_by_energy(
    recording: Recording,
    *,
    bodies: Annotated[int, Field(ge=1, le=2)] = 2,
    slots: Annotated[int, Field(ge=2)] = 4,
    max_frames: Annotated[int, Field(ge=1)] = 300,
    longer: Longer = "refuse",
) -> Clip:
    """Take the slots of the greatest energy, the greatest first: 2s-AGCN's reader, and MMAction2's after it.

    Energy is the standard deviation of x, that of y and that of z, summed, each over all joints of all frames whose
    coordinates do not sum to zero: how large a body is and how far it goes, rather than how it moves. Slots are taken
    for people, whoever is in them. A slot with NaN in it comes first.

    Args:
        recording: rows in file order.
        bodies: slots kept; 2 there.
        slots: slots looked at, from the first; the sensor can see 6 people, but 4 there.
        max_frames: as for `bodies_by_slot`.
        longer: as for `bodies_by_slot`.

    Returns:
        A clip of exactly that many bodies and all frames of the recording that are left.

    Raises:
        UnusableClip: the recording has no frame, or more than the peer makes room for.
    """
    recording, cut = within(recording, max_frames, longer)
    xyz = first_slots(recording, slots)
    # The peer's argsort leaves the order of equals to chance; on short lists it sorts by insertion, which is stable.
    order = np.argsort([_energy(slot.astype(np.float64)) for slot in xyz], kind="stable")[::-1]
    found = count_slots(recording)
    clip = Clip(name=recording.name, layout=recording.layout, xyz=xyz[order[:bodies]])
    return clip.after(clip.xyz, bodies_found=found, bodies_dropped=max(0, found - bodies), frames_trimmed=cut)


def _energy(xyz: NDArray[np.float64]) -> np.float64:
    """2s-AGCN's energy of one slot (T, V, 3), metres; 0 when no frame is filled."""
    filled = xyz[xyz.sum(axis=-1).sum(axis=-1) != 0]
    return np.float64(sum(filled[..., axis].std() for axis in range(3)) if len(filled) else 0)
