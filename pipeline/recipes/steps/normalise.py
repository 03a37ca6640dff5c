"""Normalisation steps: one origin and one rotation about the vertical for a whole clip."""

from typing import Annotated

import numpy as np
from pydantic import Field

from pipeline.errors import UnusableClip
from pipeline.recipes.steps import normalise_kernels
from pipeline.skeleton.recording import Clip


def one_origin(clip: Clip) -> Clip:
    """Move the origin to the first actor's centre joint in the first frame that shows it.

    The whole clip and all its bodies have one origin, so that their paths and the distance between them are kept. This
    is CTR-GCN's rule, with the layout's centre joint; 2s-AGCN and SkeleMixCLR move the origin in every frame and lose
    both.

    Raises:
        UnusableClip: the first actor's centre joint is seen in no frame.
    """
    centre = clip.layout.centre
    first = normalise_kernels.first_known(clip.xyz, centre)
    if first < 0:
        raise UnusableClip(f"joint {clip.layout.joints[centre]} of the first actor is seen in no frame")
    return clip.after(normalise_kernels.translated(clip.xyz, first, centre))


def one_turn(clip: Clip, *, min_agreement: Annotated[float, Field(ge=0, le=1)] = 0.2) -> Clip:
    """Rotate the clip about the vertical so that the first actor's shoulders, left to right, point along +x.

    The direction is that of the sum of the horizontal shoulder vectors over all frames. This is a mean in which frames
    seen from the side, where the sensor measures the direction worst, have the smallest weight. It rotates with the
    camera, so the cameras of one action agree. A person who turns round in the clip has no mean direction; then the
    first frame decides, as in 2s-AGCN. If no frame has both shoulders, the clip keeps the sensor's axes.

    Args:
        clip: M bodies; the first determines the rotation of all.
        min_agreement: length of the summed vector over the sum of lengths, from 0 (turns round) to 1 (never turns),
            below which the first frame decides. With 0.2 the mean decides for anyone who turns by less than about 300
            degrees.
    """
    left, right = clip.layout.shoulders
    x, z, total, first_x, first_z = normalise_kernels.shoulder_direction(clip.xyz, left, right)
    if total == 0:
        return clip
    if np.hypot(x, z) < min_agreement * total:
        x, z = first_x, first_z
    length = np.hypot(x, z)
    cos, sin = x / length, z / length
    turn = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], np.float32)  # rows: the images of x, y and z
    return clip.after((clip.xyz.reshape(-1, 3) @ turn).reshape(clip.xyz.shape))
