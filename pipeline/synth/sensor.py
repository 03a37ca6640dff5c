"""Simulate a Kinect v2: its position, its measurement errors, and the `.skeleton` text that it writes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.skeleton.layout import KINECT_V2
from pipeline.sources.ntu.names import NtuName
from pipeline.synth.text_kernels import ROW_BYTES, write_joint_rows

# Nominal intrinsics of a Kinect v2, pixels: focal length, then the image centre (512x424 depth, 1920x1080 colour).
_DEPTH = (366.0, 256.0, 212.0)
_COLOUR = (1055.0, 960.0, 540.0)

_BODY_ID = 2**56
"""Real ids are slightly larger, such as 72057594037931101."""

_ENDS = [
    KINECT_V2.index(joint)
    for joint in ("head", "left_foot", "right_foot", "left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb")
]
"""Leaf joints of the sensor's own tree (the thumb is attached to the wrist there): they have no orientation."""

_PARENTS = np.array([parent if parent >= 0 else joint for joint, parent in enumerate(KINECT_V2.parents)])
_NOISE_FACTOR = np.array(
    [2.0 if name.split("_", 1)[-1] in ("hand", "hand_tip", "thumb", "foot") else 1.0 for name in KINECT_V2.joints]
)
"""Factor on the tracking noise of each joint."""


@dataclass(kw_only=True, slots=True)
class SensorBody:
    """One body as reported by the sensor."""

    body: NDArray[np.int64]
    """(T,) its id, which can change."""
    present: NDArray[np.bool_]
    """(T,) whether it is in the frame."""
    xyz: NDArray[np.float64]
    """(T, V, 3) metres in sensor coordinates; finite even where the body is not present."""
    tracking: NDArray[np.int8]
    """(T, V) 1 inferred, 2 tracked."""


def rotate_about_vertical(xyz: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """Rotate positions about the vertical axis."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])
    result: NDArray[np.float64] = xyz @ turn
    return result


def project(
    actors: list[NDArray[np.float64]], gap: float, name: NtuName, rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    """Transform actors to the coordinates of one of the three NTU cameras, at -45, 0 and 45 degrees.

    Each setup has one height and distance. In replication 1 the actors face camera 2, in replication 2 camera 3; camera
    1 thus always sees them at 45 degrees, the others from the front and the side. Two actors face each other.

    Args:
        actors: (T, V, 3) each in body axes, feet on the floor.
        gap: metres between two actors.
        name: contains setup, camera and replication.
        rng: determines the exact position and orientation of the actors.

    Returns:
        The actors in sensor coordinates.
    """
    facing = {1: 45.0, 2: -45.0}[name.replication] - {1: 0.0, 2: 45.0, 3: -45.0}[name.camera] + rng.normal(0.0, 6.0)
    # Golden-ratio steps spread the setups' heights and distances evenly over 0.8..1.4 m and 2.7..4.1 m.
    height = 0.8 + 0.6 * (name.setup * 0.381966 % 1.0)
    distance = 2.7 + 1.4 * (name.setup * 0.618034 % 1.0)
    spot = np.array([rng.uniform(-0.3, 0.3), 0.0, rng.uniform(-0.2, 0.2)])
    projected = []
    for number, actor in enumerate(actors):
        # A person facing the camera looks along -z; the other person stands in that direction and looks back.
        apart = np.array([0.0, 0.0, gap * (number - 0.5)]) if len(actors) > 1 else np.zeros(3)
        placed = rotate_about_vertical(rotate_about_vertical(actor, 180.0 * number) - apart, facing) + spot
        projected.append(from_camera(placed, height, distance))
    return projected


def from_camera(xyz: NDArray[np.float64], height: float, distance: float) -> NDArray[np.float64]:
    """Transform positions, (..., 3) metres around a point on the floor, to a camera that points at waist height.

    Args:
        xyz: the positions; the camera looks along +z.
        height: height of the camera above the floor, metres.
        distance: horizontal distance of the camera from the point, metres.
    """
    tilt = np.arctan2(height - 0.9, distance)
    c, s = np.cos(tilt), np.sin(tilt)
    placed = xyz + np.array([0.0, -height, distance])
    transformed: NDArray[np.float64] = placed @ np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
    return transformed


def sense(bodies: list[NDArray[np.float64]], rng: np.random.Generator, *, smoothed: bool = False) -> list[SensorBody]:
    """Add the errors of a Kinect, none of which makes the recording unusable.

    Every clip has jitter and inferred joints (more on the far side of a body). Some clips have empty frames at the
    start (8 %) or in the middle (8 %), a person whose id changes (5 %), a false detection of 3 to 9 frames as wide as
    furniture (6 %), a joint that jumps for one frame (4 %), or a second person who is lost for a moment (10 % of the
    clips with two people).

    Args:
        bodies: (T, V, 3) each, metres in sensor coordinates.
        rng: random generator.
        smoothed: see `track`.

    Returns:
        The bodies in the order of the file, each present in at least 45 frames except for a false detection.
    """
    frames = len(bodies[0])
    ids = (_BODY_ID + 1 + rng.choice(99_999, size=4, replace=False)).astype(np.int64)
    sightings = [track(xyz, ids[number], rng, smoothed=smoothed) for number, xyz in enumerate(bodies)]
    empty = np.zeros(frames, bool)
    if rng.random() < 0.08:
        empty[: rng.integers(1, 7)] = True
    if rng.random() < 0.08:
        start = rng.integers(10, frames - 10)
        empty[start : start + rng.integers(1, 4)] = True
    if len(bodies) > 1 and rng.random() < 0.10:
        start = rng.integers(10, frames - 10)
        sightings[1].present[start : start + rng.integers(2, 7)] = False
    if rng.random() < 0.05:
        who = sightings[rng.integers(len(sightings))]
        who.body[rng.integers(frames // 3, 2 * frames // 3) :] = ids[2]
    if rng.random() < 0.04:
        who = sightings[rng.integers(len(sightings))]
        who.xyz[rng.integers(frames), rng.integers(len(KINECT_V2.joints))] += 0.4 * _direction(rng)
    if rng.random() < 0.06:
        sightings.insert(rng.integers(len(sightings) + 1), _ghost(bodies[0], ids[3], rng))
    for sighting in sightings:
        sighting.present &= ~empty
    return sightings


def track(xyz: NDArray[np.float64], body: np.int64, rng: np.random.Generator, *, smoothed: bool = False) -> SensorBody:
    """Track a body, (T, V, 3) metres in sensor coordinates, with jitter and inferred joints, under one id.

    Inferred joints jump to their wrong position and back, or move there gradually if `smoothed`.
    """
    frames = len(xyz)
    noise = 0.003 * _NOISE_FACTOR[:, None] * rng.standard_normal(xyz.shape, dtype=np.float32)
    # A joint is inferred for 8 frames at a time, and is then also wrong by some centimetres.
    spells = np.arange(frames) // 8
    behind = xyz[::8, :, 2] - xyz[::8, KINECT_V2.centre, 2, None]
    chance = 0.01 * _NOISE_FACTOR + 0.15 * np.clip(behind / 0.15, 0.0, 1.0) * _NOISE_FACTOR
    inferred = (rng.random(chance.shape) < chance)[spells]
    off = rng.normal(0.0, 0.02, (*chance.shape, 3))[spells] * inferred[:, :, None]
    if smoothed:
        off = _smooth(off)
    return SensorBody(
        body=np.full(frames, body, np.int64),
        present=np.ones(frames, bool),
        xyz=xyz + noise + off,
        tracking=np.where(inferred, 1, 2).astype(np.int8),
    )


def _smooth(off: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average (T, V, 3) over time with a bell-shaped window of about half a second."""
    window = np.hanning(19)[1:-1]
    padded = np.pad(off, ((8, 8), (0, 0), (0, 0)), mode="edge")
    result: NDArray[np.float64] = np.tensordot(
        np.lib.stride_tricks.sliding_window_view(padded, len(window), axis=0), window / window.sum(), axes=1
    )
    return result


def _ghost(actor: NDArray[np.float64], body: np.int64, rng: np.random.Generator) -> SensorBody:
    """Create a false detection of furniture: a motionless heap of joints, wider than high, beside the actor."""
    frames, joints, _ = actor.shape
    middle = actor[0, KINECT_V2.centre] + np.array([rng.choice([-1.0, 1.0]) * rng.uniform(0.8, 1.2), -0.7, 0.3])
    heap = middle + rng.uniform(-1, 1, (joints, 3)) * np.array([0.5, 0.2, 0.1])
    start = rng.integers(0, frames - 9)
    present = np.zeros(frames, bool)
    present[start : start + rng.integers(3, 10)] = True
    return SensorBody(
        body=np.full(frames, body, np.int64),
        present=present,
        xyz=heap + 0.005 * rng.standard_normal((frames, joints, 3)),
        tracking=np.where(rng.random((frames, joints)) < 0.4, 1, 2).astype(np.int8),
    )


def _direction(rng: np.random.Generator) -> NDArray[np.float64]:
    direction = rng.standard_normal(3)
    return direction / np.linalg.norm(direction)


def skeleton_text(sightings: list[SensorBody]) -> bytes:
    """Return the recording in the data set's format: CR LF, a line of 10 fields per body, 25 rows of 12 fields."""
    present = np.stack([sighting.present for sighting in sightings], axis=1)  # (T, S)
    at_frame, at_slot = np.nonzero(present)
    xyz = np.stack([sighting.xyz for sighting in sightings], axis=1)[at_frame, at_slot].astype(np.float32)  # (B, V, 3)
    tracking = np.stack([sighting.tracking for sighting in sightings], axis=1)[at_frame, at_slot]
    bodies = np.stack([sighting.body for sighting in sightings], axis=1)[at_frame, at_slot]
    numbers = np.concatenate(
        [xyz, *(_pixels(xyz, *camera) for camera in (_DEPTH, _COLOUR)), _orientations(xyz)], axis=2
    )
    out = np.empty(numbers.shape[0] * numbers.shape[1] * ROW_BYTES, np.uint8)
    ends = write_joint_rows(numbers, tracking, out)
    rows = out[: ends[-1] if len(ends) else 0].tobytes()
    up = xyz[:, KINECT_V2.spine[1]] - xyz[:, KINECT_V2.spine[0]]
    lean = np.clip(up[:, [0, 2]] / np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-6), -1, 1) * (1, -1)
    pieces = [b"%d\r\n" % len(present)]
    row = 0
    for count in present.sum(axis=1).tolist():
        pieces.append(b"%d\r\n" % count)
        for body in range(row, row + count):
            head = f"{bodies[body]} 0 1 1 1 1 0 {lean[body, 0]:.7g} {lean[body, 1]:.7g} 2\r\n25\r\n"
            pieces.append(head.replace("e", "E").encode())
            pieces.append(rows[ends[body - 1] if body else 0 : ends[body]])
        row += count
    return b"".join(pieces)


def _pixels(xyz: NDArray[np.float32], focal: float, across: float, down: float) -> NDArray[np.float32]:
    """Project joints to an image: (B, V, 3) metres to (B, V, 2) pixels."""
    depth = xyz[..., 2:]
    slope = np.divide(xyz[..., :2], depth, out=np.zeros_like(xyz[..., :2]), where=depth != 0)  # 0: a joint is missing
    flat = slope * np.array([focal, -focal], np.float32)
    return flat + np.array([across, down], np.float32)


def _orientations(xyz: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rotations that align y with a joint's bone and x with the shoulders: quaternions w x y z, (B, V, 4)."""
    bone = xyz - xyz[:, _PARENTS]
    length = np.linalg.norm(bone, axis=2, keepdims=True)
    along = np.divide(bone, length, out=np.zeros_like(bone), where=length > 0)
    along[:, KINECT_V2.parents.index(-1)] = (0.0, 1.0, 0.0)
    w = np.sqrt(np.maximum(0.5 + 0.5 * along[..., 1], 1e-6))
    x, z = 0.5 * along[..., 2] / w, -0.5 * along[..., 0] / w
    across = xyz[:, KINECT_V2.shoulders[1]] - xyz[:, KINECT_V2.shoulders[0]]
    half = -0.5 * np.arctan2(across[:, 2], across[:, 0])[:, None]
    c, s = np.cos(half), np.sin(half)
    turn = np.stack([w * c, x * c - z * s, w * s, z * c + x * s], axis=2)
    turn /= np.linalg.norm(turn, axis=2, keepdims=True)
    turn[:, _ENDS] = 0.0
    turn[np.abs(turn) < 1e-7] = 0.0  # the text's number format ends at 1e-16
    return turn
