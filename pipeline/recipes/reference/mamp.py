"""Recipe steps of MAMP."""

import numpy as np

from pipeline.errors import UnusableClip
from pipeline.skeleton.recording import Clip


def refuse_zeros(clip: Clip) -> Clip:
    """Leave out a clip whose coordinates sum to zero, as MAMP does with what PKU-MMD labels where nobody was tracked.

    Raises:
        UnusableClip: the coordinates sum to zero.
    """
    if clip.xyz.sum(dtype=np.float64) == 0:
        raise UnusableClip("the coordinates sum to zero")
    return clip
