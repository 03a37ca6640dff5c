import dataclasses

import numpy as np
import pytest
import reference
import torch
from pydantic import ValidationError

from pipeline.errors import ConfigError
from pipeline.layout import KINECT_V2
from trainer.draws import generator
from trainer.skelemix import MixConfig, Region, draw, mix

PARTS = [set(part) for part in KINECT_V2.parts.values()]


def drawn(batch, frames_out, config=MixConfig(), count=2000):  # noqa: B008 - frozen
    return [draw(KINECT_V2, config, batch, frames_out, generator(1, step, 0)) for step in range(count)]


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


def test_a_short_clip_gives_all_its_frames():
    for region in drawn(8, 5, count=100):
        assert (region.start, region.frames) == (0, 5)


def test_a_batch_of_one_and_a_region_of_everything_are_refused():
    with pytest.raises(ConfigError, match="partner"):
        drawn(1, 16, count=1)
    with pytest.raises(ConfigError, match=r"mix\.parts: 5 of layout kinect-v2's 5 parts"):
        drawn(8, 16, MixConfig(parts=(2, 5)), count=1)
    whole = dataclasses.replace(KINECT_V2, parts={"all": tuple(range(25))})
    with pytest.raises(
        ConfigError, match=r"1 parts could be pasted.*divide the skeleton into parts, or train skeletonclr"
    ):
        draw(whole, MixConfig(), 8, 16, generator(1, 0, 0))


@pytest.mark.parametrize("wrong", [{"parts": (3, 2)}, {"frames": (0, 4)}, {"repeats": 0}, {"weight": 1}])
def test_an_impossible_configuration_is_refused(wrong):
    with pytest.raises(ValidationError):
        MixConfig(**wrong)


@pytest.mark.parametrize("frames", [32, 50, 61, 62, 63, 64])
def test_mixing_agrees_with_its_twin_at_any_length(frames):
    x = torch.randn(5, 3, frames, 25, 2, generator=torch.Generator().manual_seed(frames))
    before = x.clone()
    for step in range(10):
        region = draw(KINECT_V2, MixConfig(frames=(3, 20)), 5, -(-frames // 4), generator(0, step, 0))
        clips, mask, partner = mix(x, region, stride=4)
        expected, expected_mask, expected_partner = reference.mixed(x.numpy(), region, stride=4)
        np.testing.assert_array_equal(clips, expected)
        np.testing.assert_array_equal(mask, expected_mask)
        assert partner.tolist() == expected_partner
    assert torch.equal(x, before)


def test_an_empty_region_changes_nothing():
    x = torch.randn(4, 3, 64, 25, 2)
    empty = Region(shift=1, joints=(), start=3, frames=7)
    for region in (empty, dataclasses.replace(empty, joints=(1, 2), frames=0)):
        clips, mask, _ = mix(x, region, stride=4)
        assert torch.equal(clips, x)
        assert not mask.any()
