import numpy as np
import pytest
import torch

from tests.support import reference
from trainer.models.pooling import pool, pool_masked


@pytest.fixture
def features():
    return torch.randn(6, 5, 4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_pooling_is_the_mean_over_everything_but_sample_and_feature(features):
    expected = features.numpy().reshape(3, 2, 5, 4, 7).mean(axis=(1, 3, 4))
    np.testing.assert_allclose(pool(features, bodies=2), expected, rtol=0, atol=1e-15)


def test_masked_pooling_matches_its_reference_for_shared_and_per_sample_masks(features):
    masks = torch.rand(3, 4, 7, generator=torch.Generator().manual_seed(1)) < 0.3
    for mask in (masks, masks[0]):
        expected = reference.masked_means(features.numpy(), mask.expand(3, 4, 7).numpy(), bodies=2)
        np.testing.assert_allclose(pool_masked(features, mask, bodies=2), expected, rtol=0, atol=1e-14)


def test_an_absent_body_counts_as_zeros(features):
    features[1::2] = 0
    alone = features[::2]
    assert torch.allclose(pool(features, bodies=2), pool(alone, bodies=1) / 2)


def test_absent_bodies_can_be_excluded(features):
    present = torch.tensor([[True, False], [True, True], [False, False]])
    both = features.mean(dim=(2, 3)).view(3, 2, 5)
    expected = torch.stack([both[0, 0], both[1].mean(0), both[2].mean(0)])
    torch.testing.assert_close(pool(features, 2, present), expected)
    mask = torch.rand(4, 7, generator=torch.Generator().manual_seed(1)) < 0.3
    all_of_them = torch.ones(3, 2, dtype=torch.bool)
    inside, outside = pool_masked(features, mask, 2, present=(present, all_of_them))
    every = pool_masked(features, mask, 2)
    torch.testing.assert_close(outside, every[1])
    torch.testing.assert_close(inside[1:], every[0][1:])
    torch.testing.assert_close(inside[0], features[0][:, mask].mean(dim=1))
