"""Recipe steps of 2s-AGCN (Shi et al. 2019; the code's data_gen), exact to its bugs.

The steps select bodies by energy, repeat a clip to 300 frames, centre it, and rotate it by spine and shoulders. In this
code a body, a frame or a joint is missing if its coordinates sum to zero in float32; see zero_sums.py.
"""

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.errors import UnusableClip
from pipeline.recipes.reference import agcn_kernels
from pipeline.recipes.reference.stgcn import Longer, count_slots, first_slots, limit_frames
from pipeline.recipes.reference.zero_sums import ZeroSums
from pipeline.skeleton.recording import Clip, Recording


def repeat_frames(clip: Clip, *, frames: Annotated[int, Field(ge=1)] = 300) -> Clip:
    """Repeat each body's frames, from its first to its last, until the clip has the given length.

    A body that is missing in the first frame loses all frames in which it is missing, and so is no longer synchronous
    with the other body. Otherwise missing frames between its first and last are kept as zeros.

    Args:
        clip: bodies, zero where they are absent.
        frames: the length of the result; 300 in 2s-AGCN.

    Raises:
        UnusableClip: the clip has more frames, or 2s-AGCN crashes: the coordinates of the first frame and those of the
            rest of the body sum to zero, while those of the whole body do not.
    """
    M, T, V = clip.xyz.shape[:3]
    if frames < T:
        raise UnusableClip(f"{T} frames, but the arrays of 2s-AGCN have only {frames}")
    xyz = np.zeros((M, frames, V, 3), np.float32)
    xyz[:, :T] = clip.xyz
    is_zero = ZeroSums(xyz)
    present = [m for m in range(M) if not is_zero.body(m)]
    late = [m for m in present if is_zero.frames(m)[0]]
    for m in late:
        seen = xyz[m, xyz[m].sum(axis=-1).sum(axis=-1) != 0]
        xyz[m] *= 0  # as in 2s-AGCN: NaN and infinity become NaN
        xyz[m, : len(seen)] = seen
    if late:
        is_zero = ZeroSums(xyz)
    for m in present:
        end = next((t for t in np.flatnonzero(is_zero.frames(m)).tolist() if is_zero.body(m, first=t)), frames)
        if end == 0:
            raise UnusableClip("the rest of a body sums to zero; 2s-AGCN crashes on it")
        xyz[m, end:] = np.resize(xyz[m, :end], xyz[m, end:].shape)
    return clip.after(xyz)


def centre_on_first(clip: Clip, *, joint: str = "spine_mid") -> Clip:
    """Subtract a joint of the first body in the same frame from all joints of all bodies present.

    The path of the first body is lost, the distance between two people is kept. In frames without the first body the
    others are not moved.

    Args:
        clip: bodies, zero where they are absent.
        joint: the joint at the origin; the middle of the spine in 2s-AGCN.

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
    """Rotate the clip so that the first body's spine points along +z in the first frame.

    The same rotation applies to all frames and bodies.

    Args:
        clip: bodies, zero where they are absent.
        lower: lower end of the spine; its base in 2s-AGCN.
        upper: upper end of the spine; its middle in 2s-AGCN.

    Raises:
        LayoutError: the skeleton has no such joint.
    """
    return _rotated(clip, clip.layout.index(lower), clip.layout.index(upper), axis=2)


def shoulders_to_x(clip: Clip) -> Clip:
    """Rotate the clip so that the first body's shoulders, left to right, point along +x in the first frame.

    The rotation is the smallest one, about any axis, which tilts the spine a little away from z again. Shoulders that
    point along -x are not rotated, because there is no unique smallest rotation.
    """
    left, right = clip.layout.shoulders
    return _rotated(clip, left, right, axis=0)


def _rotated(clip: Clip, tail: int, head: int, axis: int) -> Clip:
    """Return the clip, rotated so that a bone of the first body is along x (0) or z (2) in the first frame."""
    is_zero = ZeroSums(clip.xyz)
    if is_zero.nobody():
        return clip
    xyz = np.array(clip.xyz, order="C")
    rotation = _rotation(xyz[0, 0, head] - xyz[0, 0, tail], axis)
    for m, body in enumerate(xyz):
        if not is_zero.body(m):
            agcn_kernels.rotate(body, ~is_zero.frames(m), rotation)
    return clip.after(xyz)


def _rotation(vector: NDArray[np.float32], axis: int) -> NDArray[np.float64]:
    """Return the rotation (3, 3) of a vector onto x (0) or z (2); identity if the angle or the axis is below 1e-6.

    The angle is computed as in 2s-AGCN, from a vector normalised in float32: near 0 it may be wrong by 3e-4 rad.
    """
    x, y, z = vector.tolist()
    about = (0.0, z, -y) if axis == 0 else (y, -x, 0.0)  # the cross product of the vector and the axis
    about_size = abs(about[0]) + abs(about[1]) + abs(about[2])
    if np.abs(vector).sum() < 1e-6 or about_size < 1e-6:
        return np.eye(3)
    length = np.sqrt(np.float32((vector * vector).astype(np.float64).sum()))  # as np.linalg.norm, on any processor
    angle = np.arccos(min(max(float((vector / length)[axis]), -1.0), 1.0))
    if angle < 1e-6:
        return np.eye(3)
    norm = math.sqrt(about[0] * about[0] + about[1] * about[1] + about[2] * about[2])
    x, y, z = (value / norm for value in about)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])  # Rodrigues' formula
    rotation: NDArray[np.float64] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return rotation


def bodies_by_energy(
    recording: Recording,
    *,
    bodies: Annotated[int, Field(ge=1, le=2)] = 2,
    slots: Annotated[int, Field(ge=2)] = 4,
    max_frames: Annotated[int, Field(ge=1)] = 300,
    longer: Longer = "refuse",
) -> Clip:
    """Take the slots with the most energy, sorted by it: the reader of 2s-AGCN, and of MMAction2, which is based on it.

    Energy is the sum of the standard deviations of x, y and z, each over all joints of all frames whose coordinates do
    not sum to zero. It measures how large a body is and how far it goes, rather than how it moves. A slot counts as one
    person, even if several people are in it one after another. A slot with NaN comes first.

    Args:
        recording: rows in file order.
        bodies: slots kept; 2 in 2s-AGCN.
        slots: slots examined, from the first; the sensor reports up to 6 people, but 2s-AGCN uses 4.
        max_frames: see `bodies_by_slot`.
        longer: see `bodies_by_slot`.

    Returns:
        A clip of exactly that many bodies and the remaining frames of the recording.

    Raises:
        UnusableClip: the recording has no frame, or more than `max_frames`.
    """
    recording, trimmed = limit_frames(recording, max_frames, longer)
    xyz = first_slots(recording, slots)
    # 2s-AGCN's argsort does not define the order of equal values; for short lists it is a stable insertion sort.
    order = np.argsort([_energy(slot.astype(np.float64)) for slot in xyz], kind="stable")[::-1]
    found = count_slots(recording)
    clip = Clip(name=recording.name, layout=recording.layout, xyz=xyz[order[:bodies]])
    return clip.after(clip.xyz, bodies_found=found, bodies_dropped=max(0, found - bodies), frames_trimmed=trimmed)


def _energy(xyz: NDArray[np.float64]) -> np.float64:
    """Return 2s-AGCN's energy of one slot (T, V, 3), metres; 0 if no frame is filled."""
    filled = xyz[xyz.sum(axis=-1).sum(axis=-1) != 0]
    return np.float64(sum(filled[..., axis].std() for axis in range(3)) if len(filled) else 0)
