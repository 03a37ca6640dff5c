"""Denoising steps: remove spikes, fill short gaps, reduce jitter; fast motion is not changed."""

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
    """Remove joints that leave their path for one or two frames; `fill_gaps` can interpolate them afterwards.

    A joint is a spike if it is further than `min_height` from its position in the frame before and in the frame after,
    and further than `min_height` + `motion_factor` times its speed from the median of the five frames around it. The
    speed is measured in metres per frame around the spike, without the frame itself. At an end of a path or of a gap,
    no frame shows that the joint came back; so it must be twice as far from the extrapolation of the next two frames.
    Two frames are a spike if both are that far from the straight line between their neighbours.

    In addition, the length of a bone to the joint must change: it does not when an arm moves fast, but it does when
    the sensor sees a joint in a wrong position.

    Args:
        clip: bodies with NaN where missing.
        min_height: metres; the sensor's own noise is a centimetre or two.
        motion_factor: a joint that swings back and forth five times a second departs from its median by 0.7 of its
            speed, so 1 spares all human motion (tests/pipeline/recipes/test_denoise.py).
        min_stretch: metres by which the length of a bone to the joint must differ from that in the frames around;
            jitter of half a centimetre changes lengths by one centimetre.
        noise_factor: `min_height` and `min_stretch` are increased by this many standard deviations of the jitter of
            the body's median joint (see `smooth`).
    """
    parents, noise = np.array(clip.layout.parents), clip.measured(noise_kernels.joint_noise)
    rule = (min_height, motion_factor, min_stretch, noise_factor)
    xyz, spikes = denoise_kernels.despike(clip.xyz, noise, parents, *rule)
    return clip.after(xyz if spikes else clip.xyz, joints_despiked=spikes)


def fill_gaps(clip: Clip, *, max_gap: Annotated[int, Field(ge=0)] = 10) -> Clip:
    """Interpolate short gaps in the path of each joint; longer gaps and both ends of the path stay missing.

    The interpolation is a cubic Hermite spline. The slope at each edge of the gap is that of the parabola through the
    known path next to this edge and the other edge. This is exact for constant acceleration, unlike a straight line.

    Args:
        clip: bodies with NaN where missing.
        max_gap: frames; 10 is a third of a second at 30 frames a second, in which a limb rarely changes direction.
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
    """Reduce the jitter in the path of each joint, according to the noise measured in the body.

    The spectrum distinguishes jitter from motion: the mean squared fourth differences of white noise are 70/6 of its
    mean squared second differences, while those of motion below 5 Hz at 30 frames a second are smaller. The excess
    gives the noise. A joint that is much rougher than most of its body flickers or moves fast, so its noise is limited
    by `max_ratio`; and noise below `min_noise`, that of the best sensor, is left. Then each joint moves towards a
    Savitzky-Golay fit (quadratic, 7 frames, 5 near a gap) by the share of the local misfit that noise explains
    (a Wiener filter). Fast motion has a large misfit and stays.

    Args:
        clip: bodies with NaN where missing.
        min_noise: metres, standard deviation on each axis; this much is kept, because it does less harm than smoothing
            does to fast motion. Recordings with less noise are not changed.
        max_ratio: limit of a joint's noise, relative to the body's median joint; hands and feet are about twice as
            noisy as the trunk.
        max_move: metres; no joint is moved further. The same as the height of a spike in `despike`.
    """
    noise = clip.measured(noise_kernels.joint_noise)
    xyz, moved = denoise_kernels.smooth(clip.xyz, noise, min_noise, max_ratio, max_move)
    return clip.after(xyz, joints_smoothed=moved)
