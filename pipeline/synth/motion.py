"""Synthetic people that move: class, person and clip to joint positions. Nothing here knows files, cameras or dirt.

Angles swing the bones of `KINECT_V2` about a standing rest pose. A class is a role (or two, when it is between two
people): which limbs move, how far, how fast, in which order and from which posture, all drawn from the class number
alone, so that two sets of different seeds agree on what a class looks like. It does not depict the class's name. A
person brings body size, limb proportions, posture, tempo and vigour. Body axes are a camera's view of somebody who
faces it: x to the person's right, y up, z behind the back; metres, radians and seconds.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.skeleton.layout import KINECT_V2
from pipeline.sources.ntu.names import TWO_PERSON

FPS = 30.0

# Joint, then the bone from its parent at rest for a person of 1.70 m, metres; left is mirrored from right.
# Proportions of segments: Winter 2009 (Biomechanics and Motor Control), table 4.1, rounded to what the sensor reports.
_REST = {
    "spine_mid": (0.0, -0.21, 0.0),
    "spine_base": (0.0, -0.29, 0.0),
    "neck": (0.0, 0.08, 0.0),
    "head": (0.0, 0.17, -0.02),
    "right_shoulder": (0.17, -0.04, 0.0),
    "right_elbow": (0.0, -0.28, 0.0),
    "right_wrist": (0.0, -0.25, 0.0),
    "right_hand": (0.0, -0.07, 0.0),
    "right_thumb": (-0.03, -0.03, -0.04),
    "right_hand_tip": (0.03, -0.05, 0.04),
    "right_hip": (0.08, -0.03, 0.0),
    "right_knee": (0.0, -0.41, 0.0),
    "right_ankle": (0.0, -0.39, 0.0),
    "right_foot": (0.0, -0.06, -0.11),
}

# The joint at a swinging bone's far end, axis (0 pitch, 1 twist, 2 sideways), sign that makes a positive angle the
# natural one (raise forward, outward, bend), lowest and highest angle. Moderate: nobody lies down or spreads both arms.
_ARM = (
    ("elbow", 0, 1, -0.5, 2.5),
    ("elbow", 2, 1, 0.0, 0.8),
    ("elbow", 1, 1, -0.7, 0.7),
    ("wrist", 0, 1, 0.05, 2.2),
    ("hand", 0, 1, -0.6, 0.6),
)
_LEG = (
    ("knee", 0, 1, -0.3, 1.3),
    ("knee", 2, 1, 0.0, 0.4),
    ("ankle", 0, -1, 0.0, 1.9),
)
_TRUNK = (
    ("spine_shoulder", 0, -1, -0.15, 0.8),
    ("spine_shoulder", 1, 1, -0.6, 0.6),
    ("spine_shoulder", 2, 1, -0.35, 0.35),
    ("neck", 0, -1, -0.3, 0.6),
    ("neck", 2, 1, -0.3, 0.3),
)


def _mirrored(
    side: str, table: tuple[tuple[str, int, int, float, float], ...]
) -> list[tuple[str, int, int, float, float]]:
    flip = -1 if side == "left" else 1
    return [
        (f"{side}_{joint}", axis, sign * (1 if axis == 0 else flip), low, high)
        for joint, axis, sign, low, high in table
    ]


_ANGLES = [
    *_TRUNK, *_mirrored("left", _ARM), *_mirrored("right", _ARM), *_mirrored("left", _LEG), *_mirrored("right", _LEG)
]  # fmt: skip
_JOINT = np.array([KINECT_V2.index(joint) for joint, *_ in _ANGLES])
_AXIS = np.array([axis for _, axis, *_ in _ANGLES])
_SIGN = np.array([sign for _, _, sign, *_ in _ANGLES], float)
_LOW = np.array([low for *_, low, _ in _ANGLES])
_HIGH = np.array([high for *_, high in _ANGLES])
_LIMBS = {
    "trunk": slice(0, 5),
    "left_arm": slice(5, 10),
    "right_arm": slice(10, 15),
    "left_leg": slice(15, 18),
    "right_leg": slice(18, 21),
}

_ROOT = KINECT_V2.parents.index(-1)
_SWINGS = frozenset(_JOINT.tolist())
_PELVIS = KINECT_V2.index("spine_base")
_FEET = [KINECT_V2.index(joint) for joint in ("left_ankle", "right_ankle", "left_foot", "right_foot")]


def _from_root() -> list[int]:
    """Joints in an order in which every parent comes before its children."""
    order = [_ROOT]
    for joint in order:
        order += [child for child, parent in enumerate(KINECT_V2.parents) if parent == joint]
    return order


def _rest_bones() -> NDArray[np.float64]:
    """(V, 3) each joint's bone from its parent at rest; zero for the root."""
    bones = np.zeros((len(KINECT_V2.joints), 3))
    for joint, bone in _REST.items():
        bones[KINECT_V2.index(joint)] = bone
        if joint.startswith("right_"):
            bones[KINECT_V2.index(joint.replace("right_", "left_"))] = np.multiply(bone, (-1, 1, 1))
    return bones


_ORDER = _from_root()
_BONES = _rest_bones()

# What a class moves first and what it may move besides; "both" arms go together, "turns" against each other.
_MAIN = ("right_arm", "both_arms", "squat", "left_arm", "arms_in_turn", "right_leg", "bow", "steps")
_TIME = ("cycle", "stroke", "ramp")


@dataclass(frozen=True, kw_only=True, slots=True)
class Role:
    """What one actor of a class does; arrays are (D,), one entry an angle."""

    posture: NDArray[np.float64]
    """Angles that the motion starts from."""
    swing: NDArray[np.float64]
    """How far each angle goes from there; 0 for a limb at rest."""
    lag: NDArray[np.float64]
    """Phase of each angle in cycles."""
    time: str
    """`cycle` repeats, `stroke` goes there and back once or twice, `ramp` goes there and stays."""
    pace: float
    """Cycles a second; strokes a clip."""
    hop: float
    """Height of a hop in metres, once every cycle; mostly 0."""
    travel: float
    """Metres walked forward over the clip; negative is backward."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """One performer's body and manner."""

    bones: NDArray[np.float64]
    """(V, 3) bones at rest, metres."""
    habit: NDArray[np.float64]
    """(D,) angles by which this person's posture differs from the class's."""
    tempo: float
    vigour: float
    """Factors on pace and swing."""


@cache
def roles(action: int) -> tuple[Role, ...]:
    """What the actors of an action do: one role, or two when it is between two people."""
    rng = np.random.default_rng([0x5EED, action])
    main = action + 3 if action in TWO_PERSON else action  # the first classes of either kind differ in their limbs
    return tuple(_draw_role(main + 3 * actor, rng) for actor in range(2 if action in TWO_PERSON else 1))


def gap(action: int) -> float:
    """Metres between the two actors of an action at its start."""
    return 0.7 + 0.1 * (action * 5 % 7)


def _draw_role(number: int, rng: np.random.Generator) -> Role:
    main = _MAIN[number % len(_MAIN)]
    time = _TIME[(number // 2) % len(_TIME)]
    size = len(_ANGLES)
    middle = (_LOW + _HIGH) / 2
    posture = 0.25 * middle * rng.random(size)
    posture[_LIMBS["left_leg"]] = posture[_LIMBS["right_leg"]] = 0.05
    swing, lag = np.zeros(size), np.zeros(size)

    def move(limb: str, reach: float) -> None:
        at = _LIMBS[limb]
        count = at.stop - at.start
        posture[at] = _LOW[at] + (_HIGH - _LOW)[at] * rng.uniform(0.1, 0.45, count)
        swing[at] = (_HIGH - _LOW)[at] * reach * rng.uniform(0.2, 1.0, count) * rng.choice([-0.4, 1.0, 1.0], count)
        lag[at] = rng.uniform(0.0, 0.35, count)

    if main in ("right_arm", "left_arm"):
        move(main, 0.5)
    elif main in ("both_arms", "arms_in_turn"):
        move("right_arm", 0.45)
        left, right = _LIMBS["left_arm"], _LIMBS["right_arm"]
        posture[left], swing[left] = posture[right], swing[right]
        lag[left] = lag[right] + (0.5 if main == "arms_in_turn" else 0.0)
    elif main == "bow":
        move("trunk", 0.5)
        swing[0] = rng.uniform(0.35, 0.7)
        move("right_arm", 0.3)
    elif main == "squat":
        depth = rng.uniform(0.6, 1.0)
        for leg in ("left_leg", "right_leg"):
            swing[_LIMBS[leg]] = depth, 0.0, 1.9 * depth
        swing[0] = 0.5 * depth
        move("left_arm", 0.3)
    else:
        legs = ("right_leg",) if main == "right_leg" else ("right_leg", "left_leg")
        lift, bend = rng.uniform(0.5, 1.0), rng.uniform(0.4, 1.2)
        for turn, leg in enumerate(legs):
            swing[_LIMBS[leg]] = lift, 0.2 * lift, bend
            lag[_LIMBS[leg]] = 0.5 * turn
        move("left_arm" if main == "right_leg" else "right_arm", 0.3)
    return Role(
        posture=posture,
        swing=swing,
        lag=lag,
        time=time,
        pace=rng.uniform(0.5, 1.6) if time == "cycle" else float(rng.integers(1, 3)),
        hop=rng.uniform(0.05, 0.2) if main == "steps" and rng.random() < 0.5 else 0.0,
        travel=rng.uniform(-0.4, 0.5) if main in ("steps", "right_leg") else 0.0,
    )


def draw_person(rng: np.random.Generator) -> Person:
    """A body and a manner: height within 10 % of 1.70 m, limbs within 4 %, tempo and vigour within about 30 %."""
    height = 1.0 + 0.1 * rng.uniform(-1, 1)
    limbs = 1.0 + 0.04 * rng.uniform(-1, 1, len(_REST))
    of_joint = dict(zip(_REST, limbs, strict=True))
    names = [joint.replace("left_", "right_") for joint in KINECT_V2.joints]
    proportions = np.array([of_joint.get(joint, 1.0) for joint in names])
    return Person(
        bones=_BONES * (height * proportions)[:, None],
        habit=0.06 * rng.standard_normal(len(_ANGLES)),
        tempo=float(np.exp(0.12 * rng.standard_normal())),
        vigour=float(np.exp(0.15 * rng.standard_normal())),
    )


def perform(role: Role, person: Person, frames: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """One performance, never twice the same.

    Args:
        role: what to do.
        person: who does it.
        frames: length of the clip at 30 frames a second.
        rng: what differs from one performance to the next: when it starts, tempo, reach, posture, sway.

    Returns:
        (T, V, 3) metres in body axes; the floor is y = 0, the pelvis starts over the origin.
    """
    seconds = np.arange(frames)[:, None] / FPS
    tempo = person.tempo * rng.uniform(0.93, 1.07)
    if role.time == "cycle":
        turns = role.pace * tempo * seconds + rng.random() - role.lag
        wave = 0.5 - 0.5 * np.cos(2 * np.pi * turns)
    else:
        # What happens once needs room before and after it: it fills 55 to 85 % of the clip.
        length = min(0.85, rng.uniform(0.55, 0.75) / tempo)
        start = rng.uniform(0.03, 0.97 - length)
        share = np.clip((seconds * FPS / frames - start) / length, 0.0, 1.0)
        turns = np.clip(1.3 * share - 0.3 * role.lag, 0.0, 1.0)
        wave = np.sin(np.pi * role.pace * turns) ** 2 if role.time == "stroke" else turns**2 * (3 - 2 * turns)
    reach = person.vigour * rng.uniform(0.88, 1.12)
    sway = 0.03 * np.sin(2 * np.pi * (0.3 * seconds + rng.random(len(_ANGLES))))
    stance = role.posture + person.habit + 0.05 * rng.standard_normal(len(_ANGLES))
    angles = np.clip(stance + reach * role.swing * wave + sway, _LOW, _HIGH) * _SIGN
    xyz = _hang(angles, person.bones)
    hop = role.hop * np.abs(np.sin(np.pi * turns[:, 0])) if role.hop else 0.0
    ahead = role.travel * np.linspace(0.0, 1.0, frames)
    place = xyz[:, _PELVIS].copy()
    place[:, 0] += 0.01 * np.sin(2 * np.pi * 0.4 * seconds[:, 0])
    place[:, 1] = xyz[:, _FEET, 1].min(axis=1) - hop
    place[:, 2] += ahead
    return xyz - place[:, None]


def _hang(angles: NDArray[np.float64], bones: NDArray[np.float64]) -> NDArray[np.float64]:
    """Forward kinematics, (T, D) to (T, V, 3); the pelvis stays upright whatever the trunk does."""
    turns = np.zeros((len(KINECT_V2.joints), 3, len(angles)))
    turns[_JOINT, _AXIS] = angles.T
    upright = np.broadcast_to(np.eye(3), (len(angles), 3, 3))
    spun = {-1: upright}
    xyz = np.zeros((len(KINECT_V2.joints), len(angles), 3))
    for joint in _ORDER:
        parent = KINECT_V2.parents[joint]
        spun[joint] = spun[parent]
        if joint == _PELVIS:
            spun[joint] = upright
        elif joint in _SWINGS:
            spun[joint] = spun[parent] @ _rotation(*turns[joint])
        if parent >= 0:
            xyz[joint] = xyz[parent] + spun[joint] @ bones[joint]
    return xyz.swapaxes(0, 1)


def _rotation(pitch: NDArray[np.float64], twist: NDArray[np.float64], side: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation about x after one about z after one about y (a bone hangs along y); (T,) each to (T, 3, 3)."""
    cx, sx, cy, sy, cz, sz = np.cos(pitch), np.sin(pitch), np.cos(twist), np.sin(twist), np.cos(side), np.sin(side)
    rows = [
        [cz * cy, -sz, cz * sy],
        [cx * sz * cy + sx * sy, cx * cz, cx * sz * sy - sx * cy],
        [sx * sz * cy - cx * sy, sx * cz, sx * sz * sy + cx * cy],
    ]
    return np.moveaxis(np.array(rows), -1, 0)
