import numpy as np
import pytest
import torch

from tests.support import reference
from trainer.config.method import AugmentConfig
from trainer.data.augment import DRAWS_PER_VIEW, crop, random_view, shear
from trainer.data.counter_rng import uniform


def clips(frames=23, count=9):
    return torch.randn(count, 3, frames, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("frames", [1, 5, 6, 23, 64])
def test_views_match_their_reference(frames):
    x = clips(frames)
    uniforms = uniform(0, 0, torch.arange(len(x)), 0, DRAWS_PER_VIEW)
    found = random_view(x, uniforms, AugmentConfig())
    for clip, drawn, one in zip(x.numpy(), uniforms.tolist(), found.numpy(), strict=True):
        expected = reference.sheared(reference.cropped(clip, drawn[0], 6), drawn[1:], 0.5)
        np.testing.assert_allclose(one, expected, rtol=0, atol=1e-6)


def test_crops_use_every_shift_and_none_beyond():
    x = torch.arange(64.0).view(1, 1, 64, 1, 1).expand(22, 1, 64, 1, 1)
    uniforms = torch.cat([torch.arange(21) / 21 + 0.01, torch.tensor([1 - 2**-24])])
    first = crop(x, uniforms, 6)[:, 0, 0, 0, 0]
    assert first.tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, *range(11), 10]


def test_a_shift_of_zero_and_a_short_clip_are_unchanged():
    x = clips()
    assert torch.equal(crop(x, torch.full((len(x),), 0.5), 6), x)
    short = clips(frames=5)
    assert torch.equal(crop(short, torch.rand(len(short)), 6), short)


def test_one_half_means_no_shear_and_zeros_stay_zeros():
    x = clips()
    assert torch.equal(shear(x, torch.full((len(x), 6), 0.5), 0.5), x)
    assert not shear(torch.zeros_like(x), torch.rand(len(x), 6), 0.5).any()


def test_a_view_does_not_depend_on_the_batch():
    x, ids = clips(), torch.arange(100, 109)
    whole = random_view(x, uniform(3, 1, ids, 1, DRAWS_PER_VIEW), AugmentConfig())
    part = random_view(x[4:6], uniform(3, 1, ids[4:6], 1, DRAWS_PER_VIEW), AugmentConfig())
    torch.testing.assert_close(part, whole[4:6])
