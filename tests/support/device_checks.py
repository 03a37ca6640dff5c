"""Compare the results of another device with the CPU's; used by pytest and by `benchmarks/gpu/check_gpu.py`."""

from pathlib import Path

import numpy as np
import torch

from pipeline.skeleton.layout import KINECT_V2
from trainer.config.method import AugmentConfig, MixConfig
from trainer.config.model import EncoderConfig, PairConfig
from trainer.config.presets import compose_pretrain, load_preset
from trainer.data import augment, counter_rng
from trainer.data.streams import derive_stream
from trainer.methods import skelemix
from trainer.methods.losses import info_nce
from trainer.models.encoder import Encoder
from trainer.models.momentum_pair import MomentumPair
from trainer.models.pooling import pool, pool_masked
from trainer.pretrain.step import capture_step, train_step
from trainer.runs.run import Run, build_run_method

SAMPLES = torch.tensor([0, 1, 77, 2**40, 5])


def clips():
    return torch.randn(5, 3, 30, 25, 2, generator=torch.Generator().manual_seed(0))


def draws_are_equal_bit_for_bit(device):
    for seed, epoch, view in [(0, 0, 0), (7, 3, 1), (2**63 + 5, 300, 0)]:
        actual = counter_rng.uniform(seed, epoch, SAMPLES.to(device), view, augment.DRAWS_PER_VIEW)
        assert torch.equal(actual.cpu(), counter_rng.uniform(seed, epoch, SAMPLES, view, augment.DRAWS_PER_VIEW))


def crops_are_equal_and_views_close(device):
    x, uniforms = clips(), counter_rng.uniform(1, 2, SAMPLES, 0, augment.DRAWS_PER_VIEW)
    actual = augment.crop(x.to(device), uniforms[:, 0].to(device), 6)
    assert torch.equal(actual.cpu(), augment.crop(x, uniforms[:, 0], 6))
    config = AugmentConfig()
    actual = augment.random_view(x.to(device), uniforms.to(device), config)
    torch.testing.assert_close(actual.cpu(), augment.random_view(x, uniforms, config), rtol=1e-6, atol=1e-6)


def streams_are_equal(device):
    for stream in ("joint", "motion", "bone"):
        assert torch.equal(
            derive_stream(clips().to(device), stream, KINECT_V2).cpu(), derive_stream(clips(), stream, KINECT_V2)
        )


def mixing_is_equal(device):
    region = skelemix.draw_region(KINECT_V2, MixConfig(), 5, 8, counter_rng.generator(0, 1, 2))
    actual = skelemix.mix(clips().to(device), region, 4)
    assert all(
        torch.equal(a.cpu(), b) for a, b in zip(actual, skelemix.mix(clips(), region, 4), strict=True)
    )  # fmt: skip


def pooling_is_close(device):
    features, mask = torch.randn(10, 6, 8, 25, generator=torch.Generator().manual_seed(1)), torch.zeros(8, 25).bool()
    mask[2:6, 3:11] = True
    tolerance = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(pool(features.to(device), 2).cpu(), pool(features, 2), **tolerance)
    actual = pool_masked(features.to(device), mask.to(device), 2)
    for ours, expected in zip(actual, pool_masked(features, mask, 2), strict=True):
        torch.testing.assert_close(ours.cpu(), expected, **tolerance)


def queues_are_equal(device):
    config = EncoderConfig(hidden_channels=2, hidden_dim=8, feature_dim=4)
    pairs = []
    for target in ("cpu", device):
        torch.manual_seed(0)
        pair = MomentumPair(Encoder(KINECT_V2, config), PairConfig(queue_size=7), torch.Generator().manual_seed(0))
        pair = pair.to(target)
        for count in (3, 5, 9):
            pair.enqueue(torch.arange(4.0 * count, device=target).view(count, 4))
        pairs.append(pair)
    assert torch.equal(pairs[0].queue, pairs[1].queue.cpu())
    assert int(pairs[0].pointer) == int(pairs[1].pointer)


def losses_are_close(device):
    generator = torch.Generator().manual_seed(2)
    query, key, mixed = (
        torch.nn.functional.normalize(torch.randn(6, 16, generator=generator), dim=1) for _ in range(3)
    )
    queue = torch.nn.functional.normalize(torch.randn(16, 50, generator=generator), dim=0)
    actual = info_nce(query.to(device), key.to(device), queue.to(device), 0.2, mixed.to(device))
    torch.testing.assert_close(actual.cpu(), info_nce(query, key, queue, 0.2, mixed), rtol=1e-5, atol=1e-6)


def fast_and_plain_encoders_are_close(device):
    x, mask = torch.randn(6, 3, 16, 25, 2, generator=torch.Generator().manual_seed(3)), torch.zeros(4, 25).bool()
    mask[1:3, 3:11] = True
    config = EncoderConfig(hidden_channels=4, hidden_dim=16, feature_dim=8, dropout=0.0)
    torch.manual_seed(0)
    start = Encoder(KINECT_V2, config).state_dict()
    for training in (False, True):
        results = []
        for target, fast in (("cpu", False), (device, True)):
            encoder = Encoder(KINECT_V2, config)
            encoder.load_state_dict(start)
            encoder.to(target).train(training)
            encoder.fast = fast
            outputs = (encoder(x.to(target)), *encoder.encode_masked_halves(x.to(target), mask.to(target)))
            # Means, not sums: biases before a batch norm have a gradient of rounding errors, in proportion to the rest.
            sum(output.square().mean() for output in outputs).backward()
            gradients = {name: parameter.grad.cpu() for name, parameter in encoder.named_parameters()}
            results.append(([output.detach().cpu() for output in outputs], gradients))
        torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def captured_steps_match_plain_steps(device):
    """Compare losses and weights of three steps with dropout and a queue, with and without CUDA graph capture."""
    states = []
    for captured in (False, True):
        config = compose_pretrain(load_preset("quick"), None, ("batch_size=12", "precision=fp32", "pair.queue_size=64"))
        run = Run(path=Path(), preset="", config=config, layout=KINECT_V2, lineage={}, total_steps=9, digest="")
        method = build_run_method(run)
        method.pair.to(device).train()
        optimiser = torch.optim.SGD(method.pair.query.parameters(), lr=0.005, momentum=0.9)
        replay = capture_step(method, optimiser, config) if captured else None
        x = torch.randn(12, 3, config.frames, 25, 1, generator=torch.Generator().manual_seed(4)).to(device)
        losses = [
            train_step(method, optimiser, x + step, np.arange(12), step, 0, run, replay)["total"].cpu()
            for step in range(3)
        ]
        states.append((losses, {name: tensor.cpu() for name, tensor in method.pair.state_dict().items()}))
    torch.testing.assert_close(states[1], states[0], rtol=1e-5, atol=1e-6)


CHECKS = (
    draws_are_equal_bit_for_bit,
    crops_are_equal_and_views_close,
    streams_are_equal,
    mixing_is_equal,
    pooling_is_close,
    queues_are_equal,
    losses_are_close,
    fast_and_plain_encoders_are_close,
)
GPU_CHECKS = (captured_steps_match_plain_steps,)
"""Checks that need a GPU."""
