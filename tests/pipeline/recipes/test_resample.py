import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.recipes.steps.resample import resize, resized
from tests.support.people import clip, people
from tests.support.reference import naive_resized


@given(T=st.integers(1, 40), frames=st.integers(1, 40), seed=st.integers(0, 99))
def test_agrees_with_the_naive_implementation(T, frames, seed):
    xyz = np.random.default_rng(seed).normal(size=(2, T, 3, 3)).astype(np.float32)
    np.testing.assert_allclose(resized(xyz, frames), naive_resized(xyz, frames), atol=1e-6)


def test_the_same_number_of_frames_changes_nothing():
    xyz = people(np.random.default_rng(0), frames=17)
    assert resized(xyz, 17) is xyz


def test_a_straight_path_stays_straight_and_its_ends_are_clamped():
    line = np.tile(np.arange(8, dtype=np.float32)[None, :, None, None], (1, 1, 1, 3))
    assert resized(line, 16)[0, :, 0, 0].tolist() == [0, *np.arange(0.25, 7, 0.5), 7]


def test_missing_values_spread_only_to_interpolated_frames():
    xyz = np.zeros((1, 9, 1, 3), np.float32)
    xyz[0, 3] = np.nan
    assert np.isnan(resized(xyz, 3)).sum() == 0  # the new frames are the source's 1, 4 and 7 exactly
    assert np.isnan(resized(xyz, 18)[0, :, 0, 0]).nonzero()[0].tolist() == [5, 6, 7, 8]


@pytest.mark.parametrize("frames", [1, 64, 300])
def test_the_step_gives_all_bodies_that_many_frames(frames):
    xyz = people(np.random.default_rng(1), bodies=2, frames=23)
    assert resize(clip(xyz), frames=frames).xyz.shape == (2, frames, 25, 3)
    assert resize(clip(xyz), frames=frames).xyz.dtype == np.float32


def test_the_step_gives_64_frames_by_default():
    assert resize(clip(people(np.random.default_rng(1), frames=23))).xyz.shape[1] == 64
