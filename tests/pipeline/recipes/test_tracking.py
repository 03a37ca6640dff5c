import dataclasses

import numpy as np
import pytest

from pipeline.errors import UnusableClip
from pipeline.recipes.steps import tracking_kernels
from pipeline.recipes.steps.selection_kernels import present
from pipeline.recipes.steps.tracking import follow_ids, rejoin
from tests.support.people import clip, errors, known_frames, people, recorded
from tests.support.reference import naive_handover, naive_rejoined

pytestmark = pytest.mark.kernels


@pytest.fixture
def one():
    return people(np.random.default_rng(5))


@pytest.fixture
def two():
    return people(np.random.default_rng(6), bodies=2)


def followed(recording):
    return rejoin(follow_ids(recording))


def test_bodies_follow_their_ids_in_any_file_order(two):
    for order in ([0, 1], [1, 0]):
        found = follow_ids(recorded(two, order=order))
        np.testing.assert_array_equal(found.xyz, two[order])


def test_rows_stay_in_their_frames(one):
    one[:, :10] = np.nan
    one[:, 30:50] = np.nan
    found = followed(recorded(one))
    assert known_frames(found.xyz) == [[*range(10, 30), *range(50, 80)]]
    np.testing.assert_array_equal(found.xyz, one)


def test_a_joint_is_known_unless_it_is_exactly_the_origin_or_not_finite():
    for axis in range(3):
        for value, known in ((1, True), (-1, True), (0, False), (np.nan, False), (np.inf, False)):
            joint = np.zeros(3, np.float32)
            joint[axis] = value
            assert tracking_kernels.is_known(joint) == known


def test_zero_and_non_finite_joints_are_missing(one):
    dirty = one.copy()
    dirty[0, 5, 3] = 0
    dirty[0, 6, 4, 1] = np.inf
    dirty[0, 7, 5, 2] = np.nan
    found = follow_ids(recorded(dirty))
    assert np.argwhere(np.isnan(found.xyz).all(axis=-1)).tolist() == [[0, 5, 3], [0, 6, 4], [0, 7, 5]]
    assert np.isnan(found.xyz).sum() == 9
    assert found.step_counts["joints_missing"] == 3


def test_a_recording_without_a_body_is_refused(one):
    with pytest.raises(UnusableClip, match="no body in any frame"):
        follow_ids(recorded(np.full_like(one, np.nan)))
    with pytest.raises(UnusableClip, match="no body in any frame"):
        follow_ids(recorded(np.zeros_like(one)))


def test_an_id_twice_in_one_frame_is_two_bodies(two):
    found = follow_ids(recorded(two, ids=[7, 7]))
    np.testing.assert_array_equal(found.xyz, two)
    assert found.step_counts["bodies_found"] == 2


def test_an_id_switch_is_repaired(one):
    ids = np.where(np.arange(80) < 33, 5, 9)[None]
    found = followed(recorded(one, ids))
    np.testing.assert_array_equal(found.xyz, one)
    assert found.step_counts["bodies_found"] == 2
    assert found.step_counts["bodies_rejoined"] == 1


def test_repeated_id_switches_are_repaired(one):
    ids = np.array([5, 9, 5, 2, 9, 1])[np.arange(80) // 14][None]
    np.testing.assert_array_equal(followed(recorded(one, ids)).xyz, one)


def test_an_id_switch_out_of_sight_is_repaired(one):
    one[0, 30:45] = np.nan
    ids = np.where(np.arange(80) < 33, 5, 9)[None]
    np.testing.assert_array_equal(followed(recorded(one, ids)).xyz, one)


def test_an_id_switch_of_a_walker_out_of_sight_is_repaired(one):
    walking = one + np.float32(0.04) * np.arange(80, dtype=np.float32)[None, :, None, None] * np.float32([1, 0, 0])
    walking[0, 30:45] = np.nan  # 0.6 m further on when seen again
    ids = np.where(np.arange(80) < 37, 5, 9)[None]
    np.testing.assert_array_equal(followed(recorded(walking, ids)).xyz, walking)


def test_another_pose_is_the_same_person_only_after_a_long_gap(one):
    legs = [
        clip(one).layout.index(f"{side}_{joint}") for side in ("left", "right") for joint in ("knee", "ankle", "foot")
    ]
    above = [joint for joint in range(25) if joint not in legs]
    for gap, bodies in ((20, 1), (1, 2)):
        squatting = one.copy()
        squatting[0, 40:, above] -= np.float32([0, 0.8, 0])
        squatting[0, 40 - gap : 40] = np.nan
        ids = np.where(np.arange(80) < 40, 5, 9)[None]
        assert len(followed(recorded(squatting, ids)).xyz) == bodies


def test_the_old_and_the_new_id_may_share_a_frame(one):
    pieces = np.concatenate([one, one + np.float32(0.01)])
    pieces[0, 41:] = np.nan
    pieces[1, :40] = np.nan
    assert known_frames(followed(recorded(pieces)).xyz) == [list(range(80))]
    pieces[1, 39] = one[0, 39]
    assert len(followed(recorded(pieces)).xyz) == 2


def test_two_people_stay_two_when_one_goes_as_the_other_comes(two):
    two[0, 40:] = np.nan
    two[1, :40] = np.nan
    np.testing.assert_array_equal(followed(recorded(two)).xyz, two)


def test_two_people_next_to_each_other_stay_two(two):
    close = two - np.float32([[[[0, 0, 0]]], [[[0.9, 0, 0]]]])
    np.testing.assert_array_equal(followed(recorded(close)).xyz, close)


def test_swapped_ids_are_swapped_back(two):
    swapped = np.array([[1] * 40 + [2] * 40, [2] * 40 + [1] * 40])
    found = followed(recorded(two, swapped))
    assert found.step_counts["bodies_split"] == 2
    assert found.step_counts["bodies_rejoined"] == 2
    np.testing.assert_array_equal(found.xyz, two)


def test_a_body_displaced_for_one_frame_stays_one_body(one):
    thrown = one.copy()
    thrown[0, 40] += np.float32(1.5)
    found = followed(recorded(thrown)).xyz
    longest = found[np.argmax([len(frames) for frames in known_frames(found)])]
    assert errors(longest, one[0]).max() == 0
    assert np.isnan(longest[40]).all()


def test_a_jump_with_nobody_near_is_no_cut(one):
    moved = one.copy()
    moved[0, 50:] += np.float32([1.5, 0, 0])
    found = follow_ids(recorded(moved))
    np.testing.assert_array_equal(found.xyz, moved)
    assert found.step_counts["bodies_split"] == 0


def test_an_id_that_passes_to_another_person_is_cut(two):
    ids = np.array([[1] * 40 + [3] * 40, [2] * 36 + [0] * 4 + [1] * 40])
    lost = two.copy()
    lost[1, 36:40] = np.nan
    found = followed(recorded(lost, ids))
    np.testing.assert_array_equal(found.xyz, lost)


def test_more_bodies_than_any_sensor_reports_are_refused(one):
    with pytest.raises(UnusableClip, match="80 bodies in 80000 frames: no recording of people"):
        follow_ids(dataclasses.replace(recorded(one, np.arange(80)[None]), frames=80_000))
    crowd = np.repeat(one[:, :1], 2000, axis=0)
    with pytest.raises(UnusableClip, match="2000 bodies in 1 frames: no recording of people"):
        follow_ids(recorded(crowd, np.arange(2000)))


def sparse(pose, bodies, frames, seen):
    """A recording of bodies that stand still, each seen in so many frames, one after the other."""
    rows = bodies * seen
    return dataclasses.replace(
        recorded(pose[None, None]),
        frames=frames,
        frame=np.linspace(0, frames - 1, rows).astype(np.int32),
        slot=np.zeros(rows, np.int32),
        body=np.repeat(np.arange(bodies), seen),
        xyz=np.repeat(pose[None], rows, axis=0),
        tracking=np.full((rows, len(pose)), 2, np.int8),
    )


@pytest.mark.parametrize(("bodies", "frames", "seen"), [(250, 250, 1), (30, 3000, 20), (5, 90_000, 10)])
def test_bodies_that_are_hardly_ever_seen_are_refused(one, bodies, frames, seen):
    """Their array would be many times as large as the recording."""
    with pytest.raises(UnusableClip, match=f"{bodies} bodies in {frames} frames: no recording of people; cut it"):
        follow_ids(sparse(one[0, 0], bodies, frames, seen))


@pytest.mark.parametrize(("bodies", "frames", "seen"), [(130, 300, 1), (60, 2000, 33), (4, 10_000, 10)])
def test_people_who_come_and_go_are_accepted(one, bodies, frames, seen):
    assert follow_ids(sparse(one[0, 0], bodies, frames, seen)).xyz.shape[:2] == (bodies, frames)


@pytest.mark.parametrize(("bodies", "is_refused"), [(4, False), (16, True)])
def test_bodies_that_jump_all_the_time_are_refused_before_they_are_compared(one, bodies, is_refused, monkeypatch):
    compared = []
    monkeypatch.setattr("pipeline.recipes.steps.tracking._passes_on", lambda *args: bool(compared.append(args)))
    moved = one[0, 0] + np.random.default_rng(0).normal(0, 3, (bodies, 300, 1, 3)).astype(np.float32)
    try:
        follow_ids(recorded(moved))
    except UnusableClip as error:
        assert ("jump" in str(error)) == is_refused  # noqa: PT017
    assert (len(compared) == 0) == is_refused


def test_ids_are_numbered_by_appearance_unless_many_or_repeated():
    few = tracking_kernels.MAX_COMPARED_IDS
    for frame, ids, count, numbers in (
        ([0, 0, 1, 1, 2], [50, 40, 40, 50, 60], 3, [0, 1, 1, 0, 2]),
        ([0, 1, 2], [7, 7, 7], 1, [0, 0, 0]),
        ([0] * few, range(few), few, range(few)),
        ([0] * (few + 1), range(few + 1), 0, None),
        ([0, 0, 1, 1], [7, 8, 8, 8], 0, None),
    ):
        out = np.full(len(ids), -1)
        assert tracking_kernels.number_ids(np.array(frame, np.int32), np.array(ids, np.int64), out) == count
        assert numbers is None or out.tolist() == list(numbers)


def jumped(poses, frame=None, person=None):
    """Return which rows jump by 0.5 m plus 0.25 m for each frame in between; by default one person, all frames."""
    rows = len(poses)
    frame = np.arange(rows, dtype=np.int32) if frame is None else np.array(frame, np.int32)
    person = np.zeros(rows, np.int64) if person is None else np.array(person)
    return tracking_kernels.find_jumps(np.float32(poses), frame, person, person.max() + 1, 0.5, 0.25).tolist()


def test_a_row_jumps_when_more_than_half_of_the_joints_known_in_both_are_far():
    pose = np.ones((4, 3))
    for far, answer in ((0, False), (1, False), (2, False), (3, True), (4, True)):
        moved = pose.copy()
        moved[:far, 1] += 0.6
        assert jumped([pose, moved]) == [False, answer]
    moved[2:] = 0  # of two that are left, both jump
    assert jumped([pose, moved]) == [False, True]
    moved[0] = pose[0]  # and now one of two
    assert jumped([pose, moved]) == [False, False]
    assert jumped([moved, pose]) == [False, False]
    moved[2] = 1, 1, 2  # two of three
    assert jumped([moved, pose]) == [False, True]
    assert jumped([moved[::-1], pose]) == [False, True]


def test_the_limit_of_a_jump_is_a_3d_distance_and_grows_with_the_gap():
    pose, up = np.ones((2, 3)), np.array([0, 1, 0])
    for step, answer in (([0.5, 0, 0], False), ([0, 0, -0.5625], True), ([0.375, 0.375, 0], True)):
        assert jumped([pose, pose + step]) == [False, answer]
    for step, frames, answer in ((1.0, 3, False), (1.0625, 3, True), (1.25, 4, False), (1.3125, 4, True)):
        assert jumped([pose, pose + step * up], frame=[7, 7 + frames]) == [False, answer]


def test_each_person_is_compared_with_their_own_last_row_with_a_joint():
    here, there, nothing = np.ones((2, 3)), np.full((2, 3), 4.0), np.zeros((2, 3))
    assert jumped([here, there, here, there], [0, 0, 1, 1], [0, 1, 0, 1]) == [False] * 4
    assert jumped([here, there, there, here], [0, 0, 1, 1], [0, 1, 0, 1]) == [False, False, True, True]
    assert jumped([nothing, here, nothing, there]) == [False, False, False, True]
    near, further = (np.float32([[1 + way, 1, 1], [0, 0, 0]]) for way in (0.4, 0.8))  # one joint is left of each
    assert jumped([here, near, further]) == [False, False, False]
    assert jumped([here, nothing, further]) == [False, False, True]


def test_the_velocity_is_the_mean_over_joints_known_in_both_frames():
    body = np.zeros((6, 5, 3), np.float32) + np.arange(6, dtype=np.float32)[:, None, None] * np.float32([1, -2, 0.5])
    body[:, [1, 3]] *= 3
    body[:, 4] = np.nan
    body[5, [1, 3]] = np.nan
    for t, then, expected in ((4, 0, (2, -4, 1)), (0, 4, (2, -4, 1)), (1, 5, (1, -2, 0.5)), (5, 1, (1, -2, 0.5))):
        assert tracking_kernels.velocity(body, t, then) == expected
    assert tracking_kernels.velocity(body, 3, -1) == tracking_kernels.velocity(body, 2, 6) == (0, 0, 0)


def test_the_handover_distance_assumes_standing_or_walking_on():
    """Seen in frames 0 to 4 and from 8 on, with the mean of both speeds in between."""
    step, places = np.float32([0.25, -0.5, 1]), np.float32([[1, 1, 1], [2, 0, 1]])
    walk = places + np.arange(14, dtype=np.float32)[:, None, None] * step
    one, other = walk.copy(), walk.copy()
    one[5:], other[:8] = np.nan, np.nan
    assert tracking_kernels.handover_distance(one, 4, other, 8) == 0
    other[8:] = walk[4] + 2 * step  # stands where half the speed leads to
    assert tracking_kernels.handover_distance(one, 4, other, 8) == 0
    other[8:] = walk[4] + np.float32([0, 0.5, 0])
    assert (
        tracking_kernels.handover_distance(one, 4, other, 8) == 0.5
    )  # from where it stood: nearer than from where it would be


def test_a_hand_over_between_consecutive_frames_has_no_gap():
    xyz = np.ones((2, 6, 3, 3), np.float32)
    xyz[0, 3:], xyz[1, :3] = np.nan, np.nan
    xyz[1] += np.float32([0, 0.25, 0])
    assert tracking_kernels.max_handover_distance(xyz, present(xyz), 0, 1, 0, 0, 0.25, 2.0, 9) == 0.25
    assert tracking_kernels.max_handover_distance(xyz, present(xyz), 0, 1, 0, 0, 0.2, 2.0, 9) == np.inf


def test_fast_people_are_not_cut(one):
    running = one + 0.2 * np.arange(80, dtype=np.float32)[None, :, None, None] * np.float32([1, 0, 0])
    assert follow_ids(recorded(running)).step_counts["bodies_split"] == 0


@pytest.mark.parametrize("seed", range(20))
def test_hand_overs_agree_with_the_naive_implementation(seed):
    rng = np.random.default_rng(seed)
    xyz = rng.normal(size=(5, 14, 4, 3)).astype(np.float32)
    xyz[rng.random((5, 14)) < 0.7] = np.nan
    xyz[rng.random((5, 14, 4)) < 0.2] = np.nan
    found = tracking_kernels.handover_matrix(xyz, present(xyz), 4, 1, 0.8, 0.1, 2)
    for a in range(5):
        for b in range(a + 1, 5):
            assert found[a, b] == pytest.approx(naive_handover(xyz[a], xyz[b], 4, 1, 0.8, 0.1, 2))
    assert np.isinf(found[np.tril_indices(5)]).all()


@pytest.mark.parametrize("seed", range(20))
def test_rejoining_agrees_with_the_naive_implementation(seed):
    rng = np.random.default_rng(seed)
    xyz = (rng.normal(0, 0.3, (7, 1, 1, 3)) + rng.normal(0, 0.1, (7, 30, 4, 3))).astype(np.float32)
    for body in xyz:
        first, last = np.sort(rng.integers(0, 30, 2))
        body[:first] = body[last + 1 :] = np.nan
    xyz[rng.random((7, 30, 4)) < 0.1] = np.nan
    found = rejoin(clip(xyz), max_gap=8, max_overlap=3, max_distance=0.5, pace=0.05, pose_gap=4)
    np.testing.assert_array_equal(found.xyz, naive_rejoined(xyz, 8, 3, 0.5, 0.05, 4))
    assert found.step_counts["bodies_rejoined"] == 7 - len(found.xyz)


def test_rejoining_does_not_change_its_input(one):
    pieces = np.concatenate([one, one])
    pieces[0, 40:] = np.nan
    pieces[1, :40] = np.nan
    before = clip(pieces)
    rejoin(before)
    np.testing.assert_array_equal(before.xyz, pieces)
    assert before.step_counts == {}


@pytest.mark.parametrize(
    "persons", [1, 2, 5, tracking_kernels.MAX_COMPARED_IDS, tracking_kernels.MAX_COMPARED_IDS + 1, 40]
)
@pytest.mark.parametrize("twice", [False, True])
def test_ids_become_bodies_in_order_of_appearance(persons, twice):
    rng = np.random.default_rng(persons)
    ids = rng.permutation(1000)[:persons]
    bodies = np.full((persons + twice, 3 * persons, 25, 3), np.nan, np.float32)
    for number in range(persons):  # each is there for four frames, from three frames after the one before
        bodies[number, 3 * number : 3 * number + 4] = 10 * number + rng.random((25, 3))
    if twice:  # somebody far away, under the last one's id
        bodies[-1, -2:] = -100
        ids = np.append(ids, ids[-1])
    found = follow_ids(recorded(bodies, ids))
    np.testing.assert_array_equal(found.xyz, bodies)
    assert found.step_counts["bodies_found"] == persons + twice
    assert found.step_counts["bodies_split"] == 0
