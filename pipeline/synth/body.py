"""The body of synthetic people: bones, joint angles with their limits, and positions from angles.

Joint angles rotate the bones of `KINECT_V2` relative to a standing rest pose. The axes are those of a camera that the
person faces: x to the person's right, y up, z backward; units are metres and radians.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.skeleton.layout import KINECT_V2

# Joint, and the bone from its parent in the rest pose of a person of 1.70 m, metres; left is mirrored from right.
# Proportions of segments: Winter 2009 (Biomechanics and Motor Control), table 4.1, rounded to the sensor's precision.
REST = {
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


ANGLES = [
    *_TRUNK, *_mirrored("left", _ARM), *_mirrored("right", _ARM), *_mirrored("left", _LEG), *_mirrored("right", _LEG)
]  # fmt: skip
_JOINT = np.array([KINECT_V2.index(joint) for joint, *_ in ANGLES])
_AXIS = np.array([axis for _, axis, *_ in ANGLES])
_SIGN = np.array([sign for _, _, sign, *_ in ANGLES], float)
LOW = np.array([low for *_, low, _ in ANGLES])
HIGH = np.array([high for *_, high in ANGLES])
LIMBS = {
    "trunk": slice(0, 5),
    "left_arm": slice(5, 10),
    "right_arm": slice(10, 15),
    "left_leg": slice(15, 18),
    "right_leg": slice(18, 21),
}

_ROOT = KINECT_V2.parents.index(-1)
_SWINGS = frozenset(_JOINT.tolist())
PELVIS = KINECT_V2.index("spine_base")
FEET = [KINECT_V2.index(joint) for joint in ("left_ankle", "right_ankle", "left_foot", "right_foot")]


def _from_root() -> list[int]:
    """Return the joints, parents before their children."""
    order = [_ROOT]
    for joint in order:
        order += [child for child, parent in enumerate(KINECT_V2.parents) if parent == joint]
    return order


def _rest_bones() -> NDArray[np.float64]:
    """Return (V, 3) the bone of each joint from its parent in the rest pose; zero for the root."""
    bones = np.zeros((len(KINECT_V2.joints), 3))
    for joint, bone in REST.items():
        bones[KINECT_V2.index(joint)] = bone
        if joint.startswith("right_"):
            bones[KINECT_V2.index(joint.replace("right_", "left_"))] = np.multiply(bone, (-1, 1, 1))
    return bones


_ORDER = _from_root()
BONES = _rest_bones()


def positions(angles: NDArray[np.float64], bones: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute joint positions from angles.

    Args:
        angles: (T, D) radians in the natural direction; values beyond a joint's limits are clipped.
        bones: (V, 3) bones in the rest pose, metres.

    Returns:
        (T, V, 3) metres relative to the root joint; the pelvis stays upright, independent of the trunk.
    """
    angles = np.clip(angles, LOW, HIGH) * _SIGN
    turns = np.zeros((len(KINECT_V2.joints), 3, len(angles)))
    turns[_JOINT, _AXIS] = angles.T
    upright = np.broadcast_to(np.eye(3), (len(angles), 3, 3))
    rotations = {-1: upright}
    xyz = np.zeros((len(KINECT_V2.joints), len(angles), 3))
    for joint in _ORDER:
        parent = KINECT_V2.parents[joint]
        rotations[joint] = rotations[parent]
        if joint == PELVIS:
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
