"""Measure the error that remains after recipe `clean` and other code bases' body selection, fault by fault.

Run: python -m benchmarks.accuracy.denoising_accuracy DATA [--subjects 6 7 8 9 10] [--every 5] [--faults jitter
spikes] [--recipes clean ctrgcn]

DATA is a copy of UI-PRMD as a folder data set (2,000 clips of ten people). Everything is measured in the sensor's
coordinates, after body selection and denoising and before normalisation:

- *error*: distance of a joint from the truth, over all joints of all people in all frames in which they are visible.
  For a joint that is not reported, the nearest reported value in time is used (1 m if there is none). The error of a
  joint is at most 1 m. *p99* is the 99th percentile, *fast* the error of the fastest tenth of the joints.
- *identity*: share of a person's reported frames in which the body shows this person (mean joint error at most 0.3 m)
  and no other person better. Bodies are matched to people once per clip, with the smallest total error.
- *lost*: frames of a person that are not reported. *false*: frames of bodies that are no person, per frame of a
  person.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.corruptions import FAULTS, LEVELS, Scene, corrupted, record, scenes
from pipeline.errors import UnusableClip
from pipeline.recipes.recipe import Recipe, load_recipe
from pipeline.recipes.registry import STEPS
from pipeline.skeleton.recording import Recording

NORMALISING = {"trim", "one_origin", "one_turn", "resize"}
FARTHEST = 1.0
"""Metres: no joint costs more."""
ITSELF = 0.3
"""Metres within which a body shows a person."""
METHODS = {"clean": "clean", "st-gcn": "bodies_by_slot", "2s-AGCN": "bodies_by_energy", "CTR-GCN": "bodies_by_motion"}


@dataclass(frozen=True, slots=True)
class Score:
    """One recipe on one scene."""

    errors: NDArray[np.float32]
    """(joints,) metres."""
    fast: NDArray[np.bool_]
    """(joints,) the fastest tenth of them."""
    reported: int
    shown: int
    """Of the reported frames of people, those that show them."""
    frames: int
    """Frames of people in the picture."""
    false: int


def bodies(method: str, recording: Recording) -> NDArray[np.float32]:
    """What a method makes of a recording, on its true time line: (M, T, V, 3) metres, NaN where nothing is reported."""
    try:
        if method == "clean":
            return _run(load_recipe("clean"), recording)
        xyz = STEPS[METHODS[method]](recording).xyz
    except UnusableClip:
        return np.full((1, recording.frames, *recording.xyz.shape[1:]), np.nan, np.float32)
    xyz = np.where((xyz != 0).any(axis=-1, keepdims=True), xyz, np.nan)
    if method == "CTR-GCN":  # it leaves out frames without a body and keeps a list of them
        shown = np.unique(recording.frame)[: xyz.shape[1]]
        placed = np.full((len(xyz), recording.frames, *xyz.shape[2:]), np.nan, np.float32)
        placed[:, shown] = xyz
        return placed
    return xyz


def _run(recipe: Recipe, recording: Recording) -> NDArray[np.float32]:
    first, *others = (step for step in recipe.steps if step.name not in NORMALISING)
    clip = STEPS[first.name](recording, **first.parameters)
    for step in others:
        clip = STEPS[step.name](clip, **step.parameters)
    return clip.xyz


def held(xyz: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T, V, 3) with every missing joint where it was reported nearest in time; NaN for one that never was."""
    T = len(xyz)
    known = np.isfinite(xyz[..., 0])
    at = np.arange(T)[:, None]
    before = np.maximum.accumulate(np.where(known, at, -T * 3), axis=0)
    after = np.minimum.accumulate(np.where(known, at, T * 4)[::-1], axis=0)[::-1]
    nearest = np.where(at - before <= after - at, before, after)
    there = (nearest >= 0) & (nearest < T)
    taken = np.take_along_axis(xyz, np.where(there, nearest, 0)[..., None], axis=0)
    return np.where(there[..., None], taken, np.nan)


def distances(body: NDArray[np.float32], person: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T, V) metres, at most FARTHEST."""
    far = np.linalg.norm(body - person, axis=-1)
    return np.where(np.isfinite(far), np.minimum(far, FARTHEST), FARTHEST).astype(np.float32)


def score(on: Scene, found: NDArray[np.float32]) -> Score:
    """Match a method's bodies to the people of a scene and measure them."""
    people, visible = on.truth, on.visible
    nobody = np.full_like(people[0], np.nan)
    candidates = [*found, *[nobody] * len(people)]
    cost = np.array(
        [
            [distances(held(body), person)[seen].sum() for person, seen in zip(people, visible, strict=True)]
            for body in candidates
        ]
    )
    match = min(
        permutations(range(len(candidates)), len(people)), key=lambda m: sum(cost[b, p] for p, b in enumerate(m))
    )
    speed = np.linalg.norm(np.gradient(people, axis=1), axis=-1)  # (P, T, V)
    errors, speeds, reported, shown = [], [], 0, 0
    for p, b in enumerate(match):
        seen = visible[p]
        errors.append(distances(held(candidates[b]), people[p])[seen].ravel())
        speeds.append(speed[p][seen].ravel())
        there = seen & np.isfinite(candidates[b]).any(axis=(1, 2))
        near = np.nanmean(np.linalg.norm(candidates[b][None, there] - people[:, there], axis=-1), axis=-1)  # (P, T')
        reported += int(there.sum())
        shown += int(((near[p] < ITSELF) & (near[p] <= near.min(axis=0))).sum()) if there.any() else 0
    away = [b for b in range(len(found)) if b not in match]
    false = sum(int(np.isfinite(found[b]).any(axis=(1, 2)).sum()) for b in away)
    joined = np.concatenate(speeds)
    return Score(np.concatenate(errors), joined >= np.quantile(joined, 0.9), reported, shown, int(visible.sum()), false)


def row(scores: list[Score]) -> dict[str, float]:
    """The figures of many scenes; errors in millimetres, the others in per cent."""
    errors, fast = np.concatenate([s.errors for s in scores]) * 1000, np.concatenate([s.fast for s in scores])
    frames = sum(s.frames for s in scores)
    reported = sum(s.reported for s in scores)
    return {
        "error": float(errors.mean()),
        "p99": float(np.quantile(errors, 0.99)),
        "fast": float(errors[fast].mean()),
        "fast p99": float(np.quantile(errors[fast], 0.99)),
        "identity": 100 * sum(s.shown for s in scores) / max(reported, 1),
        "lost": 100 * (1 - reported / frames),
        "false": 100 * sum(s.false for s in scores) / frames,
    }


def conditions(
    data: Path, subjects: set[int], every: int, faults: list[str]
) -> Iterator[tuple[str, list[Callable[[], Scene]]]]:
    """Every fault at every level, as the scenes to make; first the clean ones."""
    made = list(scenes(data, subjects, every))
    yield "none", made
    for fault in faults:
        # An order can only change between two.
        chosen = [(n, clean) for n, clean in enumerate(made) if fault != "swapped" or len(clean().truth) > 1]
        for level in range(len(LEVELS)):
            yield (
                f"{fault} {LEVELS[level]}",
                [
                    lambda n=n, clean=clean, level=level, fault=fault: corrupted(clean, fault, level, n)
                    for n, clean in chosen
                ],  # type: ignore[misc]
            )


def main() -> None:
    """Print the table, a line a fault, level and method, and how the two goals stand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--subjects", type=int, nargs="+", default=[6, 7, 8, 9, 10])
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--faults", nargs="+", default=list(FAULTS), choices=list(FAULTS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    given = parser.parse_args()
    table: dict[str, dict[str, dict[str, float]]] = {}
    heads = ("error", "p99", "fast", "fast p99", "identity", "lost", "false")
    print("| fault | method | " + " | ".join(heads) + " |\n|---|---|" + "---:|" * len(heads))
    for name, makers in conditions(given.data, set(given.subjects), given.every, given.faults):
        scores: dict[str, list[Score]] = {method: [] for method in given.methods}
        for make in makers:
            on = make()
            recording = record(on)
            for method in given.methods:
                scores[method].append(score(on, bodies(method, recording)))
        table[name] = {method: row(found) for method, found in scores.items()}
        for method, figures in table[name].items():
            print(f"| {name} | {method} | " + " | ".join(f"{figures[head]:.1f}" for head in heads) + " |", flush=True)
    peers = [method for method in given.methods if method != "clean"]
    if "clean" not in given.methods or not peers:
        return
    corrupt = [name for name in table if name != "none"]
    for head in ("error", "p99", "fast", "fast p99", "lost"):
        worse = [
            name for name in corrupt if table[name]["clean"][head] > min(table[name][m][head] for m in peers) + 0.05
        ]
        ours = np.mean([table[name]["clean"][head] for name in corrupt])
        best = np.mean([min(table[name][m][head] for m in peers) for name in corrupt])
        print(
            f"{head}: clean {ours:.1f}, best peer of each row {best:.1f}, ratio {ours / best:.2f}; "
            f"clean behind in {', '.join(worse) or 'no row'}"
        )
    one = {m: float(np.mean([table[name][m]["error"] for name in corrupt])) for m in given.methods}
    print("mean error over the table, mm: " + ", ".join(f"{m} {value:.1f}" for m, value in one.items()))


if __name__ == "__main__":
    main()
