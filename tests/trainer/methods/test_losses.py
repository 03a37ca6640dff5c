import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from tests.support import reference
from trainer.methods.losses import info_nce


def vectors(count, dim=6, seed=0):
    noise = torch.randn(count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return normalize(noise, dim=1)


def test_the_loss_matches_its_reference():
    query, key, extra, queue = vectors(5), vectors(5, seed=1), vectors(5, seed=2), vectors(9, seed=3).T
    arrays = [vectors.numpy() for vectors in (query, key, queue)]
    for also in (None, extra):
        for decoupled in (False, True):
            expected = reference.nce(*arrays, 0.2, None if also is None else also.numpy(), decoupled)
            found = info_nce(query, key, queue, 0.2, also, decoupled=decoupled)
            assert float(found) == pytest.approx(expected, rel=1e-13)


def test_for_equal_vectors_it_is_the_logarithm_of_the_number_of_choices():
    one = vectors(1)
    same = one.expand(4, -1)
    queue = one.expand(31, -1).T
    assert float(info_nce(same, same, queue, 0.2)) == pytest.approx(math.log(32))
    assert float(info_nce(same, same, queue, 0.2, same)) == pytest.approx(math.log(33))


def test_a_perfect_match_against_opposite_negatives_has_its_closed_form():
    one = vectors(1)
    queue = -one.expand(7, -1).T
    assert float(info_nce(one, one, queue, 0.5)) == pytest.approx(math.log1p(7 * math.exp(-4)))


def test_it_stays_finite_where_a_softmax_underflows():
    one = vectors(1).float()
    loss = info_nce(one, -one, one.T, temperature=0.002)
    assert float(loss) == pytest.approx(1000)


def test_the_extra_negative_is_one_logit_and_gets_no_gradient():
    query = vectors(3).requires_grad_()
    extra = vectors(3, seed=2).requires_grad_()
    key, queue = vectors(3, seed=1), vectors(4, seed=3).T
    info_nce(query, key, queue, 0.2, extra).backward()
    assert extra.grad is None
    logits = torch.cat(
        [(query * key).sum(1, keepdim=True), query @ queue, (query * extra.detach()).sum(1, keepdim=True)], dim=1
    )
    expected = torch.autograd.grad(torch.nn.functional.cross_entropy(logits / 0.2, torch.zeros(3).long()), query)[0]
    np.testing.assert_allclose(query.grad, expected, rtol=1e-12, atol=1e-15)
