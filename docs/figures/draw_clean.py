"""Draw the pictures of docs/data/clean.md: each step of recipe `clean` on people whose true motion is known.

Run: python -m docs.figures.draw_clean [FOLDER]

Writes one `clean-STEP.svg` per step of the recipe, by the function here with the step's name. The people are synthetic,
damaged by the corruptions of benchmarks/ or by hand where that is clearer; the step runs with the recipe's own
parameters. The same recipe gives the same bytes.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray

from benchmarks.accuracy import corruptions
from pipeline.recipes.recipe import RecipeStep, load_recipe
from pipeline.recipes.registry import STEPS
from pipeline.recipes.steps import selection
from pipeline.recipes.steps.noise_kernels import tremble
from pipeline.recipes.steps.selection_kernels import present, wide_share
from pipeline.skeleton.layout import KINECT_V2
from pipeline.skeleton.recording import Clip, Recording
from pipeline.synth.motion import draw_person, perform
from pipeline.synth.roles import roles
from pipeline.synth.sensor import from_camera, rotate_about_vertical

IMAGES = Path(__file__).parent / "images"
STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "clean",  # without it ids within the file are random
}

# Okabe and Ito's colours, which people with any colour vision can distinguish.
BLUE, ORANGE, GREEN, RED, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
GREY, BLACK = "#B0B0B0", "#000000"
ONE_BY_ONE = (BLUE, ORANGE, GREEN, PURPLE, RED)
WIDE = (7.2, 2.9)
"""Inches: about 690 px in a browser."""

# Actions of pipeline/synth/motion.py, named after their motion.
WAVING, JABBING, BOTH_ARMS, SQUATTING, STEPPING = 96, 32, 105, 2, 7
WRIST = KINECT_V2.index("right_wrist")
BONES = [(joint, parent) for joint, parent in enumerate(KINECT_V2.parents) if parent >= 0]


# People, and the sensor data of them.


def actor(
    action: int,
    seed: int,
    *,
    x: float = 0.0,
    away: float = 3.0,
    frames: int = 90,
    facing: float = 0.0,
    walks: float = 0.0,
) -> NDArray[np.float32]:
    """Return a person acting in front of the sensor: (T, V, 3) metres in its space.

    Args:
        action: what is done.
        seed: by whom.
        x: metres to the sensor's left.
        away: metres from the sensor.
        frames: length at 30 frames a second.
        facing: degrees off the sensor.
        walks: metres walked on the way.
    """
    rng = np.random.default_rng(seed)
    role = roles(action)[0]
    xyz = perform(replace(role, travel=walks, hop=0.0) if walks else role, draw_person(rng), frames, rng)
    seen = from_camera(rotate_about_vertical(xyz, facing), 0.9, away)
    return (seen + np.array([x, 0, 0])).astype(np.float32)


def clip(*bodies: NDArray[np.floating]) -> Clip:
    """Return a clip of bodies (T, V, 3)."""
    return Clip(name="drawn", layout=KINECT_V2, xyz=np.array(bodies, np.float32))


def only(xyz: NDArray[np.float32], *spans: tuple[int, int]) -> NDArray[np.float32]:
    """Return the body with NaN outside these frames (first to last + 1)."""
    seen = np.full_like(xyz, np.nan)
    for start, stop in spans:
        seen[start:stop] = xyz[start:stop]
    return seen


def still(pose: NDArray[np.float32], frames: int, trembles: float, seed: int) -> NDArray[np.float32]:
    """Return a pose (V, 3) that trembles by this many metres, and drifts by less."""
    noise = np.random.default_rng(seed).normal(0, trembles, (frames, *pose.shape))
    drift = 0.2 * trembles * np.sin(np.linspace(0, 7, frames))[:, None, None]
    return (pose + noise + drift).astype(np.float32)


def damaged(fault: str, level: int, seed: int, person: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return one person (T, V, 3) with a fault of benchmarks/accuracy/corruptions.py; NaN where it loses a joint."""
    scene = corruptions.scene("drawn", [person], [])
    corruptions.FAULTS[fault](scene, level, np.random.default_rng(seed))
    xyz = scene.bodies[0].xyz
    return np.where((xyz != 0).any(axis=-1, keepdims=True), xyz, np.nan)


def after(step: RecipeStep, of: Clip | Recording) -> Clip:
    """Apply the step with the recipe's parameters."""
    return STEPS[step.name](of, **step.parameters)


def centres(xyz: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the positions (..., 3) of bodies (..., V, 3)."""
    return xyz[..., KINECT_V2.centre, :]


# Elements of the pictures.


def panels(
    count: int, *, size: tuple[float, float] = WIDE, rows: bool = False, **how: object
) -> tuple[Figure, list[Axes]]:
    """Create a figure with panels side by side, or one above the other."""
    figure = Figure(figsize=size)
    grid = figure.subplots(*((count, 1) if rows else (1, count)), squeeze=False, **how)  # type: ignore[arg-type]
    return figure, list(grid.flat)


def bars(axes: Axes, seen: Iterable[NDArray[np.bool_]], colours: Iterable[str], names: Iterable[str]) -> None:
    """Draw a time line: one row per body, with bars where it is visible (T,)."""
    for row, (there, colour) in enumerate(zip(seen, colours, strict=True)):
        axes.broken_barh([(start, stop - start) for start, stop in runs(there)], (row - 0.36, 0.72), color=colour)
    labels = list(names)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def runs(there: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return first and last + 1 of every run of True in (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(int)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def skeleton(axes: Axes, pose: NDArray[np.float32], colour: str, **how: object) -> None:
    """Draw a pose (V, 3) from the sensor's view."""
    xs, ys = [], []
    for joint, parent in BONES:
        xs += [pose[joint, 0], pose[parent, 0], np.nan]
        ys += [pose[joint, 1], pose[parent, 1], np.nan]
    axes.plot(xs, ys, color=colour, solid_capstyle="round", **({"linewidth": 2.2} | how))  # type: ignore[arg-type]


def front(axes: Axes, title: str) -> None:
    """Set axes to the sensor's view."""
    axes.margins(0.08, 0.03)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(title=title, xlabel="x (m)", ylabel="y, up (m)")
    axes.invert_xaxis()  # x is to the sensor's left


def over(axes: Axes, pose: NDArray[np.float32], text: str, colour: str = BLACK) -> None:
    """Write text above a person's head."""
    at = (pose[:, 0].min() + pose[:, 0].max()) / 2, pose[:, 1].max() + 0.1
    axes.annotate(text, at, ha="center", va="bottom", color=colour)
    axes.update_datalim([(at[0], at[1] + 0.25)])  # room for the words
    axes.autoscale_view()


def paths(axes: Axes, truth: NDArray[np.float32], faulty: NDArray[np.float32], repaired: NDArray[np.float32]) -> None:
    """Draw one coordinate (T,) over the frames: truth, sensor data, and result of the step."""
    frames = np.arange(len(truth))
    axes.plot(frames, truth, color=BLACK, linewidth=0.9, label="truth")
    axes.plot(frames, faulty, "o", color=RED, markersize=4.5, markerfacecolor="none", label="sensor")
    axes.plot(frames, repaired, color=BLUE, linewidth=1.6, label="result")
    axes.set_xlim(-1, len(truth))
    axes.set(xlabel="frame (30 a second)", ylabel="height of the wrist (m)")


# The pictures, one per step.


def follow_ids(step: RecipeStep) -> Figure:
    """People change places in the file; bodies followed by id stay the same."""
    T = 90
    people = [actor(BOTH_ARMS, 1, x=-0.6), actor(WAVING, 2, x=0.6)]
    scene = corruptions.scene("drawn", people, [])
    scene.bodies[1].xyz[30:48] = np.nan
    scene.order[16:30] = scene.order[48:60] = (1, 0)
    recording = corruptions.record(scene)
    clip = after(step, recording)

    figure, (before, result) = panels(2, size=(7.2, 3.1), rows=True, sharex=True)
    colours = dict(zip(dict.fromkeys(recording.body.tolist()), ONE_BY_ONE, strict=False))
    for slot in range(2):
        for body, colour in colours.items():
            there = np.zeros(T, bool)
            there[recording.frame[(recording.slot == slot) & (recording.body == body)]] = True
            before.broken_barh(
                [(start, stop - start) for start, stop in runs(there)], (slot - 0.36, 0.72), color=colour
            )
    bars(before, [], [], ["first place", "second place"])
    before.set_title("the file: places in each frame, coloured by the sensor's id")
    seen = present(clip.xyz)
    whose = [owner(recording, clip.xyz[body]) for body in range(len(seen))]
    bars(result, seen, [colours[body] for body in whose], [f"body {body}" for body in range(len(seen))])
    result.set(title="after follow_ids: a body for each id, each row in its own frame", xlabel="frame")
    result.set_xlim(0, T)
    result.annotate("away: a hole", (39, 1), ha="center", va="center")
    return figure


def owner(recording: Recording, xyz: NDArray[np.float32]) -> int:
    """Return the id of a body (T, V, 3) in the recording."""
    row = next(row for row, frame in enumerate(recording.frame) if np.array_equal(recording.xyz[row], xyz[frame]))
    return int(recording.body[row])


def rejoin(step: RecipeStep) -> Figure:
    """Pieces that are close in time and space are one person."""
    people = [actor(STEPPING, 3, x=0.5, walks=0.5, facing=70), actor(BOTH_ARMS, 4, x=-0.7)]
    before = clip(
        only(people[0], (0, 32)), only(people[1], (0, 58)), only(people[0], (36, 90)), only(people[1], (64, 90))
    )
    figure, sides = panels(2, sharey=True)
    found = after(step, before)
    for axes, shown, title in zip(
        sides, (before, found), ("before: the sensor renamed both", "after rejoin"), strict=True
    ):
        for body, at in enumerate(centres(shown.xyz)):
            axes.plot(at[:, 0], color=ONE_BY_ONE[body], linewidth=3.5, solid_capstyle="butt")
            middle = int(np.median(np.flatnonzero(np.isfinite(at[:, 0]))))
            label = (middle, np.nanmean(at[:, 0]) + 0.13)
            axes.annotate(f"body {body}", label, ha="center", color=ONE_BY_ONE[body], weight="bold")
        axes.set(title=f"{title}: {len(shown.xyz)} bodies", xlabel="frame")
        axes.set_ylim(-1.1, 1.1)
    sides[0].set_ylabel("x of the chest (m)")
    return figure


def drop_short(step: RecipeStep) -> Figure:
    """Ghosts of a few frames are removed."""
    people = [actor(WAVING, 5, x=0.5), actor(BOTH_ARMS, 6, x=-0.6)]
    ghost = still((people[1][0] - people[1][0, 0]) * [1.3, 0.5, 1] + [-1.7, -0.4, 3.2], 90, 0.05, 1)
    before = clip(*people, only(ghost, (38, 46)))
    figure, (view, spans) = panels(2, width_ratios=(1, 1.15))
    names = ["actor", "actor", "ghost"]
    stays = kept(before, after(step, before))
    colours = [BLUE if stay else GREY for stay in stays]
    for body, name, colour in zip(before.xyz, names, colours, strict=True):
        skeleton(view, body[42], colour)
        over(view, body[42], name, colour if colour != GREY else "#606060")
    front(view, "frame 42")
    seen = present(before.xyz)
    bars(spans, seen, colours, [f"{name}\n{count} frames" for name, count in zip(names, seen.sum(axis=1), strict=True)])
    spans.set(title=f"dropped: seen in fewer than {step.parameters['min_frames']} frames", xlabel="frame", xlim=(0, 90))
    return figure


def drop_shaky(step: RecipeStep) -> Figure:
    """Bodies that tremble more than a person are removed."""
    shadow = actor(WAVING, 8, x=-0.9) + np.random.default_rng(4).normal(0, 0.04, (90, 25, 3)).astype(np.float32)
    before = clip(actor(WAVING, 7, x=0.4), shadow)
    figure, (view, bar) = panels(2, width_ratios=(1.25, 1), size=(7.2, 3.1))
    shaking = 1000 * tremble(before.xyz)
    colours = [BLUE if stay else GREY for stay in kept(before, after(step, before))]
    for body, colour, name in zip(before.xyz, colours, ("person", "shadow"), strict=True):
        for t in range(40, 44):
            skeleton(view, body[t], colour, linewidth=1.2, alpha=0.5)
        over(view, body[40], name)
    front(view, "four frames on end")
    bar.barh(range(2), shaking, color=colours, height=0.6)
    bar.set_yticks(range(2), ["person", "shadow"])
    bar.set_ylim(1.6, -0.6)
    bar.tick_params(axis="y", length=0)
    bar.axvline(1000 * step.parameters["max_tremble"], color=BLACK, linewidth=1)
    bar.set(title="right of the line: dropped", xlabel="tremble (mm on an axis)")
    return figure


def drop_furniture(step: RecipeStep) -> Figure:
    """Bodies as wide as a table or as still as a chair are removed."""
    people = [actor(SQUATTING, 8, x=1.2), actor(WAVING, 7, x=0.1)]
    pose = people[0][0] - people[0][0, 0]
    table = still(pose * [1.6, 0.35, 1] + [-0.95, -0.45, 3.3], 90, 0.012, 2)
    chair = still(pose * [0.8, 0.6, 0.8] + [-2.1, -0.35, 3.0], 90, 0.006, 3)
    before = clip(*people, table, chair)
    names = ["squats", "waves", "table", "chair"]
    labels = ["", "people", "table", "chair"]
    stays = kept(before, after(step, before))
    figure, (view, plane) = panels(2, width_ratios=(1.25, 1), size=(7.2, 3.1))
    wide = wide_share(before.xyz, step.parameters["max_spread"])
    activity = np.maximum(selection.motion(before.xyz), 1.5e-6)  # 0 has no place on the axis
    for body, name, label, stay, share, moves in zip(before.xyz, names, labels, stays, wide, activity, strict=True):
        colour = BLUE if stay else GREY
        skeleton(view, body[40], colour)
        over(view, body[40], name, BLUE if stay else "#606060")
        plane.plot(moves, 100 * share, "o", color=colour, markersize=8, clip_on=False)
        plane.annotate(label, (moves, 100 * share), (0, 8), textcoords="offset points", ha="center")
    front(view, "what the sensor takes for people")
    plane.set_xscale("log")
    plane.set(
        xlim=(1e-6, 1), ylim=(-4, 116), xlabel="motion (m²)", ylabel="wide frames (%)", title="grey areas are dropped"
    )
    plane.set_yticks(range(0, 101, 25))
    still_wide, still_all, wide_from = (step.parameters[key] for key in ("wide_motion", "min_motion", "max_wide"))
    plane.fill_between([1e-6, still_wide], 100 * wide_from, 116, color=GREY, alpha=0.5, linewidth=0)
    plane.fill_between([1e-6, still_all], -4, 100 * wide_from, color=GREY, alpha=0.5, linewidth=0)
    return figure


def pick_actors(step: RecipeStep) -> Figure:
    """The people who act for longest are kept, the most active first."""
    ghost = np.full_like(actor(BOTH_ARMS, 9, x=0.9), np.nan)
    ghost[40:66] = actor(BOTH_ARMS, 9, x=0.9)[40:66]
    before = clip(ghost, actor(WAVING, 10, x=0.0), actor(BOTH_ARMS, 11, x=-1.0))
    found = after(step, before)
    place = [next((n for n, body in enumerate(found.xyz) if np.array_equal(body, old)), None) for old in before.xyz]
    ordinals = ["first", "second"]
    colours = [GREY if at is None else (BLUE, ORANGE)[at] for at in place]
    names = ["26 frames" if at is None else f"{ordinals[at]} actor" for at in place]
    figure, (view, lengths) = panels(2, width_ratios=(1.35, 1), size=(7.2, 3.5))
    for body, colour, name in zip(before.xyz, colours, names, strict=True):
        for t in range(0, 90, 15):
            skeleton(view, body[t], colour, linewidth=1.2, alpha=0.5)
        over(view, body[np.isfinite(body[:, 0, 0])].reshape(-1, 3), name)
    front(view, "three seconds, every half second")
    activity = selection.motion(before.xyz)
    acts = present(before.xyz).sum(axis=1) * activity / (activity + step.parameters["calm"])
    lengths.barh(range(3), acts, color=colours, height=0.72)
    lengths.set_yticks(range(3), [f"body {body}" for body in range(3)])
    lengths.set_ylim(2.6, -0.6)
    lengths.tick_params(axis="y", length=0)
    lengths.set(title=f"the {step.parameters['count']} who act for longest stay", xlabel="frames in which it acts")
    return figure


def kept(before: Clip, found: Clip) -> list[bool]:
    """Return which of the bodies are kept."""
    return [any(np.array_equal(old, new, equal_nan=True) for new in found.xyz) for old in before.xyz]


def trim(step: RecipeStep) -> Figure:
    """Empty frames at both ends are removed, those in between are kept."""
    people = [actor(BOTH_ARMS, 12, x=0.5, frames=100), actor(WAVING, 13, x=-0.5, frames=100)]
    before = clip(only(people[0], (12, 46), (52, 85)), only(people[1], (20, 46), (52, 72)))
    figure, sides = panels(2, rows=True, size=(7.2, 2.9), sharex=True)
    for axes, shown, title in zip(sides, (before, after(step, before)), ("before", "after trim"), strict=True):
        seen = present(shown.xyz)
        bars(axes, seen, [BLUE, ORANGE], ["first actor", "second actor"])
        for start, stop in runs(~seen.any(axis=0)):
            axes.axvspan(start, stop, color=GREY, alpha=0.35, linewidth=0)
            axes.annotate("nobody", ((start + stop) / 2, 0.5), ha="center", va="center", rotation=90, fontsize=9)
        axes.axvline(len(seen[0]), color=BLACK, linewidth=1)
        axes.set(title=f"{title}: {len(seen[0])} frames", xlim=(0, 101))
    sides[1].set_xlabel("frame")
    return figure


def despike(step: RecipeStep) -> Figure:
    """A joint that leaves its path for a frame is removed."""
    person = actor(JABBING, 14, frames=60)
    faulty = person.copy()
    wrong = ((9, 0.35), (24, -0.45), (42, 0.25), (53, -0.3))
    for t, off in wrong:
        faulty[t, WRIST, 1] += off
    repaired = after(step, clip(faulty)).xyz[0]
    figure, (axes,) = panels(1)
    height = (xyz[:, WRIST, 1] for xyz in (person, faulty, repaired))
    paths(axes, *height)
    for t, _ in wrong:
        way = 9 if 10 < t < 45 else -9
        at = t, faulty[t, WRIST, 1]
        axes.annotate(
            "taken out", at, (way, 0), textcoords="offset points", ha="left" if way > 0 else "right", va="center"
        )
    axes.set_title("despike: missing now, for fill_gaps to mend")
    axes.legend(loc="upper center", ncols=3, bbox_to_anchor=(0.75, 1.17))
    return figure


def fill_gaps(step: RecipeStep) -> Figure:
    """Short gaps are interpolated, long ones stay."""
    person = actor(WAVING, 15, frames=90)
    lost = [(14, 19), (36, 44), (60, 78)]
    faulty = only(person, *zip([0, *(stop for _, stop in lost)], [*(start for start, _ in lost), 90], strict=True))
    repaired = after(step, clip(faulty)).xyz[0]
    figure, (axes,) = panels(1)
    paths(axes, *(xyz[:, WRIST, 1] for xyz in (person, faulty, repaired)))
    for start, stop in lost:
        axes.axvspan(start - 0.5, stop - 0.5, color=GREY, alpha=0.3, linewidth=0)
        axes.annotate(
            f"{stop - start}", ((start + stop - 1) / 2, 0.04), xycoords=("data", "axes fraction"), ha="center"
        )
    axes.margins(y=0.2)
    axes.set_title(f"fill_gaps: gaps of up to {step.parameters['max_gap']} frames")
    axes.legend(loc="upper center", ncols=3, bbox_to_anchor=(0.75, 1.17))
    return figure


def smooth(step: RecipeStep) -> Figure:
    """Jitter is removed, motion is kept."""
    person = actor(JABBING, 16, frames=90)
    faulty = damaged("jitter", 2, 4, person)
    repaired = after(step, clip(faulty)).xyz[0]
    figure, (axes, errors) = panels(2, rows=True, size=(7.2, 4.4), sharex=True, height_ratios=(1.4, 1))
    paths(axes, *(xyz[:, WRIST, 1] for xyz in (person, faulty, repaired)))
    axes.set(title="smooth", xlabel="")
    off = [1000 * (xyz - person)[:, WRIST, 1] for xyz in (faulty, repaired)]
    errors.axhline(0, color=BLACK, linewidth=0.9)
    errors.plot(off[0], "o", color=RED, markersize=4.5, markerfacecolor="none")
    errors.plot(off[1], color=BLUE, linewidth=1.6)
    before, left = (np.sqrt(np.mean(path**2)) for path in off)
    errors.set(title=f"off the truth: {before:.0f} mm become {left:.0f} (root mean square)")
    errors.set(xlabel="frame (30 a second)", ylabel="error (mm)")
    axes.legend(loc="upper center", ncols=3, bbox_to_anchor=(0.75, 1.17))
    return figure


def cameras() -> dict[str, Clip]:
    """One walk, seen by two cameras."""
    walk = {"facing": 20.0, "walks": 1.1, "frames": 60}
    return {
        "camera 1": clip(actor(STEPPING, 17, x=-0.3, away=3.3, **walk)),
        "camera 2": clip(actor(STEPPING, 17, x=0.4, away=2.5, **walk | {"facing": -50.0})),
    }


def from_above(axes: Axes, seen: Mapping[str, Clip], title: str) -> None:
    """Draw shoulders, nose and path of the first actor from above, at the start, twice in between and at the end."""
    left, right = KINECT_V2.shoulders
    for (name, clip), colour, width in zip(seen.items(), (BLUE, ORANGE), (7, 3), strict=True):
        xyz = clip.xyz[0]
        axes.plot(*centres(xyz)[:, ::2].T, color=colour, linewidth=width / 3)
        for t in np.linspace(0, len(xyz) - 1, 4).astype(int):
            across = xyz[t, [left, right]]
            alpha = 1.0 if t == 0 else 0.45
            axes.plot(*across[:, ::2].T, color=colour, linewidth=width, alpha=alpha, label=name if t == 0 else None)
            axes.plot(*across[1, ::2], "o", color=colour, markersize=3 + 1.5 * width, alpha=alpha)
    axes.set(title=title, xlabel="x (m)", ylabel="z, away (m)")
    axes.set_aspect("equal", adjustable="datalim")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(0.5))
    axes.invert_xaxis()  # x is to the sensor's left


def one_origin(step: RecipeStep) -> Figure:
    """The chest is at the origin in the first frame, and the path from there is kept."""
    seen = cameras()
    figure, sides = panels(2, size=(7.2, 3.6))
    from_above(sides[0], seen, "before: the sensor is at (0, 0)")
    sides[0].annotate("sensor", (0, 0), (9, 0), textcoords="offset points", va="center")
    sides[0].plot(0, 0, "^", color=BLACK, markersize=9)
    from_above(sides[1], {name: after(step, clip) for name, clip in seen.items()}, "after one_origin")
    sides[1].plot(0, 0, "+", color=BLACK, markersize=16)
    sides[0].legend(loc="best")
    sides[1].legend([], title="bar: the shoulders\ndot: the right one", loc="best")
    return figure


def one_turn(step: RecipeStep) -> Figure:
    """The shoulders are along x, for any camera."""
    seen = {name: STEPS["one_origin"](clip) for name, clip in cameras().items()}
    figure, sides = panels(2, size=(7.2, 3.6))
    from_above(sides[0], seen, "before: one walk, two cameras")
    from_above(sides[1], {name: after(step, clip) for name, clip in seen.items()}, "after one_turn")
    sides[0].legend(loc="best")
    return figure


PICTURES: Mapping[str, Callable[[RecipeStep], Figure]] = {
    draw.__name__: draw
    for draw in (
        follow_ids, drop_shaky, rejoin, drop_furniture, drop_short, pick_actors, trim,
        despike, fill_gaps, smooth, one_origin, one_turn,
    )
}  # fmt: skip


def draw_all(folder: Path) -> list[Path]:
    """Draw every step of `clean` into a folder; returns the pictures in the recipe's order.

    Raises:
        SystemExit: a step of the recipe has no picture here.
    """
    steps = load_recipe("clean").steps
    undrawn = [step.name for step in steps if step.name not in PICTURES]
    if undrawn:
        raise SystemExit(
            f"{Path(__file__).name}: no picture of {', '.join(undrawn)}: draw it here and show it in clean.md"
        )
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for step in steps:
        path = folder / f"clean-{step.name}.svg"
        with mpl.rc_context(STYLE):
            PICTURES[step.name](step).savefig(path, metadata={"Date": None})
        path.write_text(rounded(path.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
        drawn.append(path)
    return drawn


def rounded(svg: str) -> str:
    """Round the coordinates to a hundredth of a point: smaller files, and the same bytes on every machine."""
    return re.sub(r' (d|x|y)="[^"]+"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), svg)


if __name__ == "__main__":
    for path in draw_all(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES):
        print(f"{path} {path.stat().st_size / 1000:.0f} kB")
