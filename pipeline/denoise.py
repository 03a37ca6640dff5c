"""Sensor faults out of the paths of single joints: spikes, short gaps, jitter. Fast motion is left alone."""

from typing import Annotated

from pydantic import Field

from pipeline import denoise_kernels
from pipeline.recording import Clip


def despike(
    clip: Clip,
    *,
    min_height: Annotated[float, Field(gt=0)] = 0.05,
    motion_factor: Annotated[float, Field(ge=0)] = 1.0,
) -> Clip:
    """Take out joints that leave their path for a single frame; they are missing then, for `fill_gaps` to mend.

    A joint is a spike when it is further than `min_height` from where it was a frame before and from where it is a
    frame later, and further than `min_height` + `motion_factor` times its speed from the median of five frames about
    it. Speed is metres a frame around the spike, measured without the frame itself. At an end of a path, and beside a
    gap, it must be twice as far from where the next two frames lead: no frame there says that it came back. What stays
    out for two frames is kept: a quick jab looks the same.

    Args:
        clip: bodies with NaN where missing.
        min_height: metres; the sensor's own noise is a centimetre or two.
        motion_factor: a joint that swings to and fro five times a second leaves its median by 0.7 of its speed, so 1
            spares all that people can do (tests/test_denoise.py).
    """
    xyz, spikes = denoise_kernels.despike(clip.xyz, min_height, motion_factor)
    return clip.after(xyz, joints_despiked=spikes)


def fill_gaps(clip: Clip, *, max_gap: Annotated[int, Field(ge=0)] = 10) -> Clip:
    """Interpolate every joint over the short gaps of its path; longer ones stay missing, and so do both ends.

    Cubic Hermite pieces, whose slopes at the rims come from the parabola through the path before and the far rim:
    exact for constant acceleration, where a straight line would cut corners.

    Args:
        clip: bodies with NaN where missing.
        max_gap: frames; a third of a second at 30 a second, within which a limb seldom changes its mind.
    """
    xyz, filled = denoise_kernels.fill(clip.xyz, max_gap)
    return clip.after(xyz, joints_filled=filled)


def smooth(clip: Clip, *, max_move: Annotated[float, Field(ge=0)] = 0.05) -> Clip:
    """Take jitter out of every joint's path by as much as the path shows to be jitter.

    Jitter is told from motion by its spectrum: in the squared fourth differences of white noise there is 70/6 of what
    is in its second differences, while motion below 5 Hz at 30 frames a second has less there. What is beyond that
    bound gives the noise; a path without noise is not touched. Then each joint moves towards a Savitzky-Golay fit
    (quadratic, 7 frames, 5 near a gap) by the share of the local misfit that noise explains (Wiener's rule): a fast
    stretch misfits and stays.

    Args:
        clip: bodies with NaN where missing.
        max_move: metres; no joint is moved further. As high as `despike` lets a fault be.
    """
    xyz, moved = denoise_kernels.smooth(clip.xyz, max_move)
    return clip.after(xyz, joints_smoothed=moved)
