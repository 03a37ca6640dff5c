"""Create the motion of synthetic people: joint positions from class, person and clip, without cameras or errors.

Joint angles rotate the bones of `KINECT_V2` relative to a standing rest pose. A class is one role, or two for classes
with two people: which limbs move, how far, how fast, in which order and from which posture. All of this is drawn from
the class number only, so sets with different seeds agree on a class. The motion does not depict the class's name. A
person has a body size, limb proportions, a posture, a tempo and a vigour. The axes are those of a camera that the
person faces: x to the person's right, y up, z backward; units are metres, radians and seconds.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.skeleton.layout import KINECT_V2
from pipeline.sources.ntu.names import TWO_PERSON

FPS = 30.0

# Joint, and the bone from its parent in the rest pose of a person of 1.70 m, metres; left is mirrored from right.
# Proportions of segments: Winter 2009 (Biomechanics and Motor Control), table 4.1, rounded to the sensor's precision.
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

# The joint at the far end of a rotating bone; axis (0 pitch, 1 twist, 2 sideways); sign that makes the natural
# direction positive (forward, outward, bend); lowest and highest angle. Nobody lies down or spreads both arms.
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
    """Return the joints, parents before their children."""
    order = [_ROOT]
    for joint in order:
        order += [child for child, parent in enumerate(KINECT_V2.parents) if parent == joint]
    return order


def _rest_bones() -> NDArray[np.float64]:
    """Return (V, 3) the bone of each joint from its parent in the rest pose; zero for the root."""
    bones = np.zeros((len(KINECT_V2.joints), 3))
    for joint, bone in _REST.items():
        bones[KINECT_V2.index(joint)] = bone
        if joint.startswith("right_"):
            bones[KINECT_V2.index(joint.replace("right_", "left_"))] = np.multiply(bone, (-1, 1, 1))
    return bones


_ORDER = _from_root()
_BONES = _rest_bones()

# The main motion of a class; "both" arms move together, "in_turn" they alternate.
_MAIN = ("right_arm", "both_arms", "squat", "left_arm", "arms_in_turn", "right_leg", "bow", "steps")
_TIME = ("cycle", "stroke", "ramp")


@dataclass(frozen=True, kw_only=True, slots=True)
class Role:
    """The motion of one actor of a class; arrays are (D,), one entry per angle."""

    posture: NDArray[np.float64]
    """Angles at the start of the motion."""
    swing: NDArray[np.float64]
    """Amplitude of each angle; 0 for a limb at rest."""
    lag: NDArray[np.float64]
    """Phase of each angle in cycles."""
    time: str
    """`cycle` repeats, `stroke` moves forth and back once or twice, `ramp` moves and stays."""
    pace: float
    """Cycles per second, or strokes per clip."""
    hop: float
    """Height of a hop per cycle, metres; mostly 0."""
    travel: float
    """Metres walked forward in the clip; negative is backward."""


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


@cache
def roles(action: int) -> tuple[Role, ...]:
    """Return the roles of an action: one, or two for an action with two people."""
    rng = np.random.default_rng([0x5EED, action])
    main = action + 3 if action in TWO_PERSON else action  # first classes of both kinds: different limbs
    return tuple(_draw_role(main + 3 * actor, rng) for actor in range(2 if action in TWO_PERSON else 1))


def gap(action: int) -> float:
    """Return the distance between the two actors at the start of an action, metres."""
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
        angles = _LIMBS[limb]
        count = angles.stop - angles.start
        span = (_HIGH - _LOW)[angles]
        posture[angles] = _LOW[angles] + span * rng.uniform(0.1, 0.45, count)
        swing[angles] = (
            (_HIGH - _LOW)[angles] * reach * rng.uniform(0.2, 1.0, count) * rng.choice([-0.4, 1.0, 1.0], count)
        )
        lag[angles] = rng.uniform(0.0, 0.35, count)

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
    """Draw a person: height within 10 % of 1.70 m, limbs within 4 %, tempo and vigour within about 30 %."""
    height = 1.0 + 0.1 * rng.uniform(-1, 1)
    limbs = 1.0 + 0.04 * rng.uniform(-1, 1, len(_REST))
    scale_of_joint = dict(zip(_REST, limbs, strict=True))
    names = [joint.replace("left_", "right_") for joint in KINECT_V2.joints]
    proportions = np.array([scale_of_joint.get(joint, 1.0) for joint in names])
    return Person(
        bones=_BONES * (height * proportions)[:, None],
        habit=0.06 * rng.standard_normal(len(_ANGLES)),
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
    sway = 0.03 * np.sin(2 * np.pi * (0.3 * seconds + rng.random(len(_ANGLES))))
    stance = role.posture + person.habit + 0.05 * rng.standard_normal(len(_ANGLES))
    angles = np.clip(stance + reach * role.swing * wave + sway, _LOW, _HIGH) * _SIGN
    xyz = _forward_kinematics(angles, person.bones)
    hop = role.hop * np.abs(np.sin(np.pi * turns[:, 0])) if role.hop else 0.0
    ahead = role.travel * np.linspace(0.0, 1.0, frames)
    offset = xyz[:, _PELVIS].copy()
    offset[:, 0] += 0.01 * np.sin(2 * np.pi * 0.4 * seconds[:, 0])
    offset[:, 1] = xyz[:, _FEET, 1].min(axis=1) - hop
    offset[:, 2] += ahead
    return xyz - offset[:, None]


def _forward_kinematics(angles: NDArray[np.float64], bones: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute positions from angles, (T, D) to (T, V, 3); the pelvis stays upright, independent of the trunk."""
    turns = np.zeros((len(KINECT_V2.joints), 3, len(angles)))
    turns[_JOINT, _AXIS] = angles.T
    upright = np.broadcast_to(np.eye(3), (len(angles), 3, 3))
    rotations = {-1: upright}
    xyz = np.zeros((len(KINECT_V2.joints), len(angles), 3))
    for joint in _ORDER:
        parent = KINECT_V2.parents[joint]
        rotations[joint] = rotations[parent]
        if joint == _PELVIS:
            rotations[joint] = upright
        elif joint in _SWINGS:
            rotations[joint] = rotations[parent] @ _rotation(*turns[joint])
        if parent >= 0:
            xyz[joint] = xyz[parent] + rotations[joint] @ bones[joint]
    return xyz.swapaxes(0, 1)


def _rotation(pitch: NDArray[np.float64], twist: NDArray[np.float64], side: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rotations about y, then z, then x (bones point along y in the rest pose); (T,) each to (T, 3, 3)."""
    cx, sx, cy, sy, cz, sz = np.cos(pitch), np.sin(pitch), np.cos(twist), np.sin(twist), np.cos(side), np.sin(side)
    rows = [
        [cz * cy, -sz, cz * sy],
        [cx * sz * cy + sx * sy, cx * cz, cx * sz * sy - sx * cy],
        [sx * sz * cy - cx * sy, sx * cz, sx * sz * sy + cx * cy],
    ]
    return np.moveaxis(np.array(rows), -1, 0)
