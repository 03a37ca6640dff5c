"""Compiled batch norm and joint mixing match simple torch implementations; rounding and dropout bits."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipeline.skeleton.layout import KINECT_V2
from trainer.models.batchnorm import BatchNorm2d
from trainer.models.fast import cpu_kernels, cpu_ops
from trainer.models.graph import build_adjacency

pytestmark = pytest.mark.kernels
TYPES = [torch.float64, torch.float32, torch.bfloat16]
NEAR = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 2e-2}


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def norm_of(channels, dtype, training):
    norm = BatchNorm2d(channels).to(torch.promote_types(dtype, torch.float32)).train(training)
    with torch.no_grad():
        norm.weight.copy_(normal(channels, seed=1))
        norm.bias.copy_(normal(channels, seed=2))
        norm.running_mean.copy_(normal(channels, seed=3))
        norm.running_var.copy_(normal(channels, seed=4).square() + 0.1)
    return norm


def mask_of(drop, shape):
    kept = [cpu_kernels.survives_dropout(at, drop) for at in range(int(np.prod(shape)))]
    return torch.tensor(kept, dtype=torch.float64).view(shape) * float(drop[3])


def twin(z, norm, relu, mask, residual):
    """`normalise`, one operation per line."""
    y = functional.batch_norm(
        z, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.training, norm.momentum, norm.eps
    )
    y = y if mask is None else y * mask
    y = y if residual is None else y + residual
    return functional.relu(y) if relu else y


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("relu", "dropped", "added"), [(1, 0, 0), (0, 0, 0), (1, 0, 1), (1, 1, 1), (1, 1, 0)])
def test_normalise_matches_its_reference(monkeypatch, dtype, training, relu, dropped, added):
    drawn = []
    real = cpu_kernels.batchnorm_forward
    monkeypatch.setattr(cpu_kernels, "batchnorm_forward", lambda *given: drawn.append(given[5]) or real(*given))
    z, residual = (normal(90, 5, seed=seed, dtype=dtype) * 3 + 1 for seed in (5, 6))
    given = [z.requires_grad_(), *([residual.requires_grad_()] if added else [])]
    norm = norm_of(5, dtype, training)
    torch.manual_seed(0)
    y = cpu_ops.normalise(
        z, norm, relu=bool(relu), dropout=0.3 if dropped else 0.0, residual=residual if added else None
    )
    by = normal(90, 5, seed=7, dtype=dtype)
    found = [y, *torch.autograd.grad(y, [*given, norm.weight, norm.bias], by)]
    assert (drawn[0] is not None) == bool(dropped and training)
    exact = norm_of(5, torch.float64, training)
    wide = [tensor.detach().double().requires_grad_() for tensor in given]
    mask = mask_of(drawn[0], z.shape) if drawn[0] else None
    expected = twin(wide[0], exact, relu, mask, wide[1] if added else None)
    expected = [expected, *torch.autograd.grad(expected, [*wide, exact.weight, exact.bias], by.double())]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype in {dtype, norm.weight.dtype}
        assert (ours.double() - theirs).abs().max() <= NEAR[dtype] * theirs.abs().max()
    torch.testing.assert_close(norm.running_mean.double(), exact.running_mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(norm.running_var.double(), exact.running_var, rtol=1e-6, atol=1e-6)
    assert int(norm.num_batches_tracked) == int(training)


def test_statistics_are_exact_far_from_zero():
    z = normal(2000, 3, dtype=torch.float32) + 1000
    norm = norm_of(3, torch.float32, True)
    norm.momentum = 1.0
    cpu_ops.normalise(z, norm)
    torch.testing.assert_close(norm.running_mean.double(), z.double().mean(0), rtol=1e-6, atol=0)
    torch.testing.assert_close(norm.running_var.double(), z.double().var(0), rtol=1e-6, atol=0)


def test_nan_stays_nan():
    z = normal(8, 2, dtype=torch.float32)
    z[3, 1] = torch.nan
    y = cpu_ops.normalise(z, norm_of(2, torch.float32, False))
    assert y[3, 1].isnan()
    assert y.isnan().sum() == 1


def test_dropout_has_its_rate_and_follows_torchs_seed():
    norm, z = BatchNorm2d(4), torch.ones(5000, 4)
    with torch.no_grad():
        norm.bias.fill_(1)

    def kept(seed):
        torch.manual_seed(seed)
        return cpu_ops.normalise(z, norm, dropout=0.3)

    first = kept(0)
    torch.testing.assert_close(first.unique(), torch.tensor([0, 1 / 0.7]))
    assert float((first == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert torch.equal(first, kept(0))
    other = kept(1)
    assert float(((first == 0) & (other == 0)).float().mean()) == pytest.approx(0.09, abs=0.01)


def test_hashes_of_neighbours_and_of_seeds_are_independent():
    """Adjacent values, and the same value with other seeds, survive together as often as by chance: a quarter."""
    torch.manual_seed(0)
    first, *others = (
        np.array(
            [cpu_kernels.survives_dropout(at, (*map(np.uint32, seeds), np.uint32(2**31), 2.0)) for at in range(4000)]
        )
        for seeds in torch.randint(2**32, (6, 2)).tolist()
    )
    for other in [*others, *(np.roll(first, places) for places in (1, 2, 3, 16, 64, 100))]:
        assert np.mean(first & other) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("graph", ["agcn", "spatial"])
def test_mixing_joints_matches_einsum(dtype, graph):
    matrices = build_adjacency(KINECT_V2, graph).to(torch.promote_types(dtype, torch.float32))
    edges = cpu_ops.find_edges(matrices)
    weights = (matrices * (1 + 0.1 * normal(*matrices.shape, seed=1)).to(matrices.dtype))[
        edges.indices
    ].requires_grad_()
    x = normal(70, 25, 3, dtype=dtype).requires_grad_()
    mixed = cpu_ops.mix(x, edges, weights)
    assert mixed.shape == (70, 25, cpu_ops.mixed_columns(3, 3)) == (70, 25, 12)
    by = normal(*mixed.shape, seed=2, dtype=dtype)
    found = [mixed, *torch.autograd.grad(mixed, [x, weights], by)]

    wide, exact = x.detach().double().requires_grad_(), weights.detach().double().requires_grad_()
    dense = torch.zeros(3, 25, 25, dtype=torch.float64).index_put(edges.indices, exact)
    channels = torch.einsum("rvc,kvw->rwkc", wide, dense).flatten(2)
    ones = dense.sum(dim=1).T.expand(70, -1, -1)
    expected = torch.cat([channels, ones], dim=2)
    expected = [expected, *torch.autograd.grad(expected, [wide, exact], by.double()[..., :12])]
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.double() - theirs).abs().max() <= NEAR[dtype] * theirs.abs().max()


def test_padding_columns_are_zero_and_edges_are_those_of_the_graph():
    matrices = torch.zeros(2, 3, 3)
    matrices[0, 0, 1] = matrices[1, 2, 0] = matrices[1, 1, 0] = 1
    edges = cpu_ops.find_edges(matrices)
    mixed = cpu_ops.mix(torch.tensor([[[1.0], [10.0], [100.0]]]), edges, torch.tensor([3.0, 5.0, 7.0]))
    assert edges.table.tolist() == [[1, 0, 1], [2, 0, 1], [0, 1, 0]]
    assert mixed.tolist() == [[[0, 530, 0, 8], [7, 0, 7, 0], [0, 0, 0, 0]]]


def test_bfloat16_is_rounded_as_torch_rounds():
    special = [0.0, -0.0, 1.0, 1e-40, 3.4e38, -3.4e38, torch.inf, -torch.inf, torch.nan, 1.00390625, 1.01171875]
    values = torch.cat([normal(300, dtype=torch.float32), torch.tensor(special)])
    expected = values.to(torch.bfloat16)
    found = torch.tensor([int(cpu_kernels.narrow(value, np.uint16(0))) for value in values.numpy()])
    back = torch.tensor([float(cpu_kernels.widen(np.uint16(bits))) for bits in found.tolist()])
    torch.testing.assert_close(back, expected.float(), rtol=0, atol=0, equal_nan=True)


def test_compiled_rounding_is_the_same():
    z = torch.cat([normal(300, dtype=torch.float32), torch.tensor([torch.inf, -torch.inf, torch.nan, 1.00390625])])
    norm = BatchNorm2d(1).eval()
    y = cpu_ops.normalise(z.to(torch.bfloat16)[:, None], norm, relu=False)[:, 0]
    expected = (
        z.to(torch.bfloat16).float() * float((1 + torch.tensor(norm.eps, dtype=torch.float64)).rsqrt())
    ).bfloat16()
    torch.testing.assert_close(y, expected, rtol=0, atol=0, equal_nan=True)


def test_more_threads_give_the_same_bits():
    z, before = normal(5000, 4, dtype=torch.float32).requires_grad_(), torch.get_num_threads()
    answers = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            cpu_ops.match_torch_threads()
            assert torch.get_num_threads() == threads
            y = cpu_ops.normalise(z, norm_of(4, torch.float32, True))
            answers.append([y, *torch.autograd.grad(y.square().sum(), z)])
    finally:
        torch.set_num_threads(before)
        cpu_ops.match_torch_threads()
    assert all(torch.equal(one, other) for one, other in zip(*answers, strict=True))
