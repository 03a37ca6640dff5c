"""How a clip stands: the turn that puts it upright before whoever looks at it, whatever axes its recipe has chosen."""

import numpy as np
from numpy.typing import NDArray

from pipeline.skeleton.layout import Layout


def known(xyz: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(M, T, V) which joints of a clip (M, T, V, 3) are there: a NaN is missing, and a body that is all zero is absent.

    One joint at zero is there: recipes put the origin at a joint.
    """
    there: NDArray[np.bool_] = np.isfinite(xyz).all(axis=-1) & (xyz != 0).any(axis=(2, 3))[:, :, None]
    return there


def upright(xyz: NDArray[np.float32], layout: Layout) -> NDArray[np.float64]:
    """The rotation after which y points up and the first body faces +z, the one who looks.

    Up is the axis (of x, y, z and their opposites) that the trunk is nearest to, taken over all frames; the direction
    that the body faces is that of its shoulders, turned by a right angle. A clip in which neither shows keeps its axes.

    Args:
        xyz: (M, T, V, 3); what is missing is as in `known`.
        layout: whose spine and shoulders are looked at.

    Returns:
        (3, 3), of determinant 1; points p are turned by `p @ upright.T`.
    """
    there = np.where(known(xyz)[..., None], xyz, np.nan).astype(np.float64)
    up = _along(there, layout.spine)
    axis = np.zeros(3)
    place = int(np.abs(up).argmax())
    axis[place] = np.sign(up[place]) if up[place] else 0.0
    if not axis.any():
        axis[1] = 1.0
    right = _along(there, layout.shoulders)
    right -= right @ axis * axis
    if (length := float(np.linalg.norm(right))) < 1e-6:
        right, length = np.roll(axis, 2), 1.0  # y up: -x would mirror nobody; any level axis does
    right /= length
    front = np.cross(axis, right)  # seen from above, a quarter turn from the right-hand side
    return np.stack([-right, axis, front])  # who faces the one who looks has the left side on that one's right


def _along(xyz: NDArray[np.float64], joints: tuple[int, int]) -> NDArray[np.float64]:
    """(3,) the mean vector from one joint to another, of the first body that has both; zero if none has."""
    for body in xyz:
        vectors = body[:, joints[1]] - body[:, joints[0]]
        there = vectors[np.isfinite(vectors).all(axis=1)]
        if len(there):
            mean: NDArray[np.float64] = there.mean(axis=0)
            return mean
    return np.zeros(3)
