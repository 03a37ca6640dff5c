import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.recipes.steps import denoise_kernels, noise_kernels
from pipeline.recipes.steps.denoise import despike, fill_gaps, smooth
from tests.support.people import clip, errors, people
from tests.support.reference import naive_despike, naive_fill, naive_smooth

pytestmark = pytest.mark.kernels


def denoised(xyz):
    return smooth(fill_gaps(despike(clip(xyz))))


def rough(seed):
    """Short paths with motion, jitter, spikes and gaps."""
    rng = np.random.default_rng(seed)
    xyz = people(rng, bodies=2, frames=int(rng.integers(1, 30)))[:, :, :4]
    xyz += rng.normal(0, rng.choice([0, 0.005, 0.03]), xyz.shape).astype(np.float32)
    xyz[rng.random(xyz.shape[:3]) < 0.1] += rng.normal(0, 0.4, 3).astype(np.float32)
    xyz[rng.random(xyz.shape[:3]) < rng.choice([0, 0.2])] = np.nan
    return xyz


def along_x(path):
    """One person whose joints all move (T,) metres along x."""
    return (
        people(np.random.default_rng(0), frames=1)[:, :1] + np.asarray(path)[None, :, None, None] * [1, 0, 0]
    ).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_despiking_agrees_with_the_naive_implementation(seed):
    xyz = rough(seed)
    parents = np.array([1, -1, 1, 2])
    found, spikes = denoise_kernels.despike(xyz, noise_kernels.joint_noise(xyz), parents, 0.05, 1.0, 0.03, 3.0)
    expected = naive_despike(xyz, parents, 0.05, 1.0, 0.03, 3.0)
    np.testing.assert_array_equal(found, expected)
    assert spikes == np.isnan(expected[..., 0]).sum() - np.isnan(xyz[..., 0]).sum()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), max_gap=st.integers(0, 6))
def test_filling_agrees_with_the_naive_implementation(seed, max_gap):
    xyz = rough(seed)
    found, filled = denoise_kernels.fill(xyz, max_gap)
    np.testing.assert_allclose(found, naive_fill(xyz, max_gap), atol=2e-5)
    assert filled == np.isnan(xyz[..., 0]).sum() - np.isnan(found[..., 0]).sum()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_smoothing_agrees_with_the_naive_implementation(seed):
    xyz = rough(seed)
    found, _ = denoise_kernels.smooth(xyz, noise_kernels.joint_noise(xyz), 0.002, 2.0, 0.02)
    np.testing.assert_allclose(found, naive_smooth(xyz, 0.002, 2.0, 0.02), atol=2e-6)


@pytest.mark.parametrize("hertz", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("reach", [0.05, 0.15])
def test_a_waving_hand_is_not_changed(hertz, reach):
    wave = along_x(reach * np.sin(2 * np.pi * hertz * (np.arange(90) / 30) + 0.4))
    found = denoised(wave)
    assert found.step_counts["joints_despiked"] == 0
    assert errors(found.xyz, wave).max() < 1


@pytest.mark.parametrize("frames", [6, 8, 12])
def test_a_punch_keeps_its_reach(frames):
    turn = np.clip((np.arange(60) - 25.3) / frames, 0, 1)
    punch = along_x(0.3 * (1 - np.cos(2 * np.pi * turn)))
    found = denoised(punch)
    assert found.step_counts["joints_despiked"] == 0
    assert errors(found.xyz, punch).max() < 3


def test_clean_motion_hardly_changes():
    for seed in range(10):
        truth = people(np.random.default_rng(seed), bodies=2)
        found = denoised(truth).xyz
        speed = np.linalg.norm(np.diff(truth, axis=1), axis=-1)
        fastest = speed > np.quantile(speed, 0.95)
        assert errors(found, truth).mean() < 1
        assert np.quantile(errors(found[:, 1:][fastest], truth[:, 1:][fastest]), 0.99) < 3


@pytest.mark.parametrize(("height", "share"), [(0.2, 0.8), (0.5, 0.95), (1.5, 0.98)])
@pytest.mark.parametrize("frames", [1, 2])
def test_spikes_are_replaced_by_values_near_the_truth(height, share, frames):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        truth = people(rng, bodies=2)
        spiked = truth.copy()
        at = rng.random(truth.shape[:3]) < 0.01
        away = rng.normal(size=(at.sum(), 3))
        off = np.zeros_like(truth)
        off[at] = height * away / np.linalg.norm(away, axis=1, keepdims=True)
        if frames == 2:
            off[:, 1:] += np.where(off[:, 1:] == 0, off[:, :-1], 0)
            at[:, 1:] |= at[:, :-1].copy()
        spiked += off
        found = denoised(spiked)
        left = errors(found.xyz[at], truth[at])
        # The others do not change bone lengths, which a limb could do as well.
        assert (left < 25).mean() > share - 0.1 * (frames - 1)
        assert errors(found.xyz[~at], truth[~at]).mean() < 0.5
        assert found.step_counts["joints_despiked"] <= at.sum() * 1.1


@pytest.mark.parametrize("degrees", [30, 45, 90])
def test_the_same_spikes_are_found_after_a_turn(degrees):
    rng = np.random.default_rng(5)
    spiked = people(rng, bodies=2)
    at = rng.random(spiked.shape[:3]) < 0.01
    spiked[at] += 0.5 * rng.choice([-1, 1], (at.sum(), 3))
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = (spiked @ np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])).astype(np.float32)
    found, found_after = (np.isnan(despike(clip(xyz)).xyz[..., 0]) for xyz in (spiked, turned))
    assert found.sum() > 30
    assert (found != found_after).sum() <= 0.01 * found.sum()  # the median of each axis depends on the axes


def test_a_spike_in_the_first_frame_is_removed_and_a_fast_start_is_kept():
    still = along_x(np.zeros(20))
    still[0, 0, 7] += 0.5
    found = despike(clip(still)).xyz
    assert np.isnan(found[0, 0, 7]).all()
    assert np.isnan(found[..., 0]).sum() == 1
    start = along_x(0.2 * np.arange(20.0))
    assert despike(clip(start)).step_counts["joints_despiked"] == 0


def detour(leg, across, frames):
    """Return (T, 3): a move by `across` metres; in some frames in between, `leg` metres from both positions."""
    aside = np.array([across / 2, np.sqrt(leg**2 - across**2 / 4), 0])
    return np.float32([[0, 0, 0]] * 4 + [aside] * frames + [[across, 0, 0]] * 4)


@pytest.mark.parametrize(("leg", "across", "spike"), [
    (2, 2.5, True), (2, 2.8, True), (2, 2.9, False), (2, 3.5, False),
    (0.4, 0.5, True), (0.4, 0.55, True), (0.4, 0.58, False), (0.4, 0.7, False),
    (0.04, 0.01, False), (0.06, 0.01, True),
])  # fmt: skip
def test_an_acute_angle_is_a_spike_and_an_obtuse_one_is_not(leg, across, spike):
    assert denoise_kernels.is_spike(detour(leg, across, 1), 4, 0.05, 1.0) == spike
    assert denoise_kernels.is_double_spike(detour(leg, across, 2), 4, 0.05, 1.0) == spike
    assert not denoise_kernels.is_spike(detour(leg, across, 2), 4, 0.05, 1.0)
    assert not denoise_kernels.is_double_spike(detour(leg, across, 1), 4, 0.05, 1.0)
    assert not denoise_kernels.is_double_spike(detour(leg, across, 3), 4, 0.05, 1.0)


def test_a_right_angle_is_no_spike():
    """15 m and 20 m at a right angle have a hypotenuse of 25 m, without rounding."""
    start, corner, end = [0, 0, 0], [9, 12, 0], [-7, 24, 0]
    for frames, is_found in ((1, denoise_kernels.is_spike), (2, denoise_kernels.is_double_spike)):
        assert not is_found(np.float32([start] * 4 + [corner] * frames + [end] * 4), 4, 0.05, 1.0)
        assert is_found(np.float32([start] * 4 + [corner] * frames + [[-7, 23, 0]] * 4), 4, 0.05, 1.0)


def test_exactly_the_limit_is_no_spike():
    path = np.zeros((11, 3), np.float32)
    path[:, 0] = 0.25 * np.arange(11)
    for aside, spike in ((0.5, False), (0.5625, True)):
        path[5, 1] = aside
        assert denoise_kernels.is_spike(path, 5, 0.5, 0.0) == spike


def test_the_limit_of_a_spike_grows_with_speed():
    """At a speed of 0.2 m a frame the limit is 0.05 + 0.2 m, or 0.05 + 0.4 m at a motion factor of 2.

    Three frames of 0.2 m make 0.26 m aside an obtuse angle for two of them.
    """
    for aside, factor, one, two in (
        (0.24, 1.0, False, False),
        (0.26, 1.0, True, False),
        (0.44, 2.0, False, False),
        (0.46, 2.0, True, True),
    ):
        for frames, is_found, spike in ((1, denoise_kernels.is_spike, one), (2, denoise_kernels.is_double_spike, two)):
            path = np.zeros((11, 3), np.float32)
            path[:, 0] = 0.2 * np.arange(11)
            path[5 : 5 + frames, 1] = aside
            assert is_found(path, 5, 0.05, factor) == spike


def test_an_arm_that_jumps_with_its_bone_lengths_is_not_changed():
    still = along_x(np.zeros(20))
    arm = [clip(still).layout.index(joint) for joint in ("right_shoulder", "right_elbow", "right_wrist", "right_hand")]
    arm += [clip(still).layout.index(joint) for joint in ("right_hand_tip", "right_thumb")]
    turned = still.copy()
    turned[0, 10, arm] = turned[0, 10, arm[0]] + (turned[0, 10, arm] - turned[0, 10, arm[0]]) * [-1, -1, 1]
    np.testing.assert_array_equal(despike(clip(turned)).xyz, turned)


def test_a_joint_seen_in_one_frame_alone_is_no_spike():
    alone = np.full((1, 9, 25, 3), np.nan, np.float32)
    alone[0, 4] = 1
    np.testing.assert_array_equal(denoised(alone).xyz, alone)


@pytest.mark.parametrize(("gap", "mean"), [(1, 0.2), (3, 1), (5, 3), (10, 15)])
def test_gaps_are_filled_along_the_motion(gap, mean):
    for seed in range(5):
        truth = people(np.random.default_rng(seed))
        dropped = truth.copy()
        dropped[:, 40 : 40 + gap] = np.nan
        found = fill_gaps(clip(dropped))
        assert found.step_counts["joints_filled"] == gap * 25
        assert errors(found.xyz[:, 40 : 40 + gap], truth[:, 40 : 40 + gap]).mean() < mean


def test_constant_acceleration_is_filled_exactly():
    fall = along_x(0.005 * np.arange(30.0) ** 2 - 0.1 * np.arange(30))
    dropped = fall.copy()
    dropped[:, 10:17] = np.nan
    np.testing.assert_allclose(fill_gaps(clip(dropped)).xyz, fall, atol=2e-6)


def test_longer_gaps_and_both_ends_stay_missing():
    path = people(np.random.default_rng(0))
    path[:, :3] = np.nan
    path[:, 20:31] = np.nan
    path[:, 50:60] = np.nan
    path[:, 78:] = np.nan
    found = fill_gaps(clip(path)).xyz
    missing = np.isnan(found).any(axis=(0, 2, 3))
    assert np.flatnonzero(missing).tolist() == [0, 1, 2, *range(20, 31), 78, 79]


def test_noise_below_the_minimum_is_not_smoothed():
    for seed in range(4):
        rng = np.random.default_rng(seed)
        shaken = (people(rng, bodies=2) + rng.normal(0, 0.005, (2, 80, 25, 3))).astype(np.float32)
        np.testing.assert_array_equal(smooth(clip(shaken)).xyz, shaken)


def test_one_flickering_joint_does_not_make_a_body_noisy():
    rng = np.random.default_rng(0)
    shaken = people(rng)
    shaken[0, :, 15] += rng.normal(0, 0.05, (80, 3)).astype(np.float32)
    np.testing.assert_array_equal(smooth(clip(shaken)).xyz, shaken)


@pytest.mark.parametrize(("jitter", "left"), [(0.01, 0.95), (0.015, 0.75), (0.02, 0.68)])
def test_more_jitter_is_reduced_more(jitter, left):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        truth = people(rng, bodies=2)
        shaken = (truth + rng.normal(0, jitter, truth.shape)).astype(np.float32)
        assert errors(denoised(shaken).xyz, truth).mean() < left * errors(shaken, truth).mean()


def test_no_joint_is_smoothed_further_than_allowed():
    rng = np.random.default_rng(0)
    shaken = (people(rng) + rng.normal(0, 0.03, (1, 80, 25, 3))).astype(np.float32)
    assert 3.9 < errors(smooth(clip(shaken), max_move=0.004).xyz, shaken).max() < 4.001
    assert smooth(clip(shaken), max_move=0).xyz.tolist() == shaken.tolist()


@pytest.mark.parametrize("step", [despike, fill_gaps, smooth])
def test_steps_do_not_change_their_input(step):
    rng = np.random.default_rng(4)
    xyz = people(rng, frames=40) + rng.normal(0, 0.02, (1, 40, 25, 3)).astype(np.float32)
    xyz[0, 20:23, 9] = np.nan
    xyz[0, 10, 7] += 1
    before = clip(xyz)
    assert sum(step(before).step_counts.values()) > 0
    np.testing.assert_array_equal(before.xyz, xyz)
    assert before.step_counts == {}


@pytest.mark.parametrize("turned", [False, True])
def test_the_speed_on_one_side_can_set_the_limit_of_a_double_spike(turned):
    """Two frames a metre off, with a person running five metres a frame on one side and missing on the other."""
    path = np.array([[np.nan] * 3, [0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0], [5, 0, 0]], np.float32)
    slow = path.copy()
    slow[5] = 0
    if turned:
        path, slow = path[::-1].copy(), slow[::-1].copy()
    assert not denoise_kernels.is_double_spike(path, 2, 0.05, 1.0)
    assert denoise_kernels.is_double_spike(slow, 2, 0.05, 1.0)


def test_step_lengths_by_hand():
    body = np.array([[[1, 2, 3], [0, 0, 0]], [[4, 6, 3], [2, 3, 6]]], np.float32)
    strides = np.zeros((3, 2))
    denoise_kernels.step_lengths(body, strides)
    np.testing.assert_array_equal(strides, [[np.nan] * 2, [5, 7], [np.nan] * 2])
