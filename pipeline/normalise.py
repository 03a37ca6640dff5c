"""Where the origin is and which way a body faces: once a clip, or in every frame as the peers have it."""

from typing import Annotated

import numpy as np
from pydantic import Field

from pipeline import normalise_kernels
from pipeline.errors import UnusableClip
from pipeline.recording import Clip


def one_origin(clip: Clip) -> Clip:
    """Put the origin at the first actor's centre joint in the first frame that shows it.

    One origin for the whole clip and all its bodies, so that the way they go and the distance between them stay
    (CTR-GCN's rule, with the layout's centre joint; 2s-AGCN and SkeleMixCLR move the origin in every frame and lose
    both).

    Raises:
        UnusableClip: the first actor's centre joint is seen in no frame.
    """
    centre = clip.layout.centre
    first = normalise_kernels.first_known(clip.xyz, centre)
    if first < 0:
        raise UnusableClip(f"joint {clip.layout.joints[centre]} of the first actor is seen in no frame")
    return clip.after(normalise_kernels.moved(clip.xyz, first, centre))


def origin_at_start(clip: Clip, *, joint: str = "spine_mid") -> Clip:
    """Put the origin at the first actor's joint in the first frame in which the first actor is not all zero.

    CTR-GCN's seq_translation, and MAMP's. The way people go and the distance between them stay, but zeros do not: a
    missing joint, and in a clip of one body a missing frame too, goes to where the sensor stands. Only in a clip of two
    bodies does a frame in which a body's coordinates sum to zero stay zero.

    Args:
        clip: one or two bodies, zero where they are absent.
        joint: the joint at the origin; the middle of the spine there.

    Raises:
        LayoutError: the skeleton has no such joint.
        UnusableClip: the first actor is zero in every frame; the peer crashes on it.
    """
    index = clip.layout.index(joint)
    M, T = clip.xyz.shape[:2]
    seen = (clip.xyz[0] != 0).any(axis=(1, 2))
    first = int(seen.argmax())
    if not seen[first]:
        raise UnusableClip("the first actor is zero in every frame; CTR-GCN crashes on it")
    moved = clip.xyz - clip.xyz[0, first, index]
    if M > 1:
        moved[clip.xyz.reshape(M, T, -1).sum(axis=-1) == 0] = 0
    return clip.after(moved)


def one_turn(clip: Clip, *, min_agreement: Annotated[float, Field(ge=0, le=1)] = 0.2) -> Clip:
    """Turn the clip about the vertical so that the first actor's shoulders, left to right, lie along +x.

    The direction is that of the summed horizontal shoulder vectors over all frames: a mean in which a frame seen from
    the side, where the sensor knows the direction worst, counts least. It turns with the camera, so the views of one
    action agree. Whoever turns round in the clip has no mean direction; then the first frame decides, as in 2s-AGCN.
    Without both shoulders in any frame the clip keeps the sensor's axes.

    Args:
        clip: M bodies; the first decides for all.
        min_agreement: length of the summed vector over the sum of lengths, from 0 (turns round) to 1 (never turns),
            below which the first frame decides. 0.2 leaves the mean to anyone who does not turn by more than about 300
            degrees.
    """
    left, right = clip.layout.shoulders
    x, z, way, first_x, first_z = normalise_kernels.across(clip.xyz, left, right)
    if way == 0:
        return clip
    if np.hypot(x, z) < min_agreement * way:
        x, z = first_x, first_z
    length = np.hypot(x, z)
    cos, sin = x / length, z / length
    turn = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], np.float32)  # rows: where x, y and z go
    return clip.after((clip.xyz.reshape(-1, 3) @ turn).reshape(clip.xyz.shape))


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
