"""Create the motion of synthetic people: joint positions from class, person and clip, without cameras or errors.

A person has a body size, limb proportions, a posture, a tempo and a vigour. Classes are easy to distinguish, which
suits tests; `realistic` makes them hard. The axes are those of a camera that the person faces: x to the person's right,
y up, z backward; units are metres, radians and seconds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.skeleton.layout import KINECT_V2
from pipeline.synth.body import ANGLES, BONES, FEET, PELVIS, REST, positions
from pipeline.synth.roles import Role

FPS = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """The body and style of one performer."""

    bones: NDArray[np.float64]
    """(V, 3) bones in the rest pose, metres."""
    habit: NDArray[np.float64]
    """(D,) differences of this person's posture from that of the class."""
    tempo: float
    vigour: float
    """Factors on pace and swing."""


def draw_person(rng: np.random.Generator) -> Person:
    """Draw a person: height within 10 % of 1.70 m, limbs within 4 %, tempo and vigour within about 30 %."""
    height = 1.0 + 0.1 * rng.uniform(-1, 1)
    limbs = 1.0 + 0.04 * rng.uniform(-1, 1, len(REST))
    scale_of_joint = dict(zip(REST, limbs, strict=True))
    names = [joint.replace("left_", "right_") for joint in KINECT_V2.joints]
    proportions = np.array([scale_of_joint.get(joint, 1.0) for joint in names])
    return Person(
        bones=BONES * (height * proportions)[:, None],
        habit=0.06 * rng.standard_normal(len(ANGLES)),
        tempo=float(np.exp(0.12 * rng.standard_normal())),
        vigour=float(np.exp(0.15 * rng.standard_normal())),
    )


def perform(role: Role, person: Person, frames: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Create one performance of a role by a person.

    Args:
        role: the motion.
        person: the performer.
        frames: length of the clip at 30 frames per second.
        rng: determines the variation between performances: start, tempo, reach, posture, sway.

    Returns:
        (T, V, 3) metres in body axes; the floor is y = 0, the pelvis starts above the origin.
    """
    seconds = np.arange(frames)[:, None] / FPS
    tempo = person.tempo * rng.uniform(0.93, 1.07)
    if role.time == "cycle":
        turns = role.pace * tempo * seconds + rng.random() - role.lag
        wave = 0.5 - 0.5 * np.cos(2 * np.pi * turns)
    else:
        # A motion that happens once fills 55 to 85 % of the clip, with time before and after it.
        length = min(0.85, rng.uniform(0.55, 0.75) / tempo)
        start = rng.uniform(0.03, 0.97 - length)
        progress = np.clip((seconds * FPS / frames - start) / length, 0.0, 1.0)
        turns = np.clip(1.3 * progress - 0.3 * role.lag, 0.0, 1.0)
        wave = np.sin(np.pi * role.pace * turns) ** 2 if role.time == "stroke" else turns**2 * (3 - 2 * turns)
    reach = person.vigour * rng.uniform(0.88, 1.12)
    sway = 0.03 * np.sin(2 * np.pi * (0.3 * seconds + rng.random(len(ANGLES))))
    stance = role.posture + person.habit + 0.05 * rng.standard_normal(len(ANGLES))
    xyz = positions(stance + reach * role.swing * wave + sway, person.bones)
    hop = role.hop * np.abs(np.sin(np.pi * turns[:, 0])) if role.hop else 0.0
    ahead = role.travel * np.linspace(0.0, 1.0, frames)
    aside = -0.01 * np.sin(2 * np.pi * 0.4 * seconds[:, 0])
    return stand_on_floor(xyz, aside=aside, ahead=ahead, hop=hop)


def stand_on_floor(
    xyz: NDArray[np.float64],
    *,
    aside: NDArray[np.float64],
    ahead: NDArray[np.float64],
    hop: NDArray[np.float64] | float,
) -> NDArray[np.float64]:
    """Move a body so that its lowest foot is on the floor and its pelvis follows a path.

    Args:
        xyz: (T, V, 3) metres.
        aside: (T,) position of the pelvis to the right, metres.
        ahead: (T,) position of the pelvis forward, metres.
        hop: height of the lowest foot above the floor, metres; (T,) or one value.

    Returns:
        (T, V, 3) metres; the floor is y = 0.
    """
    offset = xyz[:, PELVIS].copy()
    offset[:, 0] -= aside
    offset[:, 1] = xyz[:, FEET, 1].min(axis=1) - hop
    offset[:, 2] += ahead
    return xyz - offset[:, None]
