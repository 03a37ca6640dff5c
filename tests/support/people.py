"""Synthetic people whose true motion is known, and recordings of them, for tests of the recipe steps."""

import numpy as np
from numpy.typing import NDArray

from pipeline.skeleton.layout import KINECT_V2, Layout
from pipeline.skeleton.recording import Clip, Recording

# A person who stands with arms down. Joints in the order of KINECT_V2.joints; metres; x, y up, z away from the sensor.
STANDING = np.array(
    [
        (0.00, -0.10, 3.0), (0.00, 0.20, 3.0), (0.00, 0.60, 3.0), (0.00, 0.75, 3.0),
        (-0.18, 0.45, 3.0), (-0.24, 0.20, 3.0), (-0.26, -0.05, 2.9), (-0.26, -0.12, 2.9),
        (0.18, 0.45, 3.0), (0.24, 0.20, 3.0), (0.26, -0.05, 2.9), (0.26, -0.12, 2.9),
        (-0.09, -0.12, 3.0), (-0.10, -0.50, 3.0), (-0.10, -0.85, 3.0), (-0.10, -0.90, 2.9),
        (0.09, -0.12, 3.0), (0.10, -0.50, 3.0), (0.10, -0.85, 3.0), (0.10, -0.90, 2.9),
        (0.00, 0.50, 3.0), (-0.26, -0.18, 2.9), (-0.22, -0.12, 2.9), (0.26, -0.18, 2.9), (0.22, -0.12, 2.9),
    ]
)  # fmt: skip
WIDE = STANDING[:, [1, 0, 2]]
"""The same pose with x and y exchanged: as wide as a table."""


def people(
    rng: np.random.Generator, *, bodies: int = 1, frames: int = 80, reach: float = 0.08, highest: float = 1.5
) -> NDArray[np.float32]:
    """Return smooth motion without defects, (M, T, V, 3) in metres; bodies are one metre apart.

    On each axis, every joint follows the sum of two sines of at most `reach` metres and `highest` hertz, at 30 frames
    per second. Each whole body sways, too.
    """
    seconds = np.arange(frames)[:, None, None, None] / 30
    out = []
    for m in range(bodies):
        size, hertz = rng.uniform(0, reach, (25, 3, 2)), rng.uniform(0.2, highest, (25, 3, 2))
        swing = (size * np.sin(2 * np.pi * hertz * seconds + rng.uniform(0, 6, (25, 3, 2)))).sum(axis=-1)
        sway = 0.1 * np.sin(seconds[..., 0] + rng.uniform(0, 6, (1, 3)))
        out.append(STANDING + np.array([1.0 * m, 0, 0]) + swing + sway)
    return np.array(out, np.float32)


CHAIN = Layout(
    name="chain",
    joints=("a", "b", "c"),
    parents=(-1, 0, 1),
    parts={"low": (0,), "mid": (1,), "high": (2,)},
    centre=0,
    spine=(0, 2),
    shoulders=(0, 2),
)
"""The simplest valid skeleton."""


def recorded(
    bodies: NDArray[np.floating],
    ids: list[int] | NDArray[np.int64] | None = None,
    *,
    order: list[int] | None = None,
) -> Recording:
    """Return the recording a sensor would make of bodies (M, T, V, 3). A body is absent where all its joints are NaN.

    Args:
        bodies: joint positions in metres.
        ids: ids of the bodies (M,), or ids per frame (M, T); by default they differ by ten.
        order: the order in which a frame lists its bodies.
    """
    M, T = bodies.shape[:2]
    names = np.asarray(72057594037900000 + 10 * np.arange(M) if ids is None else ids, np.int64)
    names = np.broadcast_to(names[:, None] if names.ndim == 1 else names, (M, T))
    rows = []
    for t in range(T):
        present = [m for m in (order or range(M)) if not np.isnan(bodies[m, t]).all()]
        rows += [(t, slot, names[m, t], bodies[m, t]) for slot, m in enumerate(present)]
    return recording_from_rows(rows, T)


def recording_from_rows(rows: list[tuple[int, int, int, NDArray[np.floating]]], frames: int) -> Recording:
    """Build a recording of `frames` frames from rows (frame, slot, id, joints (V, 3) in metres) in file order."""
    frame, slot, body, xyz = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Recording(
        name="S001C001P001R001A001",
        layout=KINECT_V2,
        frames=frames,
        frame=np.array(frame, np.int32),
        slot=np.array(slot, np.int32),
        body=np.array(body, np.int64),
        xyz=np.array(xyz, np.float32).reshape(-1, 25, 3),
        tracking=np.full((len(rows), 25), 2, np.int8),
    )


def clip(xyz: NDArray[np.floating]) -> Clip:
    """Return bodies (M, T, V, 3) as a clip."""
    return Clip(name="S001C001P001R001A001", layout=KINECT_V2, xyz=xyz.astype(np.float32))


def known_frames(xyz: NDArray[np.float32]) -> list[list[int]]:
    """Return, for each body of (M, T, V, 3), the frames in which at least one joint is known."""
    return [np.flatnonzero(np.isfinite(body[..., 0]).any(axis=1)).tolist() for body in xyz]


def errors(found: NDArray[np.float32], truth: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return distances between joints in millimetres, without missing joints."""
    distances = 1000 * np.linalg.norm(found.astype(np.float64) - truth, axis=-1)
    return distances[np.isfinite(distances)]
