"""Find the rotation that turns a clip upright and towards the viewer, whatever axes its recipe has chosen."""

import numpy as np
from numpy.typing import NDArray

from pipeline.skeleton.layout import Layout


def is_present(xyz: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return (M, T, V): whether each joint of a clip (M, T, V, 3) is present.

    Missing joints are NaN; absent bodies are zero in a whole frame. A single joint at zero is present, because recipes
    place the origin at a joint.
    """
    present: NDArray[np.bool_] = np.isfinite(xyz).all(axis=-1) & (xyz != 0).any(axis=(2, 3))[:, :, None]
    return present


def upright_rotation(xyz: NDArray[np.float32], layout: Layout) -> NDArray[np.float64]:
    """Return the rotation after which y points up and the first body faces +z, towards the viewer.

    Up is the axis (x, y, z or one of their opposites) closest to the trunk, averaged over all frames. The facing
    direction is perpendicular to the shoulders. A clip in which neither is present keeps its axes.

    Args:
        xyz: (M, T, V, 3); missing joints as in `is_present`.
        layout: defines spine and shoulders.

    Returns:
        (3, 3) with determinant 1; rotate points p by `p @ rotation.T`.
    """
    present = np.where(is_present(xyz)[..., None], xyz, np.nan).astype(np.float64)
    up = _mean_vector(present, layout.spine)
    axis = np.zeros(3)
    index = int(np.abs(up).argmax())
    axis[index] = np.sign(up[index]) if up[index] else 0.0
    if not axis.any():
        axis[1] = 1.0
    right = _mean_vector(present, layout.shoulders)
    right -= right @ axis * axis
    if (length := float(np.linalg.norm(right))) < 1e-6:
        right, length = np.roll(axis, 2), 1.0  # shoulders unknown: any horizontal axis works
    right /= length
    front = np.cross(axis, right)  # perpendicular to the right-hand direction
    return np.stack([-right, axis, front])  # the left side of a person who faces the viewer is on the viewer's right


def _mean_vector(xyz: NDArray[np.float64], joints: tuple[int, int]) -> NDArray[np.float64]:
    """Return the (3,) mean vector from one joint to another, of the first body that has both; zero if none has."""
    for body in xyz:
        vectors = body[:, joints[1]] - body[:, joints[0]]
        finite = vectors[np.isfinite(vectors).all(axis=1)]
        if len(finite):
            mean: NDArray[np.float64] = finite.mean(axis=0)
            return mean
    return np.zeros(3)
