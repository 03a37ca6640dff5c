"""Body selection steps: remove ghosts, furniture and bystanders, and trim empty frames at both ends."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.errors import UnusableClip
from pipeline.recipes.steps import noise_kernels, selection_kernels
from pipeline.skeleton.recording import Clip

CALM = 1e-4
"""Square metres; default of `calm` of `pick_actors`, (1 cm)^2."""
MAX_PEOPLE = 2
"""Most people that `limit_people` keeps: as many as training and the export formats take."""


def drop_shaky(
    clip: Clip,
    *,
    max_tremble: Annotated[float, Field(gt=0)] = 0.02,
    factor: Annotated[float, Field(ge=1)] = 1.6,
) -> Clip:
    """Remove bodies that tremble more than any tracked person; if all bodies tremble, all are kept.

    In a chair or a shadow the sensor cannot track a person, and finds the joints in another position in every frame.

    Args:
        clip: bodies with NaN where they are absent.
        max_tremble: metres on an axis (see `tremble`); the sensor's noise for a person is a centimetre or two.
        factor: a removed body also trembles this many times as much as the steadiest body that is present for at least
            half as long as the longest; in a dark room all bodies are noisy.
    """
    if len(clip.xyz) == 1:
        return clip
    trembling, frames = clip.measured(noise_kernels.tremble), _present(clip.xyz).sum(axis=1)
    steadiest = float(trembling[2 * frames >= frames.max()].min())
    return _without(clip, trembling > max(max_tremble, factor * steadiest), -trembling)


def drop_short(
    clip: Clip,
    *,
    min_frames: Annotated[int, Field(ge=1)] = 12,
    min_share: Annotated[float, Field(ge=0, le=1)] = 0.25,
) -> Clip:
    """Remove bodies that are present too briefly to be people; if all are too brief, the longest is kept.

    Args:
        clip: bodies with NaN where they are absent.
        min_frames: a body in fewer frames is a ghost. CTR-GCN, SGN and PYSKL remove bodies of 11 frames and fewer.
        min_share: so is a body in fewer frames than this share of those of the longest body: two people who interact
            are both present for longer.
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
    """Remove bodies that move as little as furniture; if all do, the most active is kept.

    Args:
        clip: bodies with NaN where they are absent.
        min_motion: square metres; a body that moves less (see `motion`) is an object. The default is (2 mm)^2: the
            minimum of the 2,000 recordings of people in UI-PRMD is (15 mm)^2, but somebody who stands and listens for
            two seconds may sway by only 4 mm. CTR-GCN has such a test, but never calls it.
        min_purpose: a body that moves less than this many times the square of its `tremble` is an object, too: its
            motion is sensor noise. Trembling alone gives no motion, and UI-PRMD's calmest people with jitter of 2 cm
            have 0.33.
        max_spread: a frame is wide if the joints' extent in x is more than this share of their extent in y. From
            CTR-GCN.
        max_wide: a body has the shape of a table if at least this share of its frames is wide. From CTR-GCN. People who
            squat, lie or stretch out their arms have this shape, too; so such a body is furniture only if it also
            moves less than `wide_motion`.
        wide_motion: square metres; the default is (7 cm)^2. Side lunges in UI-PRMD have (17 cm)^2 and more.
    """
    if len(clip.xyz) == 1:
        return clip
    activity, trembling = clip.measured(motion), clip.measured(noise_kernels.tremble)
    wide = selection_kernels.wide_share(clip.xyz, max_spread) >= max_wide
    still = (activity < min_motion) | (activity < min_purpose * trembling**2)
    return _without(clip, still | (wide & (activity < wide_motion)), activity)


def pick_actors(
    clip: Clip,
    *,
    count: Annotated[int, Field(ge=1, le=2)] = 2,
    calm: Annotated[float, Field(ge=0)] = CALM,
) -> Clip:
    """Keep the people who act for longest and most steadily, sorted by activity, the most active first.

    Args:
        clip: bodies with NaN where they are absent.
        count: maximum number of people; two, because no action of NTU RGB+D or PKU-MMD has more.
        calm: square metres; each frame with a body counts motion / (motion + calm + `tremble` squared). So a body that
            moves by more than a centimetre, and by more than it trembles, is rated by how long it is present and not by
            how much it moves: a brief ghost can move a lot.
    """
    if len(clip.xyz) == 1:
        return clip
    activity, trembling = clip.measured(motion), clip.measured(noise_kernels.tremble)
    score = _present(clip.xyz).sum(axis=1) * activity / (activity + calm + trembling**2)
    chosen = np.argsort(-score, kind="stable")[:count]
    first = chosen[np.argsort(-activity[chosen], kind="stable")]
    return clip.after(clip.xyz[first], bodies_dropped=len(clip.xyz) - len(first))


def limit_people(clip: Clip, *, people: Annotated[int, Field(ge=1, le=MAX_PEOPLE)]) -> Clip:
    """Keep as many bodies as there are people; with one person, all bodies are pieces of that person and are joined.

    `ingest --max-people` and `max_people` in `skeleton.toml` add this step to a recipe. Bodies are rated as by
    `pick_actors`. With one person, the best body is filled, where it is absent, from the others in the order of their
    rating; where bodies are present in the same frame, the better one is kept.

    Args:
        clip: bodies with NaN or zeros where they are absent.
        people: the number of people in the recordings.
    """
    if len(clip.xyz) <= people:
        return clip
    present = (np.isfinite(clip.xyz) & (clip.xyz != 0)).any(axis=(2, 3))  # (M, T)
    known = np.where(present[..., None, None], clip.xyz, np.float32(np.nan))
    activity, trembling = motion(known), noise_kernels.tremble(known)
    order = np.argsort(-present.sum(axis=1) * activity / (activity + CALM + trembling**2), kind="stable")
    if people > 1:
        chosen = np.sort(order[:people])
        return clip.after(clip.xyz[chosen], bodies_dropped=len(clip.xyz) - people)
    xyz, seen, joined = clip.xyz[order[:1]].copy(), present[order[0]].copy(), 0
    for body in order[1:]:
        new = present[body] & ~seen
        xyz[0, new] = clip.xyz[body, new]
        seen |= new
        joined += bool(new.any())
    return clip.after(xyz, bodies_rejoined=joined, bodies_dropped=len(clip.xyz) - 1 - joined)


def motion(xyz: NDArray[np.float32]) -> NDArray[np.float64]:
    """Measure how much each body moves: the variance of a joint over time, x, y and z summed, averaged over joints.

    The sensor's jitter is subtracted (white noise adds a sixth of its mean squared second difference to a variance), so
    that a trembling chair does not count as moving. CTR-GCN's measure is the variance over frames and joints together,
    which depends mostly on a body's height.

    Args:
        xyz: (M, T, V, 3) metres, NaN where missing.

    Returns:
        (M,) square metres.
    """
    measured: NDArray[np.float64] = selection_kernels.motion(xyz)
    return measured


def trim(clip: Clip, *, min_frames: Annotated[int, Field(ge=1)] = 6) -> Clip:
    """Remove the frames without a body at both ends; such frames in between are kept, so that timing does not change.

    Args:
        clip: bodies with NaN where they are absent.
        min_frames: number of frames in which the first actor must be seen; 6 is a fifth of a second, too short for an
            action. The reference implementations keep such clips, or crash on them.

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
    xyz = np.ascontiguousarray(clip.xyz[:, start:stop])
    return clip.after(xyz, frames_trimmed=trimmed, frames_empty=stop - start - len(occupied))


def _present(xyz: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return (M, T): whether any joint of a body is known in a frame."""
    known: NDArray[np.bool_] = selection_kernels.present(xyz)
    return known


def _without(clip: Clip, dropped: NDArray[np.bool_], score: NDArray[np.generic]) -> Clip:
    """Return the clip without the marked bodies (M,); if all are marked, the one with the highest score is kept."""
    if not dropped.any():
        return clip
    if dropped.all():
        dropped = np.arange(len(dropped)) != score.argmax()
    return clip.after(clip.xyz[~dropped], bodies_dropped=int(dropped.sum()))
