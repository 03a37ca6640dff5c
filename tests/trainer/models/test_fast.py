"""The fast encoder matches the plain one up to rounding: outputs, gradients, statistics and training steps."""

import copy
import itertools
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.skeleton.layout import KINECT_V2
from tests.support.people import CHAIN
from trainer.config.model import EncoderConfig
from trainer.config.pretrain import PretrainConfig
from trainer.evaluation import features
from trainer.models.encoder import COORDINATES, Encoder
from trainer.models.fast import cpu as fast_cpu
from trainer.models.fast import cpu_ops
from trainer.models.fast import gpu as fast_gpu
from trainer.models.stgcn_block import Block
from trainer.pretrain.pretrain import pretrain
from trainer.pretrain.step import train_step
from trainer.runs.run import Run, build_run_method, load_encoder

SMALL = EncoderConfig(hidden_channels=4, hidden_dim=24, feature_dim=8, dropout=0.0)


@pytest.fixture(params=["cpu", "gpu"])
def of_either_device(request, monkeypatch):
    """The implementation for CPUs, and that for GPUs, which also runs on CPUs."""
    if request.param == "gpu":
        monkeypatch.setattr(fast_cpu, "feature_map", fast_gpu.feature_map)


def both(config=SMALL, layout=KINECT_V2, dtype=torch.float64):
    torch.manual_seed(0)
    plain = Encoder(layout, config).to(dtype)
    fast = copy.deepcopy(plain)
    fast.fast = True
    return plain, fast


def clips(count=3, frames=18, joints=25, bodies=2, dtype=torch.float64):
    return torch.randn(count, 3, frames, joints, bodies, generator=torch.Generator().manual_seed(1)).to(dtype)


def answers(encoder, x, per_sample):
    """Outputs of every entry point, gradients of weights and input, and running statistics afterwards."""
    x = x.clone().requires_grad_()
    frames_out, joints = encoder.frames_out(x.shape[2]), x.shape[3]
    mask = torch.zeros(frames_out, joints, dtype=torch.bool)
    mask[: max(1, frames_out // 2), : joints // 2] = True
    mask = mask.expand(len(x), -1, -1) if per_sample else mask
    outputs = [encoder(x), *encoder.encode_masked_halves(x, mask), encoder.feature_map(x)]
    sum(output.sin().sum() for output in outputs).backward()
    gradients = [parameter.grad for parameter in encoder.parameters()]
    return [*outputs, x.grad, *gradients, *(buffer.double() for buffer in encoder.buffers())]


@pytest.mark.usefixtures("of_either_device")
@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        SMALL.model_copy(update={"graph": "spatial", "temporal_kernel": 3}),
        SMALL.model_copy(update={"body_mean": "present", "head_layers": 3, "temporal_kernel": 1}),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_outputs_gradients_and_statistics_match_the_plain_encoder(config, training):
    plain, fast = both(config)
    x = clips()
    x[1, ..., 1] = 0
    for found, expected in zip(
        answers(fast.train(training), x, False), answers(plain.train(training), x, False), strict=True
    ):
        assert (found - expected).abs().max() <= 1e-9 * max(1, expected.abs().max())


@pytest.mark.usefixtures("of_either_device")
@pytest.mark.parametrize(("layout", "frames", "bodies"), [(CHAIN, 4, 1), (CHAIN, 33, 2), (KINECT_V2, 7, 1)])
def test_other_skeletons_and_lengths_match(layout, frames, bodies):
    plain, fast = both(layout=layout)
    x = clips(4, frames, len(layout.joints), bodies)
    for found, expected in zip(answers(fast, x, True), answers(plain, x, True), strict=True):
        assert (found - expected).abs().max() <= 1e-9 * max(1, expected.abs().max())


@pytest.mark.usefixtures("of_either_device")
def test_half_precision_is_as_accurate_as_in_the_plain_encoder():
    exact, _ = both()
    plain, fast = both(dtype=torch.float32)
    x = clips(8, 32)
    errors = []
    for encoder in (plain, fast):
        with torch.autocast("cpu", torch.bfloat16):
            found = encoder.feature_map(x.float())
        assert found.dtype == torch.bfloat16
        errors.append(float((found - exact.feature_map(x)).detach().abs().mean()))
    assert errors[1] < 1.5 * errors[0] < 0.1


STEP_CLIPS = 8


def made(*, fast, dtype):
    """Method, optimiser and run of a training at full width, without dropout, with the rate of preset quick."""
    config = PretrainConfig(
        frames=32,
        batch_size=STEP_CLIPS,
        learning_rate=0.005,
        method={"mix": {"frames": (2, 4)}},
        pair={"queue_size": 64, "momentum": 0.9},
        encoder={"dropout": 0.0},
    )
    run = Run(path=Path(), preset="", config=config, layout=KINECT_V2, lineage={}, total_steps=9, digest="")
    method = build_run_method(run, fast=fast)
    method.pair.to(dtype).train()
    assert method.pair.query.fast == method.pair.key.fast == fast
    return method, torch.optim.SGD(method.pair.query.parameters(), lr=0.005, momentum=0.9), run


@pytest.mark.usefixtures("of_either_device")
@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.slow
def test_training_steps_match_the_plain_encoder(dtype, near):
    """Loss and state. In float32, each step starts from the plain state, because rounding errors grow over steps."""
    plain, fast = made(fast=False, dtype=dtype), made(fast=True, dtype=dtype)
    for step in range(2):
        if dtype == torch.float32:
            fast[0].pair.load_state_dict(plain[0].pair.state_dict())
            fast[1].load_state_dict(copy.deepcopy(plain[1].state_dict()))
        x = clips(STEP_CLIPS, 32, dtype=dtype) + step
        x[::3, ..., 1] = x[5, :, 20:] = 0
        ours, theirs = (
            train_step(method, optimiser, x, np.arange(STEP_CLIPS), step, 0, run)["total"]
            for method, optimiser, run in (fast, plain)
        )
        assert float((ours - theirs).abs() / theirs) < near
        ours, theirs = (
            torch.cat([tensor.double().flatten() for tensor in method.pair.state_dict().values()])
            for method, _, _ in (fast, plain)
        )
        assert (ours - theirs).norm() < 2 * near * theirs.norm()
        assert (ours - theirs).abs().max() < 20 * near


@cache
def gradients(*, fast, dtype):
    """Gradients of all weights, (D,), in the first step."""
    method, optimiser, run = made(fast=fast, dtype=dtype)
    x = clips(16, 32, dtype=torch.float32).to(dtype)
    train_step(method, optimiser, x, np.arange(16), 0, 0, run)
    return torch.cat([weight.grad.double().flatten() for weight in method.pair.query.parameters()])


@pytest.mark.thorough
@pytest.mark.usefixtures("of_either_device")
def test_float32_gradients_are_about_as_accurate_as_in_the_plain_encoder():
    exact, plain = gradients(fast=False, dtype=torch.float64), gradients(fast=False, dtype=torch.float32)
    fast = gradients.__wrapped__(fast=True, dtype=torch.float32)  # of one device after the other
    assert (fast - exact).norm() < 3 * (plain - exact).norm() < 1e-2 * exact.norm()


@pytest.mark.usefixtures("of_either_device")
def test_dropout_is_active_only_in_training_and_uses_torchs_generator():
    _, fast = both(SMALL.model_copy(update={"dropout": 0.5}))
    x = clips()

    def trained(seed):
        torch.manual_seed(seed)
        return fast(x)

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))
    fast.eval()
    assert torch.equal(trained(0), trained(1))


@pytest.mark.usefixtures("of_either_device")
@pytest.mark.parametrize("body_mean", ["all", "present"])
def test_absent_bodies_are_encoded_once_with_the_same_result(body_mean, monkeypatch):
    plain, fast = both(SMALL.model_copy(update={"body_mean": body_mean}))
    x = clips(6)
    x[1, ..., 1] = x[2, ..., 0] = x[3] = x[4, ..., 1] = 0
    encoded = []
    real = Encoder.feature_map
    monkeypatch.setattr(Encoder, "feature_map", lambda self, x: encoded.append(x.shape) or real(self, x))
    found = [features.extract(encoder, x) for encoder in (plain, fast)]
    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-7)
    assert encoded == [(6, 3, 18, 25, 2), (8, 3, 18, 25, 1)]
    fast.skip_absent = False
    torch.testing.assert_close(features.extract(fast, x), found[0], rtol=1e-6, atol=1e-7)
    assert encoded[-1] == (6, 3, 18, 25, 2)


@pytest.mark.usefixtures("of_either_device")
def test_recalibrated_statistics_include_absent_bodies():
    plain, fast = both(SMALL)
    x = clips(6)
    x[1:, ..., 1] = 0
    for encoder in (plain, fast):
        features.recalibrate(encoder, x)
    torch.testing.assert_close(fast.state_dict(), plain.state_dict(), rtol=1e-5, atol=1e-6)
    assert float(plain.input_norm.running_var.max()) < 0.8  # more than a third of all rows are zeros


def test_the_fast_option_reaches_training_and_is_not_stored_in_the_run(train_request, tmp_path, monkeypatch):
    calls = []
    real = cpu_ops.mix
    monkeypatch.setattr(cpu_ops, "mix", lambda *given: calls.append(1) or real(*given))
    request = train_request(tmp_path / "run")
    assert request.fast
    if request.device.type != "cpu":
        pytest.skip("compiled loops are for CPUs")
    plain = pretrain(replace(request, fast=False))
    assert not calls
    assert pretrain(replace(request, output=tmp_path / "other")).outcome == "trained"
    assert calls
    assert pretrain(request).outcome == "up to date"
    del calls[:]
    for fast in (False, True):
        encoder, _ = load_encoder(plain.run, torch.device("cpu"), fast=fast)
        features.extract(encoder, clips(2, 16, dtype=torch.float32))
        assert bool(calls) == fast


@pytest.mark.thorough
def test_a_step_needs_no_compilation_after_compile_kernels(tmp_path):
    """In a process with an empty cache, training compiles nothing after `compile_kernels`."""
    program = """
import torch
from pipeline.skeleton.layout import KINECT_V2
from trainer.models.fast import cpu_kernels, cpu_ops
from trainer.config.model import EncoderConfig
from trainer.models.encoder import COORDINATES, Encoder
assert cpu_ops.compile_kernels(torch.float32, dropout=True) > 0
before = cpu_kernels.compilation_count()
encoder = Encoder(KINECT_V2, EncoderConfig(hidden_channels=2, hidden_dim=8))
encoder.fast = True
encoder(torch.randn(2, 3, 8, 25, 2)).sum().backward()
encoder.eval()(torch.randn(2, 3, 8, 25, 2))
assert cpu_kernels.compilation_count() == before, "something was compiled in the step"
assert cpu_ops.compile_kernels(torch.float32, dropout=True) == 0
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class OtherBlock(Block):
    """A block whose output is the negative of ST-GCN's."""

    def forward(self, x, graph):
        return -super().forward(x, graph)


class OtherBlocks(Encoder):
    """Overrides only `make_blocks`."""

    def make_blocks(self, config, graph):
        widths = [COORDINATES, config.hidden_dim]
        return nn.ModuleList(
            OtherBlock(inputs, outputs, graph, kernel=3, stride=4, dropout=0.0, residual=False)
            for inputs, outputs in itertools.pairwise(widths)
        )


def test_an_encoder_with_other_blocks_uses_the_plain_implementation():
    encoder, x = OtherBlocks(KINECT_V2, SMALL).eval(), clips(dtype=torch.float32)
    assert not encoder.has_fast_feature_map
    expected = encoder.feature_map(x)
    encoder.fast = True
    assert torch.equal(encoder.feature_map(x), expected)
    assert Encoder(KINECT_V2, SMALL).has_fast_feature_map


def test_training_says_that_an_encoder_has_no_fast_implementation(train_request, tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr("trainer.models.registry.ENCODERS", {"st-gcn": OtherBlocks})
    pretrain(train_request(tmp_path / "run", "epochs=1"), notify=messages.append)
    assert "encoder st-gcn has no fast implementation: the plain one is used" in messages
