"""Where the origin is and which way a body faces: once a clip, or in every frame as the peers have it."""

from typing import Annotated

import numpy as np
from pydantic import Field

from pipeline.errors import UnusableClip
from pipeline.recipes.steps import normalise_kernels
from pipeline.skeleton.recording import Clip


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
