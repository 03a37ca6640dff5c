"""Simulated sensor faults at three levels, applied to scenes whose true motion is known.

This is the specification of the benchmark in denoising_accuracy.py; docs/data/clean.md describes it. The faults and
their seeds were fixed before any parameter was tuned on them. Each fault is a function of a scene, a level and a
generator. It changes what the sensor reports, never the truth.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.skeleton.layout import KINECT_V2
from pipeline.skeleton.recording import Recording

SEED = 20261122
LEVELS = ("light", "moderate", "heavy")
BODIES = 6
"""The sensor reports no more than so many at once."""

# For each of Kinect's 25 joints the joint of UI-PRMD's 22 that stands for it: hands and their tips are its hands.
_STANDS_FOR = (0, 1, 3, 4, 7, 8, 9, 9, 11, 12, 13, 13, 14, 15, 16, 17, 18, 19, 20, 21, 2, 9, 9, 13, 13)
_LEAVES = [j for j in range(25) if j not in KINECT_V2.parents]


@dataclass
class Body:
    """What the sensor takes for one body."""

    xyz: NDArray[np.float32]
    """(T, V, 3) metres; NaN in frames in which it is not reported, (0, 0, 0) for a joint that is not."""
    ids: NDArray[np.int64]
    """(T,)"""


@dataclass
class Scene:
    """Some people, and what the sensor makes of them."""

    name: str
    truth: NDArray[np.float32]
    """(P, T, V, 3) metres in the sensor's space: x to its left, y up, z away."""
    visible: NDArray[np.bool_]
    """(P, T) whether a person is in the picture."""
    others: list[NDArray[np.float32]]
    """Poses (V, 3) of other people about their own pelvis, metres: what ghosts and furniture are made of."""
    bodies: list[Body] = field(default_factory=list)
    """The first P are the people."""
    order: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    """(T, B) bodies stand in the file in ascending order of this."""

    ids: Iterator[int] = field(default_factory=lambda: count(72057594037927936, 7))
    """Ids that no body of the scene has yet."""

    def add(self, xyz: NDArray[Any], rng: np.random.Generator) -> None:
        """Let the sensor report one body more, at a random place in the file's order."""
        T = len(xyz)
        self.bodies.append(Body(xyz.astype(np.float32), np.full(T, next(self.ids))))
        self.order = np.concatenate([self.order, np.full((T, 1), rng.uniform(-1, len(self.bodies) - 1))], axis=1)


def scene(name: str, people: list[NDArray[np.float32]], others: list[NDArray[np.float32]]) -> Scene:
    """People (T, V, 3) as a perfect sensor would report them, cut to the shortest."""
    T = min(map(len, people))
    truth = np.stack([person[:T] for person in people])
    made = Scene(name, truth, np.ones(truth.shape[:2], np.bool_), others)
    for person in truth:
        made.bodies.append(Body(person.copy(), np.full(T, next(made.ids))))
    made.order = np.tile(np.arange(len(people), dtype=float), (T, 1))
    return made


def ghosts(on: Scene, level: int, rng: np.random.Generator) -> None:
    """Bodies that flare up where nobody is: 1, 2 or 4 of them, for 3-8, 6-15 or 10-25 frames, trembling by 5 cm."""
    for _ in range((1, 2, 4)[level]):
        lasts = int(rng.integers(*((3, 9), (6, 16), (10, 26))[level]))
        on.add(_thing(on, _other(on, rng), lasts, 0.05, rng), rng)


def furniture(on: Scene, level: int, rng: np.random.Generator) -> None:
    """A table (flat) or chair (low) is taken for a person in 30, 60 or 100 % of the frames, trembling by 5-20 mm."""
    pose = _other(on, rng) * ((1.6, 0.35, 1.0) if rng.random() < 0.5 else (0.8, 0.6, 0.8))
    on.add(_thing(on, pose, round((0.3, 0.6, 1.0)[level] * on.truth.shape[1]), (0.005, 0.01, 0.02)[level], rng), rng)


def renamed(on: Scene, level: int, rng: np.random.Generator) -> None:
    """Everyone gets another id 1, 2 or 4 times, and is lost meanwhile for 0, 0-3 or 0-8 frames."""
    for body in on.bodies[: len(on.truth)]:
        for at in sorted(rng.choice(np.arange(5, len(body.ids)), (1, 2, 4)[level], replace=False)):
            body.ids[at:] = next(on.ids)
            body.xyz[at : at + rng.integers(0, (1, 4, 9)[level])] = np.nan


def swapped(on: Scene, level: int, rng: np.random.Generator) -> None:
    """The order of the bodies in the file changes once, three times, or by chance in every frame."""
    T = len(on.order)
    if level == 2:
        on.order = rng.random(on.order.shape)
        return
    for at in rng.integers(1, T, (1, 3)[level]):
        on.order[at:] = -on.order[at:]


def away(on: Scene, level: int, rng: np.random.Generator) -> None:
    """Somebody leaves for 10, 20 or 35 % of the frames and returns, every other time under a new id."""
    T = on.truth.shape[1]
    person = int(rng.integers(len(on.truth)))
    lasts = round((0.1, 0.2, 0.35)[level] * T)
    start = int(rng.integers(T // 6, T - lasts - T // 6 + 1))
    on.bodies[person].xyz[start : start + lasts] = np.nan
    on.visible[person, start : start + lasts] = False
    if rng.random() < 0.5:
        on.bodies[person].ids[start + lasts :] = next(on.ids)


def dropouts(on: Scene, level: int, rng: np.random.Generator) -> None:
    """People vanish 1, 2 or 4 times for 1-3, 2-6 or 4-12 frames; single joints do with 0.5, 2 or 5 %."""
    for body in on.bodies[: len(on.truth)]:
        lost = rng.random(body.xyz.shape[:2]) < (0.005, 0.02, 0.05)[level]
        body.xyz[lost] = 0
        for _ in range((1, 2, 4)[level]):
            lasts = int(rng.integers(*((1, 4), (2, 7), (4, 13))[level]))
            start = int(rng.integers(1, len(body.ids) - lasts))
            body.xyz[start : start + lasts] = np.nan


def jitter(on: Scene, level: int, rng: np.random.Generator) -> None:
    """Every joint trembles by 5, 10 or 20 mm (standard deviation of each axis), hands, feet and head twice as much."""
    for body in on.bodies[: len(on.truth)]:
        noise = rng.normal(0, (0.005, 0.01, 0.02)[level], body.xyz.shape)
        noise[:, _LEAVES] *= 2
        body.xyz += noise.astype(np.float32)


def spikes(on: Scene, level: int, rng: np.random.Generator) -> None:
    """0.2, 1 or 3 % of the joints are 0.2-0.8 m off for a frame, every fourth of them for two."""
    for body in on.bodies[: len(on.truth)]:
        T, V, _ = body.xyz.shape
        for t, v in np.argwhere(rng.random((T, V)) < (0.002, 0.01, 0.03)[level]):
            way = rng.normal(size=3)
            off = way / np.linalg.norm(way) * rng.uniform(0.2, 0.8)
            body.xyz[t : t + (2 if rng.random() < 0.25 else 1), v] += off.astype(np.float32)


def everything(on: Scene, level: int, rng: np.random.Generator) -> None:
    """All of the above at once, at one level."""
    for fault in (jitter, spikes, dropouts, renamed, away, furniture, ghosts, swapped):
        fault(on, level, rng)


FAULTS: Mapping[str, Callable[[Scene, int, np.random.Generator], None]] = {
    fault.__name__: fault for fault in (ghosts, furniture, renamed, swapped, away, dropouts, jitter, spikes, everything)
}


def record(on: Scene) -> Recording:
    """The rows that the sensor writes for a scene."""
    T = on.truth.shape[1]
    rows = []
    for t in range(T):
        there = [b for b in np.argsort(on.order[t], kind="stable") if np.isfinite(on.bodies[b].xyz[t, 0, 0])][:BODIES]
        rows += [(t, slot, on.bodies[b].ids[t], on.bodies[b].xyz[t]) for slot, b in enumerate(there)]
    return Recording(
        name=on.name,
        layout=KINECT_V2,
        frames=T,
        frame=np.array([row[0] for row in rows], np.int32),
        slot=np.array([row[1] for row in rows], np.int32),
        body=np.array([row[2] for row in rows], np.int64),
        xyz=np.array([row[3] for row in rows], np.float32).reshape(-1, 25, 3),
        tracking=np.full((len(rows), 25), 2, np.int8),
    )


def corrupted(clean: Callable[[], Scene], fault: str, level: int, number: int) -> Scene:
    """A fresh scene with one fault, always the same for the same scene number."""
    made = clean()
    FAULTS[fault](made, level, np.random.default_rng([SEED, list(FAULTS).index(fault), level, number]))
    return made


def load_people(data: Path, subjects: set[int]) -> list[tuple[int, str, int, int, NDArray[np.float32]]]:
    """Clips of UI-PRMD: subject, name, label, replication, and (T, 25, 3) metres, facing a sensor 3 m away."""
    with (data / "manifest.csv").open(newline="") as manifest:
        rows = [row for row in csv.DictReader(manifest) if int(row["subject"]) in subjects]
    return [
        (
            int(row["subject"]),
            Path(row["file"]).stem,
            int(row["label"]),
            int(row["replication"]),
            _facing(data / row["file"]),
        )
        for row in rows
    ]


def scenes(data: Path, subjects: set[int], every: int) -> Iterator[Callable[[], Scene]]:
    """Every so-many-th clip alone, and every second of those together with one of another subject, 0.8-1.5 m aside."""
    clips = load_people(data, subjects)
    rng = np.random.default_rng([SEED, 1])
    for n in range(0, len(clips), every):
        subject, name, _, _, xyz = clips[n]
        others = [_pose(clips[int(at)][4], rng) for at in rng.integers(len(clips), size=8)]
        yield lambda name=name, xyz=xyz, others=others: scene(name, [xyz], others)  # type: ignore[misc]
        if n // every % 2 == 0:
            second = next(clips[int(at)] for at in rng.permutation(len(clips)) if clips[int(at)][0] != subject)
            aside = np.array([rng.uniform(0.8, 1.5) * rng.choice([-1, 1]), 0, rng.uniform(-0.3, 0.3)], np.float32)
            pair = [xyz, second[4] + aside]
            yield lambda name=name, pair=pair, others=others: scene(f"{name}+", pair, others)  # type: ignore[misc]


def _facing(path: Path) -> NDArray[np.float32]:
    """A clip in the sensor's space: turned to face it, its mean pelvis 3 m away and 1 m below the sensor's middle."""
    xyz = np.load(path, allow_pickle=False)[:, _STANDS_FOR] * np.array([-1, 1, -1], np.float32)  # noqa: TID251 (allow_pickle=False)
    centre = xyz[:, 0].mean(axis=0)
    moved: NDArray[np.float32] = (xyz - centre + [0.0, centre[1] - 1.0, 3.0]).astype(np.float32)
    return moved


def _pose(xyz: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    t = int(rng.integers(len(xyz)))
    return xyz[t] - xyz[t, 0]


def _other(on: Scene, rng: np.random.Generator) -> NDArray[np.float32]:
    return on.others[int(rng.integers(len(on.others)))]


def _thing(on: Scene, pose: NDArray[Any], lasts: int, trembles: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A pose that stays somewhere 1-2.5 m from the first person for some frames; (T, V, 3) with NaN elsewhere."""
    T = on.truth.shape[1]
    lasts = min(lasts, T)
    start = int(rng.integers(0, T - lasts + 1))
    angle = rng.uniform(0, 2 * np.pi)
    aside = rng.uniform(1.0, 2.5) * np.array([np.cos(angle), 0, np.sin(angle)])
    place = on.truth[0].mean(axis=(0, 1)) + aside
    xyz = np.full(on.truth.shape[1:], np.nan, np.float32)
    xyz[start : start + lasts] = pose + place + rng.normal(0, trembles, (lasts, *pose.shape))
    return xyz
