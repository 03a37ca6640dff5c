import numpy as np
import pytest

from pipeline.errors import UnusableClip
from pipeline.recipes.reference.skelemixclr import counted_frames
from pipeline.recipes.steps import noise_kernels, selection_kernels
from pipeline.recipes.steps.selection import (
    drop_furniture,
    drop_shaky,
    drop_short,
    limit_people,
    motion,
    pick_actors,
    trim,
)
from tests.support.people import STANDING, WIDE, clip, known_frames, people
from tests.support.reference import naive_motion, naive_tremble

pytestmark = pytest.mark.kernels


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def test_a_body_of_eleven_frames_is_dropped_and_one_of_twelve_is_kept(rng):
    bodies = people(rng, bodies=3)
    bodies[1, 11:] = np.nan
    bodies[2, 12:] = np.nan
    found = drop_short(clip(bodies), min_share=0)
    np.testing.assert_array_equal(found.xyz, bodies[[0, 2]])
    assert found.step_counts["bodies_dropped"] == 1


def test_a_body_shorter_than_a_quarter_of_the_longest_is_dropped(rng):
    bodies = people(rng, bodies=3)
    bodies[1, 19:] = np.nan
    bodies[2, 20:] = np.nan
    np.testing.assert_array_equal(drop_short(clip(bodies)).xyz, bodies[[0, 2]])


def test_a_trembling_body_is_dropped_unless_all_tremble(rng):
    steady, shadow = people(rng, bodies=2)
    shadow += rng.normal(0, 0.04, shadow.shape).astype(np.float32)
    found = drop_shaky(clip(np.stack([shadow, steady])))
    np.testing.assert_array_equal(found.xyz, steady[None])
    assert found.step_counts["bodies_dropped"] == 1
    dark = np.stack([shadow, steady + rng.normal(0, 0.03, steady.shape).astype(np.float32)])
    np.testing.assert_array_equal(drop_shaky(clip(dark)).xyz, dark)
    np.testing.assert_array_equal(drop_shaky(clip(dark[:1])).xyz, dark[:1])


def test_a_brief_steady_body_does_not_set_the_limit_of_trembling(rng):
    noisy, glimpse = people(rng, bodies=2)
    noisy += rng.normal(0, 0.03, noisy.shape).astype(np.float32)
    glimpse[20:] = np.nan
    np.testing.assert_array_equal(drop_shaky(clip(np.stack([noisy, glimpse]))).xyz, np.stack([noisy, glimpse]))


def test_tremble_is_the_deviation_of_white_noise_and_agrees_with_the_naive_implementation(rng):
    still = np.tile(STANDING, (2, 80, 1, 1)) + rng.normal(0, 0.02, (2, 80, 25, 3))
    still[0, rng.random((80, 25)) < 0.02] += 1
    assert noise_kernels.tremble(still.astype(np.float32)) == pytest.approx([0.02, 0.02], rel=0.08)
    xyz = rng.normal(size=(3, 12, 5, 3)).astype(np.float32)
    xyz[rng.random((3, 12, 5)) < 0.2] = np.nan
    xyz[2, ::2] = np.nan
    np.testing.assert_allclose(noise_kernels.tremble(xyz), naive_tremble(xyz), rtol=1e-6)


def test_if_all_bodies_are_too_short_the_longest_is_kept(rng):
    bodies = people(rng, bodies=2)
    bodies[0, 5:] = np.nan
    bodies[1, 9:] = np.nan
    np.testing.assert_array_equal(drop_short(clip(bodies)).xyz, bodies[[1]])


def test_a_wide_body_is_dropped_and_a_person_who_lies_down_is_kept(rng):
    bodies = people(rng, bodies=2)
    table = WIDE + rng.normal(0, 0.03, (80, 25, 3))
    faller = bodies[1].copy()
    faller[40:] += WIDE - STANDING
    found = drop_furniture(clip(np.stack([bodies[0], table, faller])))
    np.testing.assert_array_equal(found.xyz, np.stack([bodies[0], faller]).astype(np.float32))


@pytest.mark.parametrize("jitter", [0.0, 0.005, 0.02])
def test_a_person_who_hardly_moves_is_kept(rng, jitter):
    bodies = people(rng, bodies=2)
    bodies[1] = bodies[1].mean(axis=0) + 0.15 * (bodies[1] - bodies[1].mean(axis=0))
    assert motion(bodies)[1] < 0.02**2
    shaken = (bodies + rng.normal(0, jitter, bodies.shape)).astype(np.float32)
    assert len(drop_furniture(clip(shaken)).xyz) == 2


def test_a_trembling_object_does_not_replace_a_person(rng):
    person, calm = people(rng)[0], people(rng, reach=0.02)[0]
    thing = STANDING + rng.normal(0, 0.03, (80, 25, 3)) + 0.03 * rng.normal(size=(4, 25, 3)).repeat(20, axis=0)
    assert motion(np.float32([thing]))[0] > 0.25 * noise_kernels.tremble(np.float32([thing]))[0] ** 2
    found = pick_actors(clip(np.stack([thing, calm, person])))
    np.testing.assert_array_equal(found.xyz, np.stack([person, calm]))


def test_a_still_body_is_dropped_even_if_it_trembles(rng):
    person = people(rng)[0]
    for tremble in (0.0, 0.005, 0.02):
        chair = STANDING + np.array([1, 0, 0.5]) + rng.normal(0, tremble, (80, 25, 3))
        assert len(drop_furniture(clip(np.stack([chair, person]))).xyz) == 1


def test_if_all_bodies_are_furniture_the_most_active_is_kept(rng):
    tables = np.stack([WIDE + rng.normal(0, 0.01, (80, 25, 3)), WIDE + 0.2 * np.sin(np.arange(80))[:, None, None]])
    np.testing.assert_array_equal(drop_furniture(clip(tables)).xyz, tables[1:].astype(np.float32))
    assert len(drop_furniture(clip(tables[:1])).xyz) == 1


def test_the_two_most_active_are_kept_the_most_active_first(rng):
    calm, wild, lively = (people(rng, reach=reach)[0] for reach in (0.01, 0.12, 0.06))
    found = pick_actors(clip(np.stack([calm, wild, lively])))
    np.testing.assert_array_equal(found.xyz, np.stack([wild, lively]))
    assert found.step_counts["bodies_dropped"] == 1
    np.testing.assert_array_equal(pick_actors(clip(np.stack([calm, wild])), count=1).xyz, wild[None])


def test_a_long_actor_is_preferred_to_a_ghost_that_moves_more(rng):
    calm, wild, lively = (people(rng, reach=reach)[0] for reach in (0.03, 0.12, 0.06))
    wild[30:] = np.nan
    found = pick_actors(clip(np.stack([wild, calm, lively])))
    np.testing.assert_array_equal(found.xyz, np.stack([lively, calm]))
    np.testing.assert_array_equal(pick_actors(clip(np.stack([wild, calm])), count=1).xyz, calm[None])


def test_a_body_that_moves_no_more_than_it_trembles_is_furniture(rng):
    person = people(rng)[0]
    bush = STANDING + rng.normal(0, 0.03, (80, 25, 3)) + 0.01 * np.sin(np.arange(80) / 9)[:, None, None]
    assert motion(bush[None].astype(np.float32))[0] > 5e-5
    np.testing.assert_array_equal(drop_furniture(clip(np.stack([bush, person]))).xyz, person[None])


def test_a_wide_person_who_moves_is_kept(rng):
    upright, sideways = people(rng, bodies=2)
    sideways += (WIDE - STANDING).astype(np.float32)
    assert selection_kernels.wide_share(sideways[None], 0.8)[0] == 1
    both = np.stack([upright, sideways + np.sin(np.arange(80) / 8)[:, None, None].astype(np.float32) * 0.2])
    np.testing.assert_array_equal(drop_furniture(clip(both)).xyz, both)


def test_motion_is_the_variance_without_jitter(rng):
    people_two = people(rng, bodies=2, reach=0.05)
    still = np.tile(STANDING, (80, 1, 1)) + rng.normal(0, 0.02, (80, 25, 3))
    found = motion(np.stack([*people_two, still]).astype(np.float32))
    variances = people_two.astype(np.float64).var(axis=1).sum(axis=-1).mean(axis=-1)
    np.testing.assert_allclose(found[:2], variances, rtol=0.03)
    assert found[2] < 0.1 * 3 * 0.02**2


def test_motion_agrees_with_the_naive_implementation(rng):
    xyz = rng.normal(size=(3, 20, 5, 3)).astype(np.float32).cumsum(axis=1)
    xyz[rng.random((3, 20, 5)) < 0.3] = np.nan
    xyz[0, :, 0] = np.nan
    xyz[1, 1:] = np.nan
    np.testing.assert_allclose(motion(xyz), naive_motion(xyz), rtol=1e-6, atol=1e-9)


def test_two_frames_are_enough_for_a_variance_and_one_is_not():
    for path, variance in (([0, 2], 1), ([0, np.nan, 4, np.nan], 4), ([3], 0), ([np.nan, 3, np.nan], 0), ([np.nan], 0)):
        assert selection_kernels.path_variance(np.array(path, np.float32)) == variance


def test_noise_is_measured_by_second_differences_of_known_frames():
    """In 0 1 0 1 0 each inner second difference is 2: noise of 4 / 6, more than the variance of 6 / 25."""
    zigzag = np.array([0, 1, 0, 1, 0], np.float32)
    assert selection_kernels.path_variance(zigzag) == pytest.approx(6 / 25 - 4 / 6)
    assert selection_kernels.path_variance(np.append(zigzag, [np.nan, 3])) == pytest.approx(41 / 36 - 4 / 6)


def test_spread_is_measured_in_frames_with_the_body():
    body = np.stack([STANDING, STANDING, WIDE, np.full((25, 3), np.nan)]).astype(np.float32)
    assert selection_kernels.wide_share(body[None], 0.8).tolist() == [pytest.approx(1 / 3)]
    assert selection_kernels.wide_share(body[None, 2:], 0.8).tolist() == [1]
    assert selection_kernels.wide_share(body[None, 3:], 0.8).tolist() == [0]


def test_empty_ends_are_removed_and_gaps_are_kept(rng):
    two = people(rng, bodies=2)
    two[0, :12] = np.nan
    two[1, :10] = np.nan
    two[:, 40:45] = np.nan
    two[:, 78:] = np.nan
    found = trim(clip(two))
    np.testing.assert_array_equal(found.xyz, two[:, 10:78])
    assert found.step_counts == {"frames_trimmed": 12, "frames_empty": 5}
    assert known_frames(found.xyz)[0][0] == 2


def test_a_body_in_too_few_frames_is_refused_with_their_number(rng):
    body = people(rng, frames=5)
    with pytest.raises(UnusableClip, match="a body in 5 frames only, 6 are needed"):
        trim(clip(body))
    assert trim(clip(body), min_frames=5).xyz.shape[1] == 5


def test_counted_frames_removes_a_frame_at_the_end_for_each_gap(rng):
    body = people(rng, frames=30)
    body[:, 3:7] = 0
    assert counted_frames(clip(body)).xyz.shape[1] == 26
    with pytest.raises(UnusableClip, match="the first body is in no frame"):
        counted_frames(clip(np.zeros_like(body)))


def test_pieces_of_one_person_become_one_body_and_the_main_piece_wins(rng):
    whole, shadow = people(rng, bodies=2)
    pieces = np.full((4, *whole.shape), np.nan, np.float32)
    pieces[0, :10] = whole[:10]
    pieces[1, 10:60] = whole[10:60]
    pieces[2, 65:] = whole[65:]
    pieces[3, 20:30] = shadow[20:30]
    found = limit_people(clip(pieces), people=1)
    expected = whole.copy()
    expected[60:65] = np.nan
    np.testing.assert_array_equal(found.xyz, expected[None])
    assert (found.step_counts["bodies_rejoined"], found.step_counts["bodies_dropped"]) == (2, 1)


@pytest.mark.parametrize("absent", [0, np.nan])
def test_of_three_bodies_the_best_two_are_kept_in_their_order(rng, absent):
    bodies = people(rng, bodies=3)
    bodies[1, 15:] = absent
    found = limit_people(clip(bodies), people=2)
    np.testing.assert_array_equal(found.xyz, bodies[[0, 2]])
    assert found.step_counts["bodies_dropped"] == 1
    assert limit_people(found, people=2) is found
