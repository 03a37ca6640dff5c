"""Time normalisation against re-implementations of the reference code's own way, on one core.

Run: python -m benchmarks.speed.normalise [--clips 4] [--rounds 5] [--frames 80]

The clips are synthetic, with one and with two people. Both sides start with the selected bodies as arrays in memory,
and both must give the same numbers before either is timed.

- 2s-AGCN's pre_normalization: pads to 300 frames, then np.dot with a matrix for every joint of every frame, twice.
- CTR-GCN's seq_translation: subtracts the origin from each frame's row of columns.
- SkeleMixCLR's NTUMotionProcessor (from CrosSCLR): centres and rotates one frame of a body at a time, and resizes
  with OpenCV; its interpolation is re-implemented with numpy.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from pipeline.recipes.recipe import Recipe, load_recipe
from pipeline.recipes.registry import STEPS
from pipeline.skeleton.recording import Clip
from tests.support.people import people, recorded
from trainer.bench.timing import git_commit
from trainer.doctor.processor import processor_name

Work = Callable[[Clip], NDArray[np.floating]]


def rotation(axis: NDArray[np.floating], angle: float) -> NDArray[np.float64]:
    """(3, 3) counter-clockwise about an axis, by Euler and Rodrigues."""
    if np.abs(axis).sum() < 1e-6 or abs(angle) < 1e-6:
        return np.eye(3)
    axis = axis / math.sqrt(np.dot(axis, axis))
    a = math.cos(angle / 2)
    b, c, d = -axis * math.sin(angle / 2)
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c + a * d), 2 * (b * d - a * c)],
            [2 * (b * c - a * d), a * a + c * c - b * b - d * d, 2 * (c * d + a * b)],
            [2 * (b * d + a * c), 2 * (c * d - a * b), a * a + d * d - b * b - c * c],
        ]
    )


def agcn(clip: Clip) -> NDArray[np.float32]:
    """2s-AGCN: (M, 300, V, 3) of a clip of M bodies, zero where absent."""
    M, T, V, _ = clip.xyz.shape
    stored = np.zeros((3, 300, V, M), np.float32)
    stored[:, :T] = clip.xyz.transpose(3, 1, 2, 0)
    s = stored.transpose(3, 1, 2, 0)
    for person in s:
        if person.sum() == 0:
            continue
        if person[0].sum() == 0:
            index = person.sum(-1).sum(-1) != 0
            kept = person[index].copy()
            person *= 0
            person[: len(kept)] = kept
        for t, frame in enumerate(person):
            if frame.sum() == 0 and person[t:].sum() == 0:
                rest = len(person) - t
                person[t:] = np.concatenate([person[:t]] * math.ceil(rest / t))[:rest]
                break
    if s.sum() != 0:
        middle = s[0, :, 1:2].copy()
        for m, person in enumerate(s):
            if person.sum() != 0:
                mask = (person.sum(-1) != 0).reshape(300, V, 1)
                s[m] = (person - middle) * mask
    for head, tail, target in ((1, 0, (0, 0, 1)), (8, 4, (1, 0, 0))):
        bone = s[0, 0, head] - s[0, 0, tail]
        angle = 0.0
        if np.abs(bone).sum() >= 1e-6:
            angle = np.arccos(np.clip(np.dot(bone / np.linalg.norm(bone), target), -1.0, 1.0))
        matrix = rotation(np.cross(bone, target), angle)
        for person in s:
            if person.sum() == 0:
                continue
            for frame in person:
                if frame.sum() == 0:
                    continue
                for v, joint in enumerate(frame):
                    frame[v] = np.dot(matrix, joint)
    return s


def ctrgcn(clip: Clip) -> NDArray[np.float32]:
    """CTR-GCN: (M, T, V, 3) of one or two actors."""
    M, T, V, _ = clip.xyz.shape
    joints = clip.xyz.swapaxes(0, 1).reshape(T, -1).copy()
    missing = [np.where(joints[:, m * 3 * V : (m + 1) * 3 * V].sum(axis=1) == 0)[0] for m in range(M)]
    i = 0
    while not np.any(joints[i, : 3 * V] != 0):
        i += 1
    origin = np.copy(joints[i, 3:6])
    for t in range(T):
        joints[t] -= np.tile(origin, M * V)
    if M == 2:
        for m in range(M):
            joints[missing[m], m * 3 * V : (m + 1) * 3 * V] = 0
    return joints.reshape(T, M, V, 3).swapaxes(0, 1)


def skelemixclr(clip: Clip) -> NDArray[np.float32]:
    """SkeleMixCLR and CrosSCLR: (M, 64, V, 3) of the first bodies of every frame."""
    length = int((np.abs(clip.xyz[0, :, 0]).sum(-1) != 0).sum())
    motion = clip.xyz[:, :length].copy()
    M, _, V, _ = motion.shape
    for m in range(M):
        for t in range(length):
            motion[m, t] = motion[m, t] - motion[m, t, 20]
    resized = np.zeros((M, 64, V, 3), np.float32)
    for t in range(64):
        at = min(max((t + 0.5) * length / 64 - 0.5, 0), length - 1)
        low = int(at)
        weight = np.float32(at - low)
        resized[:, t] = motion[:, low] * (1 - weight) + motion[:, min(low + 1, length - 1)] * weight
    turned = np.zeros_like(resized)
    for m in range(M):
        across = resized[m, :, 8] - resized[m, :, 4]
        across[:, 1] = 0
        angle = np.arccos(across[:, 0] / (np.sqrt((across**2).sum(-1)) + np.float32(1e-4)))
        sign = -1 if across[:, 2].sum() >= 0 else 1
        for t in range(64):
            turn = np.float32(sign) * angle[t]
            matrix = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
            turned[m, t] = np.dot(resized[m, t], matrix)
    return turned


PEERS: dict[str, tuple[str, Work]] = {
    "agcn": ("2s-AGCN, pre_normalization", agcn),
    "ctrgcn": ("CTR-GCN, seq_translation", ctrgcn),
    "skelemixclr": ("SkeleMixCLR, NTUMotionProcessor", skelemixclr),
}


@dataclass(frozen=True, slots=True)
class Case:
    """A recipe's normalising steps and a peer, on the bodies that the recipe's reader has chosen."""

    title: str
    recipe: Recipe
    clips: list[Clip]
    peer: Work

    def ours(self, clip: Clip) -> NDArray[np.floating]:
        for step in self.recipe.steps[1:]:
            clip = STEPS[step.name](clip, **step.parameters)
        return clip.xyz


def cases(clips: int, frames: int, bodies: int) -> list[Case]:
    """What is timed, on so many synthetic clips of one person or two."""
    made = [recorded(people(np.random.default_rng([bodies, n]), bodies=bodies, frames=frames)) for n in range(clips)]
    found = []
    for name, (title, peer) in PEERS.items():
        recipe = load_recipe(name)
        first = recipe.steps[0]
        chosen = [STEPS[first.name](recording, **first.parameters) for recording in made]
        found.append(Case(title, recipe, chosen, peer))
    return found


def disagreement(case: Case) -> float:
    """The largest distance, in metres on an axis, between what we make of the clips and what the peer makes."""
    return max(float(np.abs(case.ours(clip) - case.peer(clip)).max()) for clip in case.clips)


def microseconds(work: Work, clips: list[Clip]) -> float:
    start = time.perf_counter()
    for clip in clips:
        work(clip)
    return (time.perf_counter() - start) / len(clips) * 1e6


def main() -> int:
    """Check that both agree, time them in turns, print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clips", type=int, default=4)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--frames", type=int, default=80)
    given = options.parse_args()
    rows = []
    for bodies in (1, 2):
        for case in cases(given.clips, given.frames, bodies):
            if not (off := disagreement(case)) < 1e-5:
                print(f"{case.title}: ours is {off:.2g} m off with {bodies} bodies; nothing is timed", file=sys.stderr)
                return 1
            ours, theirs = [], []
            for _ in range(given.rounds):
                theirs.append(microseconds(case.peer, case.clips))
                ours.append(microseconds(case.ours, case.clips * 20))
            rows.append((case, bodies, off, statistics.median(ours), statistics.median(theirs)))
    print(f"{processor_name()}, numpy {np.__version__}, numba {numba.__version__}, commit {git_commit()}")
    print(f"{given.clips} synthetic clips of {given.frames} frames, {given.rounds} interleaved rounds, medians\n")
    print("| peer | bodies | largest difference | peer, us a clip | ours, us a clip | ratio |")
    print("|---|---:|---:|---:|---:|---:|")
    for case, bodies, off, ours_us, peer_us in rows:
        print(f"| {case.title} | {bodies} | {off:.1g} m | {peer_us:,.0f} | {ours_us:,.0f} | {peer_us / ours_us:.0f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
