"""Convolution in the frequency domain matches torch's direct convolution."""

import pytest
import torch
from torch.nn.functional import conv2d

from trainer.models.fast import frequency_conv


def case(frames, rows, inputs, outputs, kernel, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = (frames, rows, inputs), (outputs, inputs, kernel, 1), (outputs,)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


def direct(x, weight, bias, stride):
    y = conv2d(x.permute(2, 0, 1)[None], weight, bias, (stride, 1), (weight.shape[2] // 2, 0))
    return y[0].permute(1, 2, 0)


def with_gradients(convolve, given, stride):
    y = convolve(*given, stride)
    by = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, given, by)]


@pytest.mark.parametrize("kernel", [1, 3, 5, 9])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("frames", [1, 2, 5, 16, 17, 64])
def test_results_and_gradients_match_the_direct_sum(frames, stride, kernel):
    given = case(frames, 7, 3, 4, kernel)
    for found, expected in zip(
        with_gradients(frequency_conv.convolve, given, stride), with_gradients(direct, given, stride), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_chunked_rows_give_the_same_result(monkeypatch):
    given = case(16, 50, 3, 4, 9)
    whole = with_gradients(frequency_conv.convolve, given, 2)
    monkeypatch.setattr(frequency_conv, "MAX_CHUNK_NUMBERS", 1)
    monkeypatch.setattr(frequency_conv, "MIN_CHUNK_ROWS", 7)
    assert len(frequency_conv._chunks(50, 4)) == 7
    for found, expected in zip(with_gradients(frequency_conv.convolve, given, 2), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_float32_is_as_accurate_as_the_direct_sum():
    exact = with_gradients(direct, case(16, 40, 64, 64, 9), 1)
    ours, theirs = (
        with_gradients(convolve, case(16, 40, 64, 64, 9, torch.float32), 1)
        for convolve in (frequency_conv.convolve, direct)
    )
    for found, peer, expected in zip(ours, theirs, exact, strict=True):
        largest = expected.abs().max()
        assert (found - expected).abs().max() < max(2e-6 * largest, 4 * (peer - expected).abs().max())


@pytest.mark.parametrize("products", [None, torch.bfloat16])
def test_half_precision_is_close(products):
    exact = with_gradients(direct, case(16, 40, 64, 64, 9), 1)
    x, weight, bias = case(16, 40, 64, 64, 9, torch.float32)
    x = x.detach().to(torch.bfloat16).requires_grad_()
    found = with_gradients(lambda *given: frequency_conv.convolve(*given, products), [x, weight, bias], 1)
    assert [tensor.dtype for tensor in found] == [torch.bfloat16] * 2 + [torch.float32] * 2
    for ours, expected in zip(found, exact, strict=True):
        assert (ours - expected).abs().mean() < 8e-3 * expected.abs().mean()


def test_nan_and_infinity_are_not_lost():
    x, weight, bias = case(8, 2, 3, 4, 3)
    with torch.no_grad():
        x[3, 1, 0] = torch.nan
    y = frequency_conv.convolve(x, weight, bias, 1)
    assert y[:, 0].isfinite().all()
    assert y[2:5, 1].isnan().all()
