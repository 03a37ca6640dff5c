from collections import Counter

import numpy as np
import pytest

from pipeline.errors import UnusableClip
from pipeline.recipes.recipe import load_recipe
from pipeline.recipes.reference.pyskl import bodies_as_pyskl
from tests.support.messy_recordings import messy_recording
from tests.support.people import people, recorded
from tests.support.reference_code import naive_pyskl

SEEDS = range(600)
CRASHES = {
    AssertionError: "no body in any frame|every body is in fewer than 12 frames, or wide; PYSKL crashes on it",
    IndexError: "the coordinates of every frame are zero; PYSKL crashes on it",
}


def test_dirty_recordings_give_the_result_of_pyskl():
    outcomes = Counter()
    for seed in SEEDS:
        recording = messy_recording(seed)
        try:
            expected = naive_pyskl(recording)
        except tuple(CRASHES) as crash:
            with pytest.raises(UnusableClip, match=CRASHES[type(crash)]):
                bodies_as_pyskl(recording)
            outcomes[type(crash)] += 1
        else:
            found = bodies_as_pyskl(recording)
            np.testing.assert_array_equal(found.xyz, expected)
            outcomes[len(found.xyz)] += 1
    assert outcomes[1] > 2
    assert outcomes[2] > 2
    assert outcomes[AssertionError] > 2


def test_one_shared_frame_is_an_overlap():
    two = people(np.random.default_rng(1), bodies=2, frames=41)
    two[0] *= 2
    two[0, 21:] = np.nan
    two[1, :20] = np.nan
    found = bodies_as_pyskl(recorded(two)).xyz
    assert not found[0, 21:].any()
    np.testing.assert_array_equal(found[1, 20:], two[1, 20:])


def test_a_wide_body_is_dropped_even_if_it_is_the_last():
    wide = people(np.random.default_rng(2), bodies=2)[..., [1, 0, 2]]
    with pytest.raises(UnusableClip, match="or wide; PYSKL crashes on it"):
        bodies_as_pyskl(recorded(wide))


def test_the_actor_of_the_first_frame_is_first():
    two = people(np.random.default_rng(3), bodies=2, frames=60)
    two[0] *= 2  # moves more, so it is the first actor
    two[0, :15] = np.nan
    found = bodies_as_pyskl(recorded(two))
    np.testing.assert_array_equal(found.xyz[0], two[1])
    np.testing.assert_array_equal(found.xyz[1, 15:], two[0, 15:])


def test_zero_frames_are_removed_at_the_ends_only():
    two = people(np.random.default_rng(3), bodies=2, frames=60)
    two[:, [*range(10), 30, *range(55, 60)]] = 0
    found = bodies_as_pyskl(recorded(two))
    assert found.xyz.shape[1] == 45
    assert not found.xyz[:, 20].any()
    assert found.step_counts["frames_trimmed"] == 15
    two[:] = 0
    with pytest.raises(UnusableClip, match="every frame are zero"):
        bodies_as_pyskl(recorded(two))


def test_the_recipe_is_the_step_with_pyskls_parameters():
    steps = load_recipe("pyskl").resolved["steps"]
    assert steps == [{"step": "bodies_as_pyskl", "min_frames": 12, "max_spread": 0.8, "max_wide": 0.69754}]
