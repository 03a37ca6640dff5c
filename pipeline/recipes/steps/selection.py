"""Which bodies and which frames stay: ghosts, furniture and bystanders out, empty ends off."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.errors import UnusableClip
from pipeline.recipes.steps import noise_kernels, selection_kernels
from pipeline.skeleton.recording import Clip


def drop_shaky(
    clip: Clip,
    *,
    max_tremble: Annotated[float, Field(gt=0)] = 0.02,
    factor: Annotated[float, Field(ge=1)] = 1.6,
) -> Clip:
    """Leave out bodies that tremble as no tracked person does; where everybody trembles, nobody goes.

    The sensor has no person to hold on to in a chair or a shadow, and finds the joints elsewhere in every frame.

    Args:
        clip: bodies with NaN where they are absent.
        max_tremble: metres on an axis (see `tremble`); of a person the sensor's noise is a centimetre or two.
        factor: a body must also tremble this much more than the steadiest of those that are there at least half as long
            as any: in a dark room all are noisy.
    """
    if len(clip.xyz) == 1:
        return clip
    shaking, frames = clip.measured(noise_kernels.tremble), _present(clip.xyz).sum(axis=1)
    steadiest = float(shaking[2 * frames >= frames.max()].min())
    return _without(clip, shaking > max(max_tremble, factor * steadiest), -shaking)


def drop_short(
    clip: Clip,
    *,
    min_frames: Annotated[int, Field(ge=1)] = 12,
    min_share: Annotated[float, Field(ge=0, le=1)] = 0.25,
) -> Clip:
    """Leave out bodies that are there too briefly to be people; of all too brief, the longest stays.

    Args:
        clip: bodies with NaN where they are absent.
        min_frames: a body in fewer frames is a ghost. CTR-GCN, SGN and pyskl leave out 11 frames and fewer.
        min_share: so is one in a smaller part of the frames than this of the body that is there longest: who acts
            with somebody is there for more of it.
    """
    if len(clip.xyz) == 1:
        return clip
    frames = _present(clip.xyz).sum(axis=1)
    return _without(clip, (frames < min_frames) | (frames < min_share * frames.max()), frames)


def drop_furniture(
    clip: Clip,
    *,
    min_motion: Annotated[float, Field(ge=0)] = 4e-6,
    min_purpose: Annotated[float, Field(ge=0)] = 0.25,
    max_spread: Annotated[float, Field(gt=0)] = 0.8,
    max_wide: Annotated[float, Field(gt=0, le=1)] = 0.69754,
    wide_motion: Annotated[float, Field(ge=0)] = 5e-3,
) -> Clip:
    """Leave out bodies that are as still as furniture; of nothing but such, the most active stays.

    Args:
        clip: bodies with NaN where they are absent.
        min_motion: square metres; a body that moves less (see `motion`) is a thing. 2 mm squared: the least of the
            2,000 recordings of people in UI-PRMD is 15 mm squared, but somebody who stands and listens for two seconds
            may sway by 4. CTR-GCN has such a test, but never calls it.
        min_purpose: a body that moves less than this many times the square of its `tremble` is a thing as well: its
            motion is the sensor's. Trembling alone moves nothing, and the calmest of UI-PRMD's people in jitter of 2 cm
            have 0.33.
        max_spread: a frame is wide when the joints' extent in x is more than this much of their extent in y. CTR-GCN's.
        max_wide: a body has the shape of a table when at least this share of its frames is wide; CTR-GCN's. People who
            squat, lie or stretch out their arms have it too, so that it is furniture only when it
        wide_motion: moves less than this, square metres; 7 cm squared. Side lunges in UI-PRMD have 17 and more.
    """
    if len(clip.xyz) == 1:
        return clip
    activity, shaking = clip.measured(motion), clip.measured(noise_kernels.tremble)
    wide = selection_kernels.wide_share(clip.xyz, max_spread) >= max_wide
    still = (activity < min_motion) | (activity < min_purpose * shaking**2)
    return _without(clip, still | (wide & (activity < wide_motion)), activity)


def pick_actors(
    clip: Clip,
    *,
    count: Annotated[int, Field(ge=1, le=2)] = 2,
    calm: Annotated[float, Field(ge=0)] = 1e-4,
) -> Clip:
    """Keep those who act for longest and most steadily, the most active first.

    Args:
        clip: bodies with NaN where they are absent.
        count: how many people at most; two, because no action of NTU RGB+D or PKU-MMD has more.
        calm: square metres; each frame that shows a body counts motion / (motion + calm + `tremble` squared), so that
            whoever moves by more than a centimetre, and more than they tremble, is told by how long, not by how wildly:
            a ghost of a moment can be wild.
    """
    if len(clip.xyz) == 1:
        return clip
    activity, shaking = clip.measured(motion), clip.measured(noise_kernels.tremble)
    merit = _present(clip.xyz).sum(axis=1) * activity / (activity + calm + shaking**2)
    chosen = np.argsort(-merit, kind="stable")[:count]
    first = chosen[np.argsort(-activity[chosen], kind="stable")]
    return clip.after(clip.xyz[first], bodies_dropped=len(clip.xyz) - len(first))


def motion(xyz: NDArray[np.float32]) -> NDArray[np.float64]:
    """How much each body moves: the variance of a joint over time, x, y and z summed, averaged over the joints.

    The sensor's jitter is taken off (a sixth of the mean squared second difference is what white noise adds to a
    variance), so that a trembling chair does not pass for someone who moves. CTR-GCN's measure takes the variance over
    frames and joints together, so that it is mostly a body's height.

    Args:
        xyz: (M, T, V, 3) metres, NaN where missing.

    Returns:
        (M,) square metres.
    """
    measured: NDArray[np.float64] = selection_kernels.motion(xyz)
    return measured


def trim(clip: Clip, *, min_frames: Annotated[int, Field(ge=1)] = 6) -> Clip:
    """Cut off the frames at both ends in which nobody is seen; frames in between stay, so that time stays true.

    Args:
        clip: bodies with NaN where they are absent.
        min_frames: the first actor must be seen in this many; 6 is a fifth of a second, in which nothing is acted.
            The peers keep such clips, or crash on them.

    Raises:
        UnusableClip: the first actor is seen in too few frames.
    """
    present = _present(clip.xyz)
    seen = int(present[0].sum())
    if seen < min_frames:
        raise UnusableClip(f"a body in {seen} frames only, {min_frames} are needed")
    occupied = np.flatnonzero(present.any(axis=0))
    start, stop = int(occupied[0]), int(occupied[-1]) + 1
    trimmed = present.shape[1] - (stop - start)
    kept = np.ascontiguousarray(clip.xyz[:, start:stop])
    return clip.after(kept, frames_trimmed=trimmed, frames_empty=stop - start - len(occupied))


def _present(xyz: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(M, T) whether any joint of a body is known in a frame."""
    known: NDArray[np.bool_] = selection_kernels.present(xyz)
    return known


def _without(clip: Clip, out: NDArray[np.bool_], merit: NDArray[np.generic]) -> Clip:
    """The clip without the bodies marked (M,); when all are, the one of greatest merit stays."""
    if not out.any():
        return clip
    if out.all():
        out = np.arange(len(out)) != merit.argmax()
    return clip.after(clip.xyz[~out], bodies_dropped=int(out.sum()))
