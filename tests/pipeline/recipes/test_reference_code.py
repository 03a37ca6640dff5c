import dataclasses
from collections import Counter

import numpy as np
import pytest

from pipeline.errors import UnusableClip
from pipeline.recipes.reference import ctrgcn_kernels
from pipeline.recipes.reference.agcn import bodies_by_energy
from pipeline.recipes.reference.ctrgcn import bodies_by_motion
from pipeline.recipes.reference.stgcn import bodies_by_slot
from tests.support.messy_recordings import messy_recording
from tests.support.people import STANDING, people, recorded
from tests.support.reference_code import naive_by_energy, naive_denoised, naive_slots

SEEDS = range(600)


def columns(xyz):
    """Return (M, T, V, 3) in the layout of CTR-GCN: (T, M * V * 3)."""
    return xyz.swapaxes(0, 1).reshape(xyz.shape[1], -1)


def moving(pieces, frames):
    """Bodies that stand still in frames [first, last], each larger than the next, so with more of CTR-GCN's motion."""
    bodies = np.full((len(pieces), frames, 25, 3), np.nan)
    for index, (first, last) in enumerate(pieces):
        bodies[index, first : last + 1] = STANDING * (2 - 0.1 * index)
    return recorded(bodies)


def shown(clip):
    """Return, for each body, the frames in which it is not zero."""
    return [np.flatnonzero(body.any(axis=(1, 2))).tolist() for body in clip.xyz]


def test_slots_follow_the_order_of_each_frame_and_are_zero_if_empty():
    two = people(np.random.default_rng(6), bodies=2)
    two[0, 10:20] = np.nan
    slots = bodies_by_slot(recorded(two)).xyz
    np.testing.assert_array_equal(slots[0, 10:20], two[1, 10:20])
    assert (slots[1, 10:20] == 0).all()
    np.testing.assert_array_equal(slots[:, 20:], two[:, 20:])


def test_slots_leave_out_the_third_body():
    three = people(np.random.default_rng(0), bodies=3)
    found = bodies_by_slot(recorded(three))
    np.testing.assert_array_equal(found.xyz, three[:2])
    assert found.step_counts == {"bodies_found": 3, "bodies_dropped": 1, "frames_trimmed": 0}


@pytest.mark.parametrize("reader", [bodies_by_slot, bodies_by_energy])
def test_recordings_with_too_many_frames_are_refused_cut_or_kept(reader):
    xyz = people(np.random.default_rng(0), frames=307)
    long = recorded(xyz)
    with pytest.raises(UnusableClip, match="307 frames, but the arrays of reference implementations have only 300"):
        reader(long)
    assert reader(long, max_frames=307).xyz.shape[1] == 307
    for longer, start, stop in (("first", 0, 300), ("centre", 3, 303), ("keep", 0, 307)):
        found = reader(long, longer=longer)
        np.testing.assert_array_equal(found.xyz[0], xyz[0, start:stop])
        assert found.step_counts["frames_trimmed"] == 307 - (stop - start)
        np.testing.assert_array_equal(reader(long, max_frames=307, longer=longer).xyz[0], xyz[0])
    with pytest.raises(UnusableClip, match="no frame"):
        reader(recorded(people(np.random.default_rng(0), frames=0)))
    with pytest.raises(UnusableClip, match="15000000 frames: no recording of people"):
        reader(dataclasses.replace(long, frames=15_000_000), longer="keep")


@pytest.mark.parametrize("longer", ["first", "centre"])
def test_cutting_keeps_the_right_rows_of_a_dirty_recording(longer):
    for seed in range(100):
        recording = messy_recording(seed)
        start = (recording.frames - 7) // 2 if longer == "centre" else 0
        expected = naive_slots(recording, 2)[:, max(0, start) :][:, :7]
        np.testing.assert_array_equal(bodies_by_slot(recording, max_frames=7, longer=longer).xyz, expected)


def test_dirty_recordings_give_the_result_of_the_reference_readers():
    for seed in SEEDS:
        recording = messy_recording(seed)
        np.testing.assert_array_equal(bodies_by_slot(recording).xyz, naive_slots(recording, 2))
        np.testing.assert_array_equal(bodies_by_energy(recording).xyz, naive_by_energy(recording))


def test_the_larger_body_is_first_and_nan_before_all():
    three = people(np.random.default_rng(1), bodies=3) * np.array([1.0, 1.5, 1.2])[:, None, None, None]
    np.testing.assert_array_equal(bodies_by_energy(recorded(three)).xyz, three[[1, 2]].astype(np.float32))
    three[0, 3, 3, 0] = np.nan
    np.testing.assert_array_equal(bodies_by_energy(recorded(three)).xyz, three[[0, 1]].astype(np.float32))


def test_the_fifth_slot_is_ignored():
    five = people(np.random.default_rng(1), bodies=5) * np.array([1.0, 1.1, 1.2, 1.3, 9])[:, None, None, None]
    np.testing.assert_array_equal(bodies_by_energy(recorded(five)).xyz, five[[3, 2]].astype(np.float32))
    np.testing.assert_array_equal(bodies_by_energy(recorded(five), slots=5).xyz, five[[4, 3]].astype(np.float32))


@pytest.mark.kernels
def test_measures_equal_numpys_bit_for_bit():
    rng = np.random.default_rng(8)
    for frames in (1, 2, 7, 12, 40):
        body = (rng.normal(size=(frames, 25, 3)) * (0.4, 0.5, 0.3) + rng.normal(size=3)).astype(np.float32)
        assert ctrgcn_kernels.spread(body) == np.sum(np.var(body.reshape(-1, 3), axis=0))
        body[::5, 3, 0] = np.nan
        x, y, _ = np.ptp(body, axis=1).T
        np.testing.assert_array_equal(ctrgcn_kernels.narrow(body, np.float32(0.8)), x <= np.float32(0.8) * y)


CRASHES = {
    AssertionError: "no body in any frame",
    IndexError: "every body is in fewer than 12 frames; CTR-GCN crashes on it",
    ValueError: "an id occurs twice in a frame and runs past the end; CTR-GCN crashes on it",
}


def test_dirty_recordings_give_the_result_of_ctrgcn():
    outcomes = Counter()
    for seed in SEEDS:
        recording = messy_recording(seed)
        try:
            expected = naive_denoised(recording)
            refusal = "" if len(expected) else "the coordinates of every frame sum to zero; CTR-GCN crashes on it"
        except tuple(CRASHES) as crash:
            refusal = CRASHES[type(crash)]
        if refusal:
            with pytest.raises(UnusableClip, match=refusal):
                bodies_by_motion(recording)
            outcomes[refusal] += 1
        else:
            found = bodies_by_motion(recording)
            np.testing.assert_array_equal(columns(found.xyz), expected)
            outcomes[len(found.xyz)] += 1
    assert len(outcomes) == 6
    assert min(outcomes.values()) > 2


def test_gaps_of_an_id_are_removed():
    two = people(np.random.default_rng(6), bodies=2)
    two[0] *= 2
    two[1, 20:40] = np.nan
    found = bodies_by_motion(recorded(two)).xyz
    np.testing.assert_array_equal(found[0], two[0])
    np.testing.assert_array_equal(found[1, :60], two[1, [*range(20), *range(40, 80)]])
    assert not found[1, 60:].any()


@pytest.mark.parametrize(
    ("pieces", "expected", "dropped"),
    [
        ([(0, 20), (21, 40)], [[(0, 40)], []], 0),  # one after the other: one actor
        ([(0, 20), (20, 40)], [[(0, 40)], []], 0),  # one frame shared is no overlap
        ([(0, 20), (19, 40)], [[(0, 20)], [(19, 40)]], 0),  # two are
        ([(0, 40), (0, 15), (25, 40)], [[(0, 40)], [(0, 15), (25, 40)]], 0),
        ([(0, 40), (25, 40), (0, 15)], [[(0, 40)], [(25, 40)]], 1),  # the second actor's frames count from frame 0
        ([(0, 13), (27, 40), (14, 26)], [[(0, 13), (27, 40)], [(14, 26)]], 0),  # nor is a hole ever filled
    ],
)
def test_pieces_are_merged_where_they_do_not_overlap(pieces, expected, dropped):
    found = bodies_by_motion(moving(pieces, 41))
    assert shown(found) == [[t for first, last in spans for t in range(first, last + 1)] for spans in expected]
    assert found.step_counts["bodies_dropped"] == dropped


def test_the_later_body_overwrites_the_shared_frame():
    found = bodies_by_motion(moving([(0, 20), (20, 40)], 41))
    np.testing.assert_array_equal(found.xyz[0, 20], (STANDING * 1.9).astype(np.float32))


def test_a_single_id_is_kept_even_if_short_or_wide():
    ghost = people(np.random.default_rng(2), frames=5)[..., [1, 0, 2]]
    np.testing.assert_array_equal(bodies_by_motion(recorded(ghost)).xyz, ghost)


def test_the_last_remaining_body_is_kept_even_if_wide():
    wide = people(np.random.default_rng(2), bodies=2)[..., [1, 0, 2]]
    found = bodies_by_motion(recorded(wide))
    np.testing.assert_array_equal(found.xyz, wide[1:])  # the second in the file: the first is tested first
    assert found.step_counts["bodies_dropped"] == 1
