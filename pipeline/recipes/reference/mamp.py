"""Recipe step of MAMP (Mao et al. 2023): refuse clips whose coordinates sum to zero."""

import numpy as np

from pipeline.errors import UnusableClip
from pipeline.skeleton.recording import Clip


def refuse_zeros(clip: Clip) -> Clip:
    """Refuse a clip whose coordinates sum to zero.

    MAMP does this with PKU-MMD, whose labels include intervals in which nobody was tracked.

    Raises:
        UnusableClip: the coordinates sum to zero.
    """
    if clip.xyz.sum(dtype=np.float64) == 0:
        raise UnusableClip("the coordinates sum to zero")
    return clip
