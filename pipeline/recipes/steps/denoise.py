"""Sensor faults out of the paths of single joints: spikes, short gaps, jitter. Fast motion is left alone."""

from typing import Annotated

import numpy as np
from pydantic import Field

from pipeline.recipes.steps import denoise_kernels, noise_kernels
from pipeline.skeleton.recording import Clip


def despike(
    clip: Clip,
    *,
    min_height: Annotated[float, Field(gt=0)] = 0.05,
    motion_factor: Annotated[float, Field(ge=0)] = 1.0,
    min_stretch: Annotated[float, Field(ge=0)] = 0.03,
    noise_factor: Annotated[float, Field(ge=0)] = 4.0,
) -> Clip:
    """Take out joints that leave their path for one frame or two; they are missing then, for `fill_gaps` to mend.

    A joint is a spike when it is further than `min_height` from where it was a frame before and from where it is a
    frame later, and further than `min_height` + `motion_factor` times its speed from the median of five frames about
    it. Speed is metres a frame around the spike, measured without the frame itself. At an end of a path, and beside a
    gap, it must be twice as far from where the next two frames lead: no frame there says that it came back. Two frames
    are a spike when both are so far from the straight way between their neighbours.

    And a bone must bear witness: an arm that strikes keeps its lengths, a joint that was seen elsewhere does not.

    Args:
        clip: bodies with NaN where missing.
        min_height: metres; the sensor's own noise is a centimetre or two.
        motion_factor: a joint that swings to and fro five times a second leaves its median by 0.7 of its speed, so 1
            spares all that people can do (tests/pipeline/recipes/test_denoise.py).
        min_stretch: metres by which a bone to the joint must differ from its length in the frames around; jitter of a
            half a centimetre changes lengths by one.
        noise_factor: `min_height` and `min_stretch` grow by this many standard deviations of the jitter of the body's
            median joint (see `smooth`).
    """
    parents, noise = np.array(clip.layout.parents), clip.measured(noise_kernels.joint_noise)
    rule = (min_height, motion_factor, min_stretch, noise_factor)
    xyz, spikes = denoise_kernels.despike(clip.xyz, noise, parents, *rule)
    return clip.after(xyz if spikes else clip.xyz, joints_despiked=spikes)


def fill_gaps(clip: Clip, *, max_gap: Annotated[int, Field(ge=0)] = 10) -> Clip:
    """Interpolate every joint over the short gaps of its path; longer ones stay missing, and so do both ends.

    Cubic Hermite pieces, whose slopes at the rims come from the parabola through the path before and the far rim:
    exact for constant acceleration, where a straight line would cut corners.

    Args:
        clip: bodies with NaN where missing.
        max_gap: frames; a third of a second at 30 a second, within which a limb seldom changes its mind.
    """
    xyz, filled = denoise_kernels.fill(clip.xyz, max_gap)
    return clip.after(xyz if filled else clip.xyz, joints_filled=filled)


def smooth(
    clip: Clip,
    *,
    min_noise: Annotated[float, Field(ge=0)] = 0.009,
    max_ratio: Annotated[float, Field(ge=1)] = 2.0,
    max_move: Annotated[float, Field(ge=0)] = 0.05,
) -> Clip:
    """Take jitter out of every joint's path by as much as the body shows to be jitter.

    Jitter is told from motion by its spectrum: in the squared fourth differences of white noise there is 70/6 of what
    is in its second differences, while motion below 5 Hz at 30 frames a second has less there. What is beyond that
    bound gives the noise. A joint that is much rougher than most of its body flickers rather than jitters, or is fast:
    of its noise only so much is believed; and what is below the sensor's best is left. Then each joint moves towards a
    Savitzky-Golay fit (quadratic, 7 frames, 5 near a gap) by the share of the local misfit that noise explains
    (Wiener's rule): a fast stretch misfits and stays.

    Args:
        clip: bodies with NaN where missing.
        min_noise: metres, standard deviation of each axis; this much is left in, for it does less harm than smoothing
            does to fast motion, and recordings that are cleaner are not touched.
        max_ratio: no joint is believed to be noisier than this many times the body's median joint; hands and feet are
            about twice as noisy as the trunk.
        max_move: metres; no joint is moved further. As high as `despike` lets a fault be.
    """
    noise = clip.measured(noise_kernels.joint_noise)
    xyz, moved = denoise_kernels.smooth(clip.xyz, noise, min_noise, max_ratio, max_move)
    return clip.after(xyz, joints_smoothed=moved)
