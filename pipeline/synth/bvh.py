"""Write a synthetic body as BVH motion capture: a joint tree with offsets in centimetres, and angles per frame."""

import numpy as np
from numpy.typing import NDArray

from pipeline.skeleton.layout import KINECT_V2

# Joint, its parent, and the corresponding joint of the synthetic bodies; parents first.
TREE = (
    ("Hips", "", "spine_base"),
    ("Spine", "Hips", "spine_mid"),
    ("Chest", "Spine", "spine_shoulder"),
    ("Neck", "Chest", "neck"),
    ("Head", "Neck", "head"),
    *(
        row
        for side in ("Left", "Right")
        for row in (
            (f"{side}Arm", "Chest", f"{side.lower()}_shoulder"),
            (f"{side}ForeArm", f"{side}Arm", f"{side.lower()}_elbow"),
            (f"{side}Hand", f"{side}ForeArm", f"{side.lower()}_wrist"),
        )
    ),
    *(
        row
        for side in ("Left", "Right")
        for row in (
            (f"{side}UpLeg", "Hips", f"{side.lower()}_hip"),
            (f"{side}Leg", f"{side}UpLeg", f"{side.lower()}_knee"),
            (f"{side}Foot", f"{side}Leg", f"{side.lower()}_ankle"),
        )
    ),
)
END_SITES = {"Head": (0.0, 0.1, 0.0), "LeftHand": (0.0, -0.1, 0.0), "RightHand": (0.0, -0.1, 0.0),
        "LeftFoot": (0.0, -0.06, -0.1), "RightFoot": (0.0, -0.06, -0.1)}  # fmt: skip
"""End sites: offsets from their joint in the rest pose, metres."""
FRAME_SECONDS = 1 / 30

Xyz = NDArray[np.float64]


def bvh_text(xyz: Xyz) -> str:
    """Return the BVH text of a body (T, 25, 3) in metres, x to the camera's left, y up; bones get mean lengths."""
    names = [name for name, _, _ in TREE]
    parents = [names.index(parent) if parent else -1 for _, parent, _ in TREE]
    points = xyz[:, [KINECT_V2.index(joint) for _, _, joint in TREE]]
    bones = np.stack([points[:, at] - points[:, max(parent, 0)] for at, parent in enumerate(parents)], axis=1)
    lengths = np.linalg.norm(bones, axis=2).mean(axis=0)
    upward = {"Spine", "Chest", "Neck", "Head"}
    offsets = np.array([(0.0, lengths[at] if name in upward else -lengths[at], 0.0) for at, name in enumerate(names)])
    for name, sign in (("LeftArm", -1), ("RightArm", 1), ("LeftUpLeg", -1), ("RightUpLeg", 1)):
        offsets[names.index(name)] = (sign * lengths[names.index(name)], 0.0, 0.0)
    children = [[at for at, parent in enumerate(parents) if parent == joint] for joint in range(len(names))]
    angles = np.zeros((len(xyz), len(names), 3))
    world: list[Xyz] = []
    for at, parent in enumerate(parents):
        parent_turn = np.broadcast_to(np.eye(3), (len(xyz), 3, 3)) if parent < 0 else world[parent]
        turn = np.broadcast_to(np.eye(3), (len(xyz), 3, 3))
        if len(children[at]) == 1:
            child = children[at][0]
            turn = _rotations_between(offsets[child], np.einsum("tji,tj->ti", parent_turn, bones[:, child]))
        elif children[at]:  # hips and chest: oriented by their left and right children
            left, right = (names.index(f"{side}{'UpLeg' if at == 0 else 'Arm'}") for side in ("Left", "Right"))
            across = points[:, right] - points[:, left]
            turn = _rotations_between(np.array([1.0, 0.0, 0.0]), np.einsum("tji,tj->ti", parent_turn, across))
        angles[:, at] = _zxy_angles(turn)
        world.append(parent_turn @ turn)
    return _format_bvh(names, parents, offsets, points[:, 0], angles)


def _rotations_between(a: Xyz, b: Xyz) -> Xyz:
    """Return (T, 3, 3) the smallest rotations from one direction (3,) to others (T, 3)."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b, axis=1, keepdims=True)
    axis, cosine = np.cross(a, b), np.clip(b @ a, -0.9999, 1)
    zero = np.zeros(len(b))
    x, y, z = axis.T
    skew = np.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]]).transpose(2, 0, 1)
    turn: Xyz = np.eye(3) + skew + skew @ skew / (1 + cosine)[:, None, None]
    return turn


def _zxy_angles(turn: Xyz) -> Xyz:
    """Return (T, 3) angles in degrees about z, x and y, in this order, of rotations (T, 3, 3)."""
    x = np.arcsin(np.clip(turn[:, 2, 1], -1, 1))
    z = np.arctan2(-turn[:, 0, 1], turn[:, 1, 1])
    y = np.arctan2(-turn[:, 2, 0], turn[:, 2, 2])
    degrees: Xyz = np.rad2deg(np.stack([z, x, y], axis=1))
    return degrees


def _format_bvh(names: list[str], parents: list[int], offsets: Xyz, root: Xyz, angles: Xyz) -> str:
    lines = ["HIERARCHY"]
    order: list[int] = []

    def offset(values: Xyz, depth: int) -> None:
        lines.append("\t" * depth + "OFFSET " + " ".join(f"{100 * value:.4f}" for value in values))

    def write(at: int, depth: int) -> None:
        order.append(at)
        moves = "6 Xposition Yposition Zposition " if parents[at] < 0 else "3 "
        lines.append("\t" * depth + ("JOINT " if depth else "ROOT ") + names[at])
        lines.append("\t" * depth + "{")
        offset(np.zeros(3) if parents[at] < 0 else offsets[at], depth + 1)
        lines.append("\t" * (depth + 1) + f"CHANNELS {moves}Zrotation Xrotation Yrotation")
        for child in (child for child, parent in enumerate(parents) if parent == at):
            write(child, depth + 1)
        if names[at] in END_SITES:
            lines.append("\t" * (depth + 1) + "End Site")
            lines.append("\t" * (depth + 1) + "{")
            offset(np.array(END_SITES[names[at]]), depth + 2)
            lines.append("\t" * (depth + 1) + "}")
        lines.append("\t" * depth + "}")

    write(0, 0)
    lines += ["MOTION", f"Frames: {len(root)}", f"Frame Time: {FRAME_SECONDS:.7f}"]
    rows = np.concatenate([100 * root, angles[:, order].reshape(len(root), -1)], axis=1)
    lines += [" ".join(f"{value:.5f}" for value in row) for row in rows.tolist()]
    return "\n".join(lines) + "\n"
