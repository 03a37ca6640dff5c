import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.errors import ConfigError
from pipeline.skeleton.layout import KINECT_V2, Layout
from tests.support import reference
from trainer.config.method import MixConfig
from trainer.data.counter_rng import generator, normal
from trainer.methods.skelemix import PerSampleRegions, Region, draw_region, mix

PARTS = [set(part) for part in KINECT_V2.parts.values()]


def drawn(batch, frames_out, config=MixConfig(), count=2000):  # noqa: B008 - frozen
    return [draw_region(KINECT_V2, config, batch, frames_out, generator(1, step, 0)) for step in range(count)]


def test_draws_cover_what_the_reference_draws_and_nothing_else():
    regions = drawn(8, 16)
    assert {region.shift for region in regions} == set(range(1, 7))
    assert {region.frames for region in regions} == set(range(7, 12))
    assert {(region.frames, region.start) for region in regions} == {
        (f, s) for f in range(7, 12) for s in range(17 - f)
    }
    taken = [[part for part in PARTS if part <= set(region.joints)] for region in regions]
    assert {len(parts) for parts in taken} == {2, 3}
    assert all(set.union(*parts) == set(region.joints) for parts, region in zip(taken, regions, strict=True))
    assert all(any(part in parts for parts in taken) for part in PARTS)


def test_the_pasted_area_is_as_large_as_the_references_on_average():
    areas = [len(region.joints) * region.frames / (25 * 16) for region in drawn(8, 16)]
    assert np.mean(areas) == pytest.approx(0.281, abs=0.005)  # simulated with the reference's code


@pytest.mark.parametrize(("batch", "shifts"), [(2, {1}), (3, {1}), (4, {1, 2})])
def test_small_batches_find_a_partner(batch, shifts):
    assert {region.shift for region in drawn(batch, 16, count=100)} == shifts


def test_a_clip_shorter_than_the_region_is_pasted_completely():
    for region in drawn(8, 5, MixConfig(frames=(7, 11)), count=100):
        assert (region.start, region.frames) == (0, 5)


@pytest.mark.parametrize(
    ("frames_out", "frames"),
    [(16, (7, 11)), (12, (5, 9)), (8, (3, 6)), (4, (1, 3)), (13, (5, 9)), (2, (1, 2)), (1, (1, 1))],
)
def test_frames_that_are_not_given_keep_their_share_as_in_the_references_configurations(frames_out, frames):
    lengths = set(range(frames[0], frames[1] + 1))
    assert {region.frames for region in drawn(8, frames_out, count=300)} == lengths
    each = torch.cat([region.pasted for region in drawn(8, frames_out, MixConfig(per="sample"), count=60)])
    assert set(each.any(dim=2).sum(dim=1).tolist()) == lengths


def test_the_smallest_region_is_one_part_in_one_frame():
    smallest = drawn(8, 16, MixConfig(parts=(1, 1), frames=(1, 1)), count=200)
    assert {region.frames for region in smallest} == {1}
    assert {region.start for region in smallest} == set(range(16))
    assert {region.joints for region in smallest} == {tuple(sorted(part)) for part in PARTS}


def test_all_parts_but_one_can_be_pasted():
    assert {len(region.joints) for region in drawn(8, 16, MixConfig(parts=(4, 4)), count=100)} == {
        25 - len(part) for part in PARTS
    }


def test_random_joints_have_the_references_number_and_cover_all_joints():
    regions = drawn(8, 16, MixConfig(joints="random"))
    assert {len(region.joints) for region in regions} == set(range(10, 16))
    taken = np.array([[joint in region.joints for joint in range(25)] for region in regions])
    assert abs(taken.mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(len(regions))
    assert all(region.joints == tuple(sorted(set(region.joints))) for region in regions)


def chain(*parts):
    """A skeleton with joints in a chain, and parts of the given numbers of joints."""
    ends = np.cumsum([0, *parts]).tolist()
    members = {f"p{part}": tuple(range(ends[part], ends[part + 1])) for part in range(len(parts))}
    joints = tuple(f"j{joint}" for joint in range(ends[-1]))
    parents = tuple(joint - 1 for joint in range(ends[-1]))
    return Layout(name="chain", joints=joints, parents=parents, parts=members, centre=0, spine=(0, 0), shoulders=(0, 0))


MODES = [{"joints": joints, "per": per} for joints in ("parts", "random") for per in ("batch", "sample")]


@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=12),
    st.sampled_from(MODES),
    st.integers(1, 40),
    st.integers(2, 9),
    st.integers(0, 2**32),
)
def test_every_kind_of_skeleton_and_length_leaves_something_of_both_halves(parts, mode, frames_out, batch, seed):
    layout = chain(*parts)
    region = draw_region(layout, MixConfig(**mode), batch, frames_out, generator(seed, 0, 0))
    x = torch.zeros(batch, 3, 4 * frames_out, len(layout.joints), 1)
    _, mask, partner = mix(x, region, stride=4)
    assert mask.flatten(-2).any(-1).all()
    assert not mask.flatten(-2).all(-1).any()
    assert not (partner == torch.arange(batch)).any()


@pytest.mark.parametrize(("parts", "amounts"), [(2, {1}), (3, {1, 2}), (4, {1, 2, 3}), (5, {2, 3}), (6, {2, 3, 4})])
def test_parts_that_are_not_given_are_two_to_three_fifths(parts, amounts):
    layout = chain(*[1] * parts)
    found = {len(draw_region(layout, MixConfig(), 8, 16, generator(0, step, 0)).joints) for step in range(200)}
    assert found == amounts


@pytest.mark.parametrize("joints", ["parts", "random"])
@pytest.mark.parametrize(("batch", "frames_out"), [(2, 16), (3, 1), (9, 13)])
def test_per_sample_draws_match_their_reference(joints, batch, frames_out):
    groups = list(KINECT_V2.parts.values()) if joints == "parts" else [(joint,) for joint in range(25)]
    for step in range(20):
        config = MixConfig(joints=joints, per="sample", frames=(3, 9))
        region = draw_region(KINECT_V2, config, batch, frames_out, generator(5, step, 1))
        uniforms = generator(5, step, 1).random((batch, 4 + len(groups)))
        amount = (2, 3) if joints == "parts" else (10, 15)
        expected = reference.own_regions(groups, amount, (3, 9), batch, frames_out, uniforms.tolist())
        assert [(int(shift), {tuple(place) for place in mask.nonzero().tolist()})
                for shift, mask in zip(region.shift, region.pasted, strict=True)] == expected  # fmt: skip


def test_per_sample_draws_cover_the_same_regions_and_differ_within_a_batch():
    regions = [draw_region(KINECT_V2, MixConfig(per="sample"), 8, 16, generator(1, step, 0)) for step in range(300)]
    shifts = torch.cat([region.shift for region in regions])
    pasted = torch.cat([region.pasted for region in regions])
    assert set(shifts.tolist()) == set(range(1, 7))
    assert set(pasted.any(dim=2).sum(dim=1).tolist()) == set(range(7, 12))
    assert float(pasted.double().mean()) == pytest.approx(0.281, abs=0.005)
    assert len({tuple(mask.flatten().tolist()) for mask in regions[0].pasted}) == 8


def test_per_sample_regions_do_not_depend_on_the_batch_size():
    small, large = (
        draw_region(KINECT_V2, MixConfig(per="sample"), batch, 16, generator(1, 2, 0)).pasted for batch in (5, 9)
    )
    assert torch.equal(small, large[:5])


@pytest.mark.parametrize("per", ["batch", "sample"])
def test_draws_depend_on_seed_step_and_repeat(per):
    config = MixConfig(per=per, fill="noise")
    places = [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1)]
    x = torch.randn(8, 3, 64, 25, 2, generator=torch.Generator().manual_seed(0))
    clips = [mix(x, draw_region(KINECT_V2, config, 8, 16, generator(*place)), 4)[0] for place in [*places, places[0]]]
    assert torch.equal(clips[0], clips[-1])
    assert all(not torch.equal(a, b) for number, a in enumerate(clips[:-1]) for b in clips[:number])


def test_regions_have_not_changed_between_versions():
    region = draw_region(KINECT_V2, MixConfig(fill="noise"), 8, 16, generator(7, 3, 1))
    trunk_and_leg = (0, 1, 2, 3, 16, 17, 18, 19, 20)
    assert region == Region(shift=3, joints=trunk_and_leg, start=3, frames=11, fill="noise", noise=7788911857906190992)
    each = draw_region(KINECT_V2, MixConfig(fill="noise", per="sample"), 4, 16, generator(7, 3, 1))
    assert (each.shift.tolist(), each.pasted.sum(dim=(1, 2)).tolist()) == ([1, 2, 1, 2], [176, 90, 80, 77])
    assert each.noise == 9162560495202131863
    assert draw_region(KINECT_V2, MixConfig(), 8, 16, generator(7, 3, 1)).noise == 0


def test_regions_of_another_length_or_skeleton_raise_an_assertion():
    region = draw_region(KINECT_V2, MixConfig(per="sample"), 4, 16, generator(0, 0, 0))
    assert region.mask(16, 25) is region.pasted
    for frames_out, joints in ((15, 25), (17, 25), (16, 24), (16, 26)):
        with pytest.raises(AssertionError):
            region.mask(frames_out, joints)


def test_a_batch_of_one_and_a_region_of_everything_are_refused():
    with pytest.raises(ConfigError, match="partner"):
        drawn(1, 16, count=1)
    with pytest.raises(ConfigError, match=r"mix\.parts: 5 of layout kinect-v2's 5 parts"):
        drawn(8, 16, MixConfig(parts=(2, 5)), count=1)
    whole = dataclasses.replace(KINECT_V2, parts={"all": tuple(range(25))})
    with pytest.raises(
        ConfigError, match=r"has only one part.*divide the skeleton into parts, use --set method.mix.joints"
    ):
        draw_region(whole, MixConfig(), 8, 16, generator(1, 0, 0))
    assert len(draw_region(whole, MixConfig(joints="random"), 8, 16, generator(1, 0, 0)).joints) in range(10, 16)
    with pytest.raises(ConfigError, match=r"has only one joint, .* clip; train skeletonclr"):
        draw_region(chain(1), MixConfig(joints="random"), 8, 16, generator(1, 0, 0))


@pytest.mark.parametrize(
    "wrong",
    [{"parts": (3, 2)}, {"frames": (0, 4)}, {"repeats": 0}, {"weight": 1}, {"fill": "ones"},
     {"joints": "random", "parts": (2, 3)}],
)  # fmt: skip
def test_an_impossible_configuration_is_refused(wrong):
    with pytest.raises(ValidationError):
        MixConfig(**wrong)


@pytest.mark.parametrize("fill", ["swap", "zeros", "noise"])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
@pytest.mark.parametrize("frames", [1, 37, 50, 64])
def test_mixing_matches_its_reference_at_any_length(frames, mode, fill):
    x = torch.randn(4, 3, frames, 25, 1, generator=torch.Generator().manual_seed(frames))
    before = x.clone()
    for step in range(1 if fill == "noise" else 3):
        config = MixConfig(**mode, fill=fill)
        region = draw_region(KINECT_V2, config, 4, -(-frames // 4), generator(0, step, 0))
        clips, mask, partner = mix(x, region, stride=4)
        expected, expected_mask, expected_partner = reference.mixed(x.numpy(), region, stride=4)
        np.testing.assert_allclose(clips, expected, rtol=0, atol=1e-5 if fill == "noise" else 0)
        np.testing.assert_array_equal(mask.expand(4, -1, -1), expected_mask)
        assert mask.ndim == (3 if config.per == "sample" else 2)
        assert partner.tolist() == expected_partner
    assert torch.equal(x, before)


def test_equal_per_sample_regions_match_a_batch_region():
    x = torch.randn(6, 3, 64, 25, 2, generator=torch.Generator().manual_seed(0))
    region = draw_region(KINECT_V2, MixConfig(), 6, 16, generator(0, 0, 0))
    each = PerSampleRegions(shift=torch.full((6,), region.shift), pasted=region.mask(16, 25).expand(6, -1, -1))
    for found, expected in zip(mix(x, each, 4), mix(x, region, 4), strict=True):
        assert torch.equal(found, expected.expand_as(found))


def test_noise_is_gaussian_and_differs_between_samples():
    noise = normal(3, torch.arange(200), 501)
    assert noise.shape == (200, 501)
    assert abs(float(noise.mean())) < 5 / np.sqrt(noise.numel())
    assert float(noise.std()) == pytest.approx(1, abs=5 / np.sqrt(2 * noise.numel()))
    assert float((noise.abs() < 1).double().mean()) == pytest.approx(0.6827, abs=0.01)
    assert torch.equal(normal(3, torch.tensor([7, 3]), 501), noise[[7, 3]])
    np.testing.assert_allclose(noise[4], reference.gaussians(3, 4, 501), rtol=0, atol=1e-5)
    assert not torch.equal(normal(4, torch.arange(200), 501), noise)


def test_an_empty_region_changes_nothing():
    x = torch.randn(4, 3, 64, 25, 2)
    empty = Region(shift=1, joints=(), start=3, frames=7)
    for region in (empty, dataclasses.replace(empty, joints=(1, 2), frames=0)):
        clips, mask, _ = mix(x, region, stride=4)
        assert torch.equal(clips, x)
        assert not mask.any()
