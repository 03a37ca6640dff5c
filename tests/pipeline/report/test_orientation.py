"""A clip is turned upright and towards the viewer, whatever its axes are."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.orientation import upright_rotation
from pipeline.skeleton.layout import KINECT_V2

V = len(KINECT_V2.joints)


def person() -> np.ndarray:
    """(1, 2, V, 3) somebody upright (y) who faces +z: the left side is on the viewer's right, at +x."""
    xyz = np.full((1, 2, V, 3), np.nan, np.float32)
    low, high = KINECT_V2.spine
    left, right = KINECT_V2.shoulders
    xyz[0, :, low], xyz[0, :, high] = (0, 0.1, 0), (0, 0.9, 0.1)
    xyz[0, :, left], xyz[0, :, right] = (0.2, 0.8, 0), (-0.2, 0.8, 0)
    return xyz


def test_who_stands_before_the_viewer_is_not_turned() -> None:
    assert np.allclose(upright_rotation(person(), KINECT_V2), np.eye(3))


QUARTERS = [np.eye(3)[list(order)] * signs for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


@pytest.mark.parametrize("quarter", [turn for turn in QUARTERS if np.linalg.det(turn) > 0])
def test_any_axes_are_turned_back(quarter: np.ndarray) -> None:
    turned = (person() @ quarter.T).astype(np.float32)
    assert np.allclose(upright_rotation(turned, KINECT_V2) @ quarter, np.eye(3), atol=1e-6)


@given(angle=st.floats(-3.1, 3.1))
def test_whoever_faces_aside_faces_the_viewer(angle: float) -> None:
    cos, sin = np.cos(angle), np.sin(angle)
    about = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    turn = upright_rotation((person() @ about.T).astype(np.float32), KINECT_V2)
    assert np.allclose(turn @ about, np.eye(3), atol=1e-5)


@pytest.mark.parametrize("missing", [np.nan, 0.0])
def test_nobody_is_left_as_nobody_is(missing: float) -> None:
    turn = upright_rotation(np.full((2, 3, V, 3), missing, np.float32), KINECT_V2)
    assert np.allclose(turn @ turn.T, np.eye(3))
    assert np.linalg.det(turn) == pytest.approx(1)
    assert np.allclose(turn[1], (0, 1, 0))


def test_the_second_body_decides_where_the_first_has_no_shoulders() -> None:
    both = np.concatenate([np.full_like(person(), np.nan), person()])
    assert np.allclose(upright_rotation(both, KINECT_V2), np.eye(3))
