import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from pipeline.errors import NotFinite
from pipeline.skeleton.layout import KINECT_V2
from trainer.config.evaluation import SEMI_SUPERVISED, EvalConfig, FinetuneConfig, compose_eval
from trainer.config.method import AugmentConfig
from trainer.config.model import EncoderConfig
from trainer.evaluation import finetune
from trainer.evaluation.finetune import Sides
from trainer.models.encoder import Encoder

SMALL = FinetuneConfig(epochs=4, batch_size=8, test_every=3, learning_rate=0.02)


def encoder(dropout: float = 0.0) -> Encoder:
    torch.manual_seed(0)
    return Encoder(KINECT_V2, EncoderConfig(hidden_channels=2, hidden_dim=8, feature_dim=4, dropout=dropout))


@pytest.fixture
def sides() -> Sides:
    """Two classes that a joint's height tells apart."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(20) % 2
    clips = torch.randn(20, 3, 8, 25, 1, generator=generator)
    clips[:, 1] += 3 * labels[:, None, None, None]
    return Sides(train=clips, train_labels=labels, test=clips, test_labels=labels, classes=2)


def fit(start: Encoder, sides: Sides, config: FinetuneConfig = SMALL, seed: int = 0) -> finetune.FinetuneResult:
    return finetune.fit(start, sides, lambda x: x, config, views=AugmentConfig(), seed=seed)


def test_finetuning_learns_and_does_not_change_the_start_encoder(sides: Sides) -> None:
    start = encoder()
    before = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    trained = fit(start, sides, SMALL.model_copy(update={"epochs": 30}))
    assert trained.test_top1[30] == 100.0
    assert all(torch.equal(before[name], tensor) for name, tensor in start.state_dict().items())
    assert not torch.equal(trained.encoder.state_dict()["blocks.0.spatial.weight"], before["blocks.0.spatial.weight"])


def test_finetuning_tests_at_the_set_interval_and_at_the_end(sides: Sides) -> None:
    assert list(fit(encoder(), sides).test_top1) == [3, 4]


def test_results_depend_on_the_seed_only(sides: Sides) -> None:
    start = encoder(dropout=0.5)
    augmented = SMALL.model_copy(update={"augmented": True})
    for config in (SMALL, augmented):
        torch.manual_seed(1)
        one = fit(start, sides, config, seed=4).scores
        torch.manual_seed(2)
        state = torch.get_rng_state()
        assert torch.equal(one, fit(start, sides, config, seed=4).scores)
        assert torch.equal(torch.get_rng_state(), state)
        assert not torch.equal(one, fit(start, sides, config, seed=5).scores)
    assert not torch.equal(fit(start, sides, SMALL).scores, fit(start, sides, augmented).scores)


def test_a_training_that_diverges_is_an_error_with_the_epoch(sides: Sides) -> None:
    config = SMALL.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(NotFinite, match=r"diverged: .* is not finite after epoch 3; lower the learning rate"):
        fit(encoder(), sides, config)


def test_half_precision_trains_nearly_the_same_and_scores_in_float32(sides: Sides) -> None:
    start = encoder()
    exact, half = (fit(start, sides, SMALL.model_copy(update={"precision": each})) for each in ("fp32", "bf16"))
    assert half.scores.dtype == torch.float32
    assert not torch.equal(half.scores, exact.scores)
    torch.testing.assert_close(half.scores, exact.scores, rtol=0.1, atol=0.05)


def test_frozen_statistics_stay(sides: Sides) -> None:
    for frozen in (False, True):
        start = encoder()
        trained = fit(start, sides, SMALL.model_copy(update={"frozen_statistics": frozen}))
        same = torch.equal(trained.encoder.input_norm.running_mean, start.input_norm.running_mean)  # type: ignore[arg-type]
        assert same is frozen


def test_one_step_is_sgd_on_the_cross_entropy_of_backbone_and_layer(sides: Sides) -> None:
    config = FinetuneConfig(
        epochs=1, batch_size=20, warm_up=0, decay_at=(), init_std=0.0, nesterov=False, learning_rate=0.5
    )
    trained = fit(encoder(), sides, config)
    twin = encoder().train()
    weight, bias = torch.zeros(2, 8, requires_grad=True), torch.zeros(2, requires_grad=True)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(9))  # the order within one batch means nothing
    loss = cross_entropy(twin.backbone(sides.train[order]) @ weight.T + bias, sides.train_labels[order])
    loss.backward()
    assert weight.grad is not None
    torch.testing.assert_close(trained.weight, -0.5 * weight.grad, rtol=1e-4, atol=1e-6)
    for name, parameter in twin.named_parameters():
        if not name.startswith("head."):  # its gradient is zero through a layer of zeros; weight decay alone moves it
            wanted = parameter.detach() * (1 - 0.5 * 1e-4)
            torch.testing.assert_close(trained.encoder.state_dict()[name], wanted, rtol=1e-6, atol=1e-8)
        else:
            assert torch.equal(trained.encoder.state_dict()[name], parameter.detach())


def test_learning_rates_equal_the_reference() -> None:
    config = FinetuneConfig()
    rates = [finetune.learning_rate(config, epoch) for epoch in range(config.epochs)]
    wanted = [
        0.1 * min(1, (epoch + 1) / 10) * 0.1 ** sum(epoch >= step for step in (50, 70, 90)) for epoch in range(110)
    ]
    np.testing.assert_allclose(rates, wanted, rtol=1e-12)
    assert math.isclose(finetune.learning_rate(SEMI_SUPERVISED, 79), 0.1)
    assert math.isclose(finetune.learning_rate(SEMI_SUPERVISED, 80), 0.01)


def test_semi_settings_equal_the_reference_unless_overridden() -> None:
    few, more = (EvalConfig().semi_for(fraction) for fraction in (0.01, 0.1))
    assert (few.learning_rate, few.weight_decay, finetune.learning_rate(few, 40)) == (0.05, 0.0, pytest.approx(0.005))
    assert (more.learning_rate, more.weight_decay, more.epochs) == (0.1, 1e-4, 150)
    given = compose_eval(["semi.epochs=20", "semi.learning_rate=0.3"])
    for fraction in (0.01, 0.1):
        assert (given.semi_for(fraction).epochs, given.semi_for(fraction).learning_rate) == (20, 0.3)
    assert given.semi_for(0.01).weight_decay == 0.0
    assert given.semi_for(0.1).nesterov is False
