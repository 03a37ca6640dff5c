"""Random recordings with all the defects that break the reference implementations."""

import numpy as np

from pipeline.skeleton.recording import Recording
from tests.support.people import STANDING, WIDE, recording_from_rows


def messy_recording(seed: int) -> Recording:
    """Return a short random recording of up to five bodies.

    Defects: reused ids (even twice in one frame), gaps, overlaps of one frame, empty frames, ghosts, furniture, bodies
    with all joints at one point, copied bodies, bodies and joints of zeros, NaN, frames that sum to zero exactly or
    nearly, bodies 10 m away. The order of the bodies in a frame is random.
    """
    rng = np.random.default_rng(seed)

    def chance(share: float) -> bool:
        return bool(rng.random() < share)

    frames = int(rng.integers(1, 16) if chance(0.2) else rng.integers(12, 60))
    names = rng.integers(0, 4, 5) if chance(0.2) else rng.permutation(5)  # with or without shared ids
    rows: list[list[tuple[int, np.ndarray]]] = [[] for _ in range(frames)]
    cuts = rng.integers(0, frames, 2)  # frames at which one piece of a person ends and the next begins
    bodies = []
    for name in names[: rng.integers(1, 6)]:
        pose = (WIDE if chance(0.25) else STANDING) * rng.uniform(0.5, 1.5) + rng.normal(0, 1, 3)
        body = (
            pose + rng.normal(0, rng.choice([0.0, 0.01, 0.2]), (frames, 25, 3)) + np.array([10.0, 0, 0]) * chance(0.2)
        )
        if chance(0.2):
            wide = rng.random(frames) < 0.6
            body[wide] = body[wide][..., [1, 0, 2]]
        if chance(0.1):
            body[:] = body[0, 0] if chance(0.5) else 0
        if chance(0.1) and bodies:
            body = bodies[0].copy()
        if chance(0.4):
            body = np.round(8 * body) / 8  # sums of these are exact in any order
        for t in np.flatnonzero(rng.random(frames) < (0.2 if chance(0.3) else 0)):
            body[t, 13:] = -body[t, 1:13]
            body[t, 0] = 0
        if chance(0.3):
            body[rng.random((frames, 25)) < 0.1] = 0
        if chance(0.1):
            body[rng.integers(frames), rng.integers(25), rng.integers(3)] = np.nan
        bodies.append(body)
        first, last = sorted(rng.choice([0, 0, *cuts, frames - 1, frames - 1], 2))
        present = np.arange(first, last + 1)
        if chance(0.3):
            present = present[rng.random(len(present)) < 0.7]
        for t in present:
            rows[t].append((int(name), body[t]))
    silent = rng.random(frames) < (0.3 if chance(0.3) else 0)
    flat = []
    for t, listed in enumerate(rows):
        if chance(0.2):
            listed = [listed[i] for i in rng.permutation(len(listed))]
        flat += [(t, slot, *row) for slot, row in enumerate(listed) if not silent[t]]
    return recording_from_rows(flat, frames)
