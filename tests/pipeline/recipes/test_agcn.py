import numpy as np
import pytest

from pipeline.errors import LayoutError, UnusableClip
from pipeline.recipes.reference import agcn_kernels
from pipeline.recipes.reference.agcn import bodies_by_energy, centre_on_first, repeat_frames, shoulders_to_x, spine_to_z
from pipeline.recipes.reference.zero_sums import ZeroSums
from pipeline.skeleton.layout import Layout
from pipeline.skeleton.recording import Clip
from tests.support.messy_recordings import messy_recording
from tests.support.people import STANDING, clip, people
from tests.support.reference_code import naive_agcn

FRAMES = 70  # length of clips instead of 300: more than a messy recording has


def prepared(bodies, frames=FRAMES):
    """Return (M, T, V, 3) after all steps."""
    return shoulders_to_x(spine_to_z(centre_on_first(repeat_frames(clip(bodies), frames=frames)))).xyz


@pytest.fixture
def two():
    return people(np.random.default_rng(3), bodies=2, frames=40)


@pytest.mark.slow
def test_dirty_recordings_give_the_result_of_2s_agcn():
    rotated = 0
    for seed in range(200):
        bodies = bodies_by_energy(messy_recording(seed)).xyz
        expected = naive_agcn(bodies, FRAMES)
        np.testing.assert_allclose(prepared(bodies), expected, atol=1e-6, rtol=0)
        rotated += np.isfinite(expected).all()
    assert 100 < rotated < 200  # NaN is among them, and spreads


@pytest.mark.kernels
def test_dirty_recordings_give_the_same_without_compilation():
    for seed in range(6):
        bodies = bodies_by_energy(messy_recording(seed)).xyz
        np.testing.assert_allclose(prepared(bodies, 60), naive_agcn(bodies, 60), atol=1e-6, rtol=0)


def stored(rng, M, T, V):
    """Return bodies (M, T, V, 3) with 2s-AGCN's memory layout; some joints cancel exactly or nearly."""
    xyz = rng.normal(size=(3, T, V, M)).astype(np.float32).transpose(3, 1, 2, 0)
    for body in xyz:
        for t in np.flatnonzero(rng.random(T) < 0.5):
            body[t, -1, 2] -= body[t].sum()
        if rng.random() < 0.5:
            body[-1, -1, 2] -= body.sum()
        if rng.random() < 0.2:
            body[:] = 0
    return xyz


@pytest.mark.kernels
def test_zero_sums_are_those_of_numpy():
    rng = np.random.default_rng(4)
    answers = {"frame": [], "tail": [], "body": [], "clip": []}
    for _ in range(60):
        M, T, V = int(rng.integers(1, 3)), int(rng.integers(2, 9)), int(rng.choice([3, 22, 25, 50]))
        reference = stored(rng, M, T, V)
        xyz = np.ascontiguousarray(reference)
        is_zero = ZeroSums(xyz)
        answers["clip"].append((is_zero.nobody(), reference.sum() == 0))
        for m in range(M):
            answers["body"].append((is_zero.body(m), reference[m].sum() == 0))
            for t in range(1, T):
                answers["frame"].append((is_zero.frames(m)[t], reference[m, t].sum() == 0))
                answers["tail"].append((is_zero.body(m, first=t), reference[m, t:].sum() == 0))
    for pairs in answers.values():
        assert all(found == expected for found, expected in pairs)
        assert {expected for _, expected in pairs} == {True, False}


@pytest.mark.kernels
def test_a_sum_is_nonzero_above_a_share_of_its_absolute_values():
    for total, size, verdict in (
        (0.0, 0.0, agcn_kernels.ZERO),
        (0.0, 1.0, agcn_kernels.DOUBTFUL),
        (1e-4, 1.0, agcn_kernels.DOUBTFUL),
        (2e-4, 1.0, agcn_kernels.DOUBTFUL),
        (3e-4, 1.0, agcn_kernels.NONZERO),
        (-3e-4, 1.0, agcn_kernels.NONZERO),
        (3e-4, 10.0, agcn_kernels.DOUBTFUL),
        (np.inf, 1.0, agcn_kernels.DOUBTFUL),
        (np.nan, np.nan, agcn_kernels.DOUBTFUL),
    ):
        assert agcn_kernels.verdict(total, size) == verdict
        assert agcn_kernels.sum_of_sums(np.array([total, 0]), np.array([size, 0])) == verdict
    assert agcn_kernels.sum_of_sums(np.array([2.0, -1, -1]), np.array([2.0, 1, 1])) == agcn_kernels.DOUBTFUL


@pytest.mark.kernels
def test_rows_are_summed_separately():
    frames = np.float32([[0, 0, 0], [1, -3, 0.5], [2, -2, 0]])
    sums, sizes, verdicts = np.empty(3), np.empty(3), np.empty(3, np.int8)
    agcn_kernels.sum_rows(frames, sums, sizes, verdicts)
    assert (sums.tolist(), sizes.tolist()) == ([0, -1.5, 0], [0, 4.5, 4])
    assert verdicts.tolist() == [agcn_kernels.ZERO, agcn_kernels.NONZERO, agcn_kernels.DOUBTFUL]


@pytest.mark.kernels
def test_a_joint_whose_coordinates_cancel_is_missing():
    body = np.float32([[[1, 2, 3], [1, -2, 1], [-1, -2, 1]], [[4, 0, 0], [0, 0, 0], [1, 0, -1]]])
    agcn_kernels.centre(body, np.float32([[1, 1, 2], [-1, 0, 3]]))
    expected = [[[0, 1, 1], [0, 0, 0], [-2, -3, -1]], [[5, 0, -3], [0, 0, 0], [0, 0, 0]]]
    np.testing.assert_array_equal(body, expected)


@pytest.mark.kernels
def test_present_frames_are_rotated():
    """The rows mean: x becomes 2 x + 3 y, y becomes z, z becomes 10 x + 100 y + 1000 z."""
    body = np.float32([[[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [4, 5, 6]], [[0, 0, 1], [0, 1, 0]]])
    rotation = np.array([[2.0, 3, 0], [0, 0, 1], [10, 100, 1000]])
    agcn_kernels.rotate(body, np.array([True, False, True]), rotation)
    turned = [[8, 3, 3210], [23, 6, 6540]]
    np.testing.assert_array_equal(body, [turned, [[1, 2, 3], [4, 5, 6]], [[0, 1, 1000], [3, 0, 100]]])


@pytest.mark.kernels
@pytest.mark.parametrize("large", [np.inf, 3e38])
def test_infinite_sums_are_not_zero(large):
    body = np.zeros((1, 2, 25, 3), np.float32)
    body[0, 0, [0, 8, 16], 0] = large, large, -large
    with np.errstate(over="ignore", invalid="ignore"):
        is_zero = ZeroSums(body)
        assert not is_zero.nobody()
        assert not is_zero.frames(0)[0]


def test_a_body_is_repeated_until_the_clip_is_full(two):
    two[1, 20:] = 0
    long = repeat_frames(clip(two), frames=100).xyz
    np.testing.assert_array_equal(long[0], two[0, np.arange(100) % 40])
    np.testing.assert_array_equal(long[1], two[1, np.arange(100) % 20])


def test_a_body_missing_at_the_start_moves_forward_and_one_missing_later_does_not(two):
    two[0, 10:15] = 0
    two[1, :5] = 0
    two[1, 10:15] = 0
    long = repeat_frames(clip(two), frames=40).xyz
    np.testing.assert_array_equal(long[0], two[0])
    seen = two[1, [*range(5, 10), *range(15, 40)]]
    np.testing.assert_array_equal(long[1], seen[np.arange(40) % 30])


def test_an_empty_clip_stays_empty():
    nothing = np.zeros((2, 5, 25, 3), np.float32)
    np.testing.assert_array_equal(prepared(nothing), np.zeros((2, FRAMES, 25, 3)))


def test_nan_and_infinity_leave_nan_when_frames_move_forward(two):
    two[0, 0] = 0
    two[0, [5, 39], 3, 0] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(prepared(two), naive_agcn(two, FRAMES))
        moved = repeat_frames(clip(two), frames=40).xyz
    assert np.isnan(moved[0, 4:6, 3, 0]).tolist() == [True, False]
    assert np.isnan(moved[0, 39, 3, 0])


def test_a_clip_on_which_2s_agcn_crashes_is_refused():
    """3 m, 1e8 and -1e8 are zero when added in this order, and 3 m when the large ones come first."""
    body = np.zeros((1, 2, 25, 3), np.float32)
    body[0, 1, 0] = 3, 1e8, -1e8
    with pytest.raises(ZeroDivisionError):
        naive_agcn(body, 2)
    with pytest.raises(UnusableClip, match="2s-AGCN crashes on it"):
        repeat_frames(clip(body), frames=2)


def test_too_many_frames_are_refused(two):
    with pytest.raises(UnusableClip, match="40 frames, but the arrays of 2s-AGCN have only 39"):
        repeat_frames(clip(two), frames=39)


def test_centring_fixes_the_first_body_and_keeps_the_distance_of_the_second(two):
    two[0, 30:] = 0
    centred = centre_on_first(clip(two)).xyz
    assert (centred[0, :, 1] == 0).all()
    np.testing.assert_allclose(centred[1, :30] - centred[0, :30], two[1, :30] - two[0, :30], atol=1e-6)
    np.testing.assert_array_equal(centred[1, 30:], two[1, 30:])
    assert (centred[0, 30:] == 0).all()


def test_spine_and_shoulders_point_along_their_axes(two):
    up = spine_to_z(clip(two)).xyz
    spine = up[0, 0, 1] - up[0, 0, 0]
    np.testing.assert_allclose(spine / np.linalg.norm(spine), [0, 0, 1], atol=1e-6)
    across = shoulders_to_x(clip(two)).xyz[0, 0]
    shoulders = across[8] - across[4]
    np.testing.assert_allclose(shoulders / np.linalg.norm(shoulders), [1, 0, 0], atol=1e-6)


@pytest.mark.parametrize("turn", [1, -1])
def test_parallel_and_antiparallel_bones_are_not_rotated(turn):
    body = np.round(STANDING * 8)[None, None].astype(np.float32) * turn
    np.testing.assert_array_equal(shoulders_to_x(clip(body)).xyz, body)


def test_far_away_and_nearly_aligned_the_angle_is_as_imprecise_as_in_2s_agcn():
    """For a vector normalised in float32, arccos is wrong by up to 3e-4 rad near 0: 3 mm at 10 m."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        bodies = np.zeros((2, 4, 25, 3), np.float32)
        bodies[:] = STANDING + rng.normal(0, 1e-4, (2, 1, 25, 3))
        bodies[0, :, 4:9:4] = [[0, 0.45, 3], [0.36, 0.45 + rng.normal(0, 1e-4), 3]]
        bodies[1] += 10
        np.testing.assert_allclose(prepared(bodies, 4), naive_agcn(bodies, 4), atol=4e-6)


def test_a_skeleton_without_the_joint_is_refused_unless_another_is_named():
    layout = Layout(
        name="stick",
        joints=("hip", "chest", "left", "right"),
        parents=(-1, 0, 1, 1),
        parts={"all": (0, 1, 2, 3)},
        centre=1,
        spine=(0, 1),
        shoulders=(2, 3),
    )
    xyz = np.array([[0, 0, 2], [0, 1, 2], [-0.2, 1, 2], [0.2, 1, 2]], np.float32)[None, None]
    stick = Clip(name="one", layout=layout, xyz=xyz)
    with pytest.raises(LayoutError, match="layout stick has no joint 'spine_mid'"):
        centre_on_first(stick)
    with pytest.raises(LayoutError, match="layout stick has no joint 'spine_base'"):
        spine_to_z(stick)
    turned = shoulders_to_x(spine_to_z(centre_on_first(stick, joint="chest"), lower="hip", upper="chest")).xyz
    np.testing.assert_allclose(turned[0, 0], [[0, 0, -1], [0, 0, 0], [-0.2, 0, 0], [0.2, 0, 0]], atol=1e-6)
