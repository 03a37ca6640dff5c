"""Create motion that is about as hard to classify as recordings of real people.

People differ in build, posture, tempo, amplitude, coordination and handedness. An action starts anywhere in the clip
and takes as long as the person needs. People turn and drift, and move limbs that have nothing to do with the action.
Every third class with one person shares its poses with the class before it and differs only in the time course. The
sizes below were chosen with seeds 0 and 1, so that a nearest neighbour on raw coordinates recognises 50 to 70 % of the
clips of 20 classes; benchmarks/RESULTS.md has the results with other seeds.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.ntu.names import TWO_PERSON
from pipeline.synth.body import ANGLES, HIGH, LIMBS, LOW, positions
from pipeline.synth.motion import FPS, Person, draw_person, stand_on_floor
from pipeline.synth.roles import Role, roles

LENGTHS = (110, 170)
"""Shortest and longest clip, frames."""
HABIT = 0.08
"""Difference of a person's posture from that of the class, radians per angle."""
STANCE = 0.04
"""The same for one clip."""
SWAY = 0.02
"""Slow movement of all joints, radians."""
STYLE = 0.05
"""Relative difference of a person's amplitude, per angle."""
DELAY = 0.02
"""Difference of a person's coordination: delay of each angle, cycles."""
TEMPO = 0.12
VIGOUR = 0.12
"""Spread of a person's tempo and amplitude, standard deviation of the logarithm."""
LEFT_HANDED = 0.1
"""Proportion of people who perform every action mirrored."""
DISTRACTIONS = 2
"""Highest number of unrelated movements per clip."""
DISTRACTION_SIZE = 0.15
"""Amplitude of an unrelated movement, as a part of the range of the joint."""
DRIFT = 0.05
"""Displacement on the floor during a clip, metres."""
TURN = 0.1
"""Change of heading during a clip, radians."""
SHARED_PACE = 0.8
"""Cycles per second of a class that repeats the movement that the class before it makes once."""
ONCE = (1.2, 2.0)
"""Duration of one movement of an average person, seconds, for actions that do not repeat."""
REPEATED = (0.5, 0.9)
"""Duration of an action that repeats a movement, as a part of the clip."""
HOLD = (0.3, 1.0)
"""Time that a person holds the pose of an action before returning, seconds."""
DISTRACTION_SECONDS = (0.6, 1.5)
"""Duration of an unrelated movement, seconds."""
RISE = 0.6
"""Time from the neutral posture to that of the action, and back, seconds."""


def _neutral() -> NDArray[np.float64]:
    """Return (D,) the angles of a person who stands and waits."""
    angles = np.zeros(len(ANGLES))
    for side in ("left", "right"):
        angles[LIMBS[f"{side}_arm"]] = 0.1, 0.1, 0.0, 0.2, 0.0
        angles[LIMBS[f"{side}_leg"]] = 0.05, 0.05, 0.05
    return angles


NEUTRAL = _neutral()


@cache
def realistic_roles(action: int) -> tuple[Role, ...]:
    """Return the roles of an action; every third class with one person has the poses of the class before it."""
    one_person = [number for number in range(1, 121) if number not in TWO_PERSON]
    if action in TWO_PERSON or one_person.index(action) % 3 != 2:
        return tuple(replace(role, time="return") if role.time == "ramp" else role for role in roles(action))
    (model,) = roles(one_person[one_person.index(action) - 1])
    repeats = model.time == "cycle"
    return (replace(model, time="stroke" if repeats else "cycle", pace=1.0 if repeats else SHARED_PACE),)


@dataclass(frozen=True, kw_only=True, slots=True)
class RealisticPerson:
    """A performer with a style of their own."""

    body: Person
    """Bones, habit, tempo and vigour."""
    style: NDArray[np.float64]
    """(D,) factors on the amplitude of each angle."""
    delay: NDArray[np.float64]
    """(D,) additional phase of each angle, cycles."""
    left_handed: bool


def draw_realistic_person(rng: np.random.Generator) -> RealisticPerson:
    """Draw a person; the build is distributed as in `draw_person`."""
    size = len(ANGLES)
    body = replace(
        draw_person(rng),
        habit=HABIT * rng.standard_normal(size),
        tempo=float(np.exp(TEMPO * rng.standard_normal())),
        vigour=float(np.exp(VIGOUR * rng.standard_normal())),
    )
    return RealisticPerson(
        body=body,
        style=np.exp(STYLE * rng.standard_normal(size)),
        delay=DELAY * rng.standard_normal(size),
        left_handed=bool(rng.random() < LEFT_HANDED),
    )


def draw_length(rng: np.random.Generator) -> int:
    """Draw the number of frames of a clip."""
    return int(rng.integers(LENGTHS[0], LENGTHS[1] + 1))


def perform_realistically(
    role: Role, person: RealisticPerson, frames: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Create one performance of a role; arguments and result are those of `motion.perform`."""
    seconds = np.arange(frames) / FPS
    if person.left_handed:
        role = mirrored(role)
    tempo = person.body.tempo * float(np.exp(0.5 * TEMPO * rng.standard_normal()))
    vigour = person.body.vigour * float(np.exp(0.5 * VIGOUR * rng.standard_normal()))
    active, wave = _time_course(role, person.delay, tempo, seconds, rng)
    size = len(ANGLES)
    action = active * (role.posture - NEUTRAL + vigour * role.swing * person.style * wave)
    angles = NEUTRAL + person.body.habit + STANCE * rng.standard_normal(size) + action
    angles = angles + SWAY * np.sin(2 * np.pi * (0.3 * seconds[:, None] + rng.random(size)))
    angles = angles + _distractions(role, seconds, rng)
    xyz = positions(angles, person.body.bones)
    hop = role.hop * active[:, 0] * np.abs(np.sin(np.pi * role.pace * tempo * seconds))
    side, forward = DRIFT * rng.standard_normal(2)
    ramp = np.linspace(0.0, 1.0, frames)
    xyz = stand_on_floor(xyz, aside=side * ramp, ahead=(role.travel + forward) * ramp, hop=hop)
    return _turn(xyz, TURN * rng.standard_normal() * _smooth(ramp))


def mirrored(role: Role) -> Role:
    """Exchange left and right in a role."""
    order = np.arange(len(ANGLES))
    for limb in ("arm", "leg"):
        order[LIMBS[f"left_{limb}"]], order[LIMBS[f"right_{limb}"]] = (
            np.arange(len(ANGLES))[LIMBS[f"right_{limb}"]],
            np.arange(len(ANGLES))[LIMBS[f"left_{limb}"]],
        )
    # The trunk's twist and sideways bend point to the other side; the limbs' angles are outward on both sides.
    sign = np.ones(len(ANGLES))
    sign[[number for number, (joint, axis, *_) in enumerate(ANGLES[LIMBS["trunk"]]) if axis > 0]] = -1
    return replace(role, posture=role.posture[order] * sign, swing=role.swing[order] * sign, lag=role.lag[order])


def _time_course(
    role: Role, delay: NDArray[np.float64], tempo: float, seconds: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (T, 1) how far the person has left the neutral posture, and (T, D) the phase of the swing; both 0 to 1."""
    lag = role.lag + delay
    clip = seconds[-1]
    once = rng.uniform(*ONCE) / tempo
    if role.time == "cycle":
        length = clip * rng.uniform(*REPEATED)
        turns = role.pace * tempo * seconds[:, None] + rng.random() - lag
        wave = 0.5 - 0.5 * np.cos(2 * np.pi * turns)
        start = rng.uniform(0.0, clip - length)
    else:
        repeats = role.pace if role.time == "stroke" else 1.0
        hold = rng.uniform(*HOLD) if role.time == "return" else 0.0
        length = min(once * repeats + hold, clip - RISE)
        start = rng.uniform(0.0, clip - length)
        passed = (seconds - start)[:, None] / once - 0.3 * lag
        if role.time == "stroke":
            wave = np.sin(np.pi * np.clip(passed, 0.0, repeats)) ** 2
        else:
            wave = _smooth(2 * passed) * _smooth(2 * (1.0 + hold / once - passed))
    active = _smooth((seconds - start) / RISE + 0.5) * _smooth((start + length - seconds) / RISE + 0.5)
    return active[:, None], wave


def _distractions(role: Role, seconds: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return (T, D) angles of short movements of limbs that are at rest in the action."""
    angles = np.zeros((len(seconds), len(ANGLES)))
    resting = [
        limb
        for limb, part in LIMBS.items()
        if limb in ("trunk", "left_arm", "right_arm") and not role.swing[part].any()
    ]
    for _ in range(int(rng.integers(0, DISTRACTIONS + 1))):
        limb = LIMBS[str(rng.choice(resting or ["trunk"]))]
        length = rng.uniform(*DISTRACTION_SECONDS)
        start = rng.uniform(0.0, seconds[-1] - length)
        bump = np.sin(np.pi * np.clip((seconds - start) / length, 0.0, 1.0)) ** 2
        size = DISTRACTION_SIZE * (HIGH - LOW)[limb] * rng.uniform(-0.3, 1.0, limb.stop - limb.start)
        angles[:, limb] += bump[:, None] * size
    return angles


def _turn(xyz: NDArray[np.float64], heading: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotate (T, V, 3) positions about the vertical axis by (T,) radians."""
    c, s = np.cos(heading)[:, None], np.sin(heading)[:, None]
    x, y, z = np.moveaxis(xyz, -1, 0)
    return np.stack([c * x + s * z, y, c * z - s * x], axis=-1)


def _smooth(progress: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a smooth step from 0 to 1 while `progress` goes from 0 to 1."""
    clipped = np.clip(progress, 0.0, 1.0)
    result: NDArray[np.float64] = clipped**2 * (3 - 2 * clipped)
    return result
