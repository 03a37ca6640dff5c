import math
from typing import get_args

import pytest
import torch

from pipeline.skeleton.layout import KINECT_V2
from tests.support import reference, whole_batch_step
from trainer.config.method import MethodConfig, MixConfig
from trainer.config.model import EncoderConfig, PairConfig
from trainer.data.counter_rng import generator, seed_torch
from trainer.methods.registry import METHODS, build_method
from trainer.methods.skelemix import draw_region
from trainer.models.encoder import Encoder
from trainer.models.momentum_pair import MomentumPair, unit_length
from trainer.models.registry import ENCODERS

CONFIG = EncoderConfig(hidden_channels=4, hidden_dim=16, feature_dim=8, dropout=0.0)


def method(name, repeats=2, queue_size=13, momentum=0.99):
    torch.manual_seed(0)
    pair = MomentumPair(
        Encoder(KINECT_V2, CONFIG),
        PairConfig(queue_size=queue_size, momentum=momentum),
        torch.Generator().manual_seed(0),
    )
    return METHODS[name](pair, MethodConfig(name=name, mix=MixConfig(repeats=repeats, frames=(2, 3))))


def batch(frames=16, count=4):
    return torch.randn(2, count, 3, frames, 25, 2, generator=torch.Generator().manual_seed(2)).unbind()


def regions(made, step, count, frames):
    return [
        draw_region(KINECT_V2, made.config.mix, count, made.pair.query.frames_out(frames), generator(0, step, repeat))
        for repeat in range(made.repeats)
    ]


def stepped(name, frames=16):
    made = method(name)
    return made, whole_batch_step.losses(made, *batch(frames), regions(made, 0, 4, frames))


def test_plus_sums_over_repeats_where_the_plain_method_averages():
    _, plus = stepped("skelemixclr+")
    _, plain = stepped("skelemixclr")
    assert torch.equal(plus.instance, plain.instance)
    assert len(plus.trimmed) == len(plus.truncated) == 2
    expected = sum((p + c) / 2 for p, c in zip(plus.trimmed, plus.truncated, strict=True))
    torch.testing.assert_close(plus.mixed, expected)
    torch.testing.assert_close(plain.mixed, expected / 2)
    torch.testing.assert_close(plain.total, plain.instance + plain.mixed)


def test_skeletonclr_has_only_the_instance_term():
    _, mixing = stepped("skelemixclr+")
    _, terms = stepped("skeletonclr")
    assert torch.equal(terms.instance, mixing.instance)
    assert torch.equal(terms.total, terms.instance)
    assert terms.trimmed == terms.truncated == ()


def test_the_number_of_regions_must_be_the_configured_one():
    made = method("skeletonclr")
    with pytest.raises(ValueError, match="skeletonclr takes 0 regions"):
        whole_batch_step.losses(made, *batch(), regions(method("skelemixclr"), 0, 4, 16))


@pytest.mark.parametrize("frames", [50, 62, 63])
def test_lengths_that_stop_the_reference_train(frames):
    _, terms = stepped("skelemixclr+", frames)
    terms.total.backward()
    assert terms.total.isfinite()


def test_gradients_reach_the_query_encoder_and_never_the_key_encoder():
    made, terms = stepped("skelemixclr+")
    terms.total.backward()
    assert all(parameter.grad is not None for parameter in made.pair.query.parameters())
    assert all(parameter.grad is None for parameter in made.pair.key.parameters())


def test_the_query_encoder_runs_once_per_clip_and_its_head_once_per_half():
    made, _ = stepped("skelemixclr+")
    head = [layer for layer in made.pair.query.head if isinstance(layer, torch.nn.BatchNorm1d)][0]  # noqa: RUF015
    assert int(made.pair.query.input_norm.num_batches_tracked) == 1 + 2
    assert int(head.num_batches_tracked) == 1 + 2 * 2
    assert int(made.pair.key.input_norm.num_batches_tracked) == 1


def test_the_published_step_has_the_passes_and_the_choices_of_the_reference():
    made = method("skelemixclr+", repeats=3, queue_size=1024)
    norms = (made.pair.query.input_norm, made.pair.query.head[1], made.pair.key.input_norm, made.pair.key.head[1])
    whole_batch_step.losses(made, *batch(), regions(made, 0, 4, 16))
    assert [int(norm.num_batches_tracked) for norm in norms] == [4, 7, 1, 1]
    with torch.no_grad():  # every vector the same: each loss is the logarithm of how many there are to pick from
        for head in (made.pair.query.head, made.pair.key.head):
            head[-1].weight.zero_()
            head[-1].bias.fill_(1)
        made.pair.queue.fill_(8**-0.5)
        terms = whole_batch_step.losses(made, *batch(), regions(made, 1, 4, 16))
    assert float(terms.instance) == pytest.approx(math.log(1025), rel=1e-5)
    found = [float(term) for term in terms.trimmed + terms.truncated]
    assert found == pytest.approx([math.log(1026)] * 6, rel=1e-5)


def test_the_default_pair_has_the_published_sizes():
    made = build_method(KINECT_V2, EncoderConfig(), PairConfig(queue_size=64), MethodConfig(), seed=0)
    assert sum(parameter.numel() for parameter in made.pair.query.parameters()) == 920_580
    assert made.pair.keys(torch.randn(2, 3, 8, 25, 2)).shape == (2, 128)


@pytest.mark.parametrize(
    "mode", [{"per": "sample"}, {"joints": "random"}, {"fill": "zeros"}, {"fill": "noise"}], ids=str
)
def test_ablations_contrast_the_pasted_region_with_the_partners_key(mode):
    made = method("skelemixclr", repeats=1)
    made.pair.train()
    query, key = batch(count=6)
    region = draw_region(KINECT_V2, MixConfig(**mode, frames=(2, 3)), 6, 4, generator(3, 0, 0))
    twin = method("skelemixclr", repeats=1)
    twin.pair.train()
    terms = whole_batch_step.losses(made, query, key, [region])
    twin.pair.query(query)
    clips, mask, partners = reference.mixed(query.numpy(), region, 4)
    trimmed, truncated = twin.pair.query.encode_masked_halves(torch.from_numpy(clips), torch.from_numpy(mask))
    trimmed, truncated = (unit_length(half).detach().numpy() for half in (trimmed, truncated))
    queue = twin.pair.queue.numpy().copy()
    twin.pair.update_key_encoder()
    keys = twin.pair.keys(key).numpy()
    expected = reference.nce(trimmed, keys[partners], queue, 0.2, truncated)
    assert terms.trimmed[0].item() == pytest.approx(expected, rel=1e-4)
    expected = reference.nce(truncated, keys, queue, 0.2, trimmed)
    assert terms.truncated[0].item() == pytest.approx(expected, rel=1e-4)


def test_under_autocast_the_loss_and_the_queue_stay_float32():
    _, exact = stepped("skelemixclr+")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made, terms = stepped("skelemixclr+")
    terms.total.backward()
    assert terms.total.dtype == torch.float32
    torch.testing.assert_close(terms.total, exact.total, rtol=0.02, atol=0)
    torch.testing.assert_close(made.pair.queue.norm(dim=0), torch.ones(13))


def test_losses_use_the_queue_before_the_update_and_then_enqueue_their_keys():
    made = method("skeletonclr", momentum=1.0)
    before = made.pair.queue.clone()
    query, key = batch()
    first = whole_batch_step.losses(made, query, key, [])
    assert not torch.equal(made.pair.queue[:, :4], before[:, :4])
    assert torch.equal(made.pair.queue[:, 4:], before[:, 4:])
    made.pair.queue.copy_(before)
    assert torch.equal(whole_batch_step.losses(made, query, key, []).instance, first.instance)


@pytest.mark.slow
def test_a_few_steps_on_two_classes_lower_the_loss():
    rng = torch.Generator().manual_seed(5)
    frames, count = 16, 16
    phase = torch.linspace(0, 6.28, frames)[:, None, None]
    still = torch.randn(3, 1, 25, 1, generator=rng)
    moves = torch.stack([still + torch.sin(phase), still + torch.cos(2 * phase)])  # (class, C, T, V, 1)
    clips = moves.repeat_interleave(8, dim=0) + 0.3 * torch.randn(count, 3, 1, 25, 1, generator=rng)
    made = method("skelemixclr+", queue_size=16)
    made.pair.train()
    optimiser = torch.optim.SGD(made.pair.query.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for step in range(30):
        seed_torch(0, step, 0)
        query, key = (clips + 0.05 * torch.randn(clips.shape, generator=rng) for _ in range(2))
        terms = whole_batch_step.losses(made, query, key, regions(made, step, count, frames))
        optimiser.zero_grad()
        terms.total.backward()
        optimiser.step()
        losses.append(float(terms.total.detach()))
    # The first step does not count: the queue still holds noise, which is easily distinguished from keys. Afterwards
    # each query's own last key is in the queue, so that the loss stays well above zero.
    assert sum(losses[-5:]) < 0.85 * sum(losses[1:6]), losses
    with torch.no_grad():
        features = torch.nn.functional.normalize(made.pair.query.eval().backbone(clips), dim=1)
    nearest = (features @ features.T).fill_diagonal_(-1).argmax(dim=1)
    assert torch.equal(nearest // 8, torch.arange(count) // 8)


def test_every_configurable_method_and_encoder_is_registered():
    assert get_args(MethodConfig.model_fields["name"].annotation) == tuple(METHODS)
    assert get_args(EncoderConfig.model_fields["name"].annotation) == tuple(ENCODERS)
