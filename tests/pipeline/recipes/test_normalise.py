import numpy as np
import pytest

from pipeline.errors import LayoutError, UnusableClip
from pipeline.recipes.reference.ctrgcn import bodies_by_motion, origin_at_start
from pipeline.recipes.reference.skelemixclr import centre_each_frame, turn_each_frame
from pipeline.recipes.steps import normalise_kernels
from pipeline.recipes.steps.normalise import one_origin, one_turn
from pipeline.skeleton.layout import KINECT_V2
from tests.support.messy_recordings import messy_recording
from tests.support.people import STANDING, clip, people
from tests.support.reference import naive_one_origin, naive_one_turn
from tests.support.reference_code import naive_denoised, naive_translated

pytestmark = pytest.mark.kernels


def turned(xyz, degrees):
    """Rotate the scene about the vertical, as seen by another camera."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return xyz @ np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def bones(xyz):
    pairs = [(joint, parent) for joint, parent in enumerate(KINECT_V2.parents) if parent >= 0]
    return np.stack([np.linalg.norm(xyz[:, :, a] - xyz[:, :, b], axis=-1) for a, b in pairs])


@pytest.fixture
def two():
    return people(np.random.default_rng(3), bodies=2)


def test_origin_and_rotation_keep_bones_distances_and_paths(two):
    normal = one_turn(one_origin(clip(two))).xyz
    np.testing.assert_allclose(bones(normal), bones(two), atol=2e-6)
    np.testing.assert_allclose(
        np.linalg.norm(normal[0] - normal[1], axis=-1), np.linalg.norm(two[0] - two[1], axis=-1), atol=2e-6
    )
    np.testing.assert_allclose(
        np.linalg.norm(normal[:, 1:] - normal[:, :-1], axis=-1),
        np.linalg.norm(two[:, 1:] - two[:, :-1], axis=-1),
        atol=2e-6,
    )


def test_the_origin_is_the_first_actors_centre_in_its_first_frame(two):
    two[0, :5] = np.nan
    normal = one_origin(clip(two)).xyz
    assert (normal[0, 5, KINECT_V2.centre] == 0).all()
    assert np.isnan(normal[0, :5]).all()
    assert np.isfinite(normal[1]).all()


def test_the_origin_is_the_first_actor_even_if_seen_late(two):
    two[0, :60] = np.nan
    normal = one_origin(clip(two)).xyz
    assert (normal[0, 60, KINECT_V2.centre] == 0).all()
    np.testing.assert_allclose(normal[0, 60] - normal[1, 60], two[0, 60] - two[1, 60], atol=1e-6)


def test_shoulder_vectors_are_summed_and_the_first_is_returned():
    """Both joints at one position; then right 2 m further away; then unknown; then 1 m to the side."""
    way = np.array([[0, 0, 0], [0, 5, 2], [np.nan, np.nan, np.nan], [1, 7, 0]], np.float32)
    xyz = np.stack([np.ones_like(way), 1 + way], axis=1)[None]
    np.testing.assert_array_equal(normalise_kernels.shoulder_direction(xyz, 0, 1), [1, 2, 3, 0, 2])
    np.testing.assert_array_equal(normalise_kernels.shoulder_direction(xyz[:, ::-1], 0, 1), [1, 2, 3, 1, 0])


def test_shoulders_point_along_x_and_up_stays_up(two):
    normal = one_turn(clip(two)).xyz
    left, right = KINECT_V2.shoulders
    across = (normal[0, :, right] - normal[0, :, left]).sum(axis=0)
    assert across[0] > 0
    assert abs(across[2]) < 1e-4 * across[0]
    np.testing.assert_array_equal(normal[..., 1], two[..., 1])


@pytest.mark.parametrize("degrees", [30, 90, 180, 271])
def test_all_cameras_see_the_same(two, degrees):
    np.testing.assert_allclose(
        one_turn(one_origin(clip(turned(two, degrees)))).xyz, one_turn(one_origin(clip(two))).xyz, atol=1e-5
    )


def test_normalising_twice_is_normalising_once(two):
    once = one_turn(one_origin(clip(two)))
    np.testing.assert_allclose(one_turn(one_origin(once)).xyz, once.xyz, atol=1e-6)


def test_a_person_who_turns_round_is_aligned_in_the_first_frame():
    spin = np.stack([turned(STANDING, degrees) for degrees in np.linspace(40, 400, 60)])[None]
    normal = one_turn(clip(spin)).xyz
    left, right = KINECT_V2.shoulders
    across = normal[0, 0, right] - normal[0, 0, left]
    assert across[0] > 0.3
    assert abs(across[2]) < 1e-5


def test_a_few_frames_with_swapped_shoulders_do_not_change_the_rotation(two):
    swapped = two.copy()
    left, right = KINECT_V2.shoulders
    swapped[0, :4, [left, right]] = two[0, :4, [right, left]]
    difference = np.abs(one_turn(clip(swapped)).xyz[1] - one_turn(clip(two)).xyz[1]).max()
    assert difference < 0.15  # metres, of people 3 to 4 m from the axis: under 3 degrees


def test_without_shoulders_the_axes_do_not_change(two):
    two[0][:, KINECT_V2.shoulders[0]] = np.nan
    np.testing.assert_array_equal(one_turn(clip(two)).xyz, two)


def test_a_clip_without_any_centre_is_refused(two):
    two[0, :, KINECT_V2.centre] = np.nan
    with pytest.raises(UnusableClip, match="spine_shoulder of the first actor is seen in no frame"):
        one_origin(clip(two))


def test_each_body_is_rotated_by_its_own_angle_in_every_frame(two):
    """The second half and the second body are rotated by a right angle: z becomes -x, and x becomes z."""
    cos, sin = np.ones((2, 80), np.float32), np.zeros((2, 80), np.float32)
    cos[0, 40:], sin[0, 40:], cos[1], sin[1] = 0, 1, 0, 1
    right = two[..., [2, 1, 0]] * np.float32([-1, 1, 1])
    expected = np.stack([np.concatenate([two[0, :40], right[0, 40:]]), right[1]])
    np.testing.assert_array_equal(normalise_kernels.rotated(two, cos, sin), expected)


def test_centring_each_frame_loses_the_positions_of_bodies(two):
    relative = centre_each_frame(clip(two)).xyz
    assert (relative[:, :, KINECT_V2.centre] == 0).all()
    np.testing.assert_allclose(bones(relative), bones(two), atol=2e-6)


def test_turning_each_frame_keeps_zeros_and_bones(two):
    two[1] = 0
    relative = turn_each_frame(centre_each_frame(clip(two))).xyz
    assert (relative[1] == 0).all()
    assert relative.dtype == np.float32
    np.testing.assert_allclose(bones(relative), bones(two), atol=2e-6)


def test_ctrgcns_origin_moves_zeros_only_in_clips_of_one_body(two):
    two[:, :3] = 0
    two[1, 10] = 0
    two[0, 5, 7] = 0
    origin = two[0, 3, 1]
    both = origin_at_start(clip(two)).xyz
    assert not both[:, :3].any()
    assert not both[1, 10].any()
    np.testing.assert_array_equal(both[0, 5, 7], -origin)
    np.testing.assert_array_equal(both[:, 20], two[:, 20] - origin)
    alone = origin_at_start(clip(two[:1])).xyz
    np.testing.assert_array_equal(alone[0, 0], np.broadcast_to(-origin, (25, 3)))


def test_ctrgcns_origin_agrees_for_dirty_recordings():
    refused = 0
    for seed in range(600):
        try:
            columns = naive_denoised(messy_recording(seed))
            bodies = bodies_by_motion(messy_recording(seed))
        except (AssertionError, IndexError, ValueError, UnusableClip):
            continue
        try:
            expected = naive_translated(columns, 75)
        except IndexError:
            refused += 1
            with pytest.raises(UnusableClip, match="the first actor is zero in every frame; CTR-GCN crashes on it"):
                origin_at_start(bodies)
        else:
            found = origin_at_start(bodies).xyz
            np.testing.assert_array_equal(found.swapaxes(0, 1).reshape(found.shape[1], -1), expected)
    assert refused > 0


def test_ctrgcns_origin_can_be_another_joint(two):
    assert not origin_at_start(clip(two), joint="spine_shoulder").xyz[0, 0, KINECT_V2.centre].any()
    with pytest.raises(LayoutError, match="has no joint 'navel'"):
        origin_at_start(clip(two), joint="navel")


def test_a_clip_is_translated_and_rotated_as_expected():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        xyz = people(rng, bodies=2)
        if seed % 2:  # somebody who turns round
            xyz = np.stack([turned(xyz[:, t], 4.5 * t) for t in range(80)], axis=1).astype(np.float32)
        xyz[rng.random(xyz.shape[:3]) < 0.2] = np.nan
        np.testing.assert_array_equal(one_origin(clip(xyz)).xyz, naive_one_origin(xyz, KINECT_V2.centre))
        expected = naive_one_turn(xyz, *KINECT_V2.shoulders, 0.2)
        np.testing.assert_allclose(one_turn(clip(xyz)).xyz, expected, atol=2e-6)
