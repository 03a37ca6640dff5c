import pytest
import torch

from pipeline.errors import NotFinite
from trainer.config.evaluation import LinearConfig
from trainer.evaluation import linear


def blobs(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    return torch.eye(3)[labels] + 0.1 * torch.randn(count, 3, generator=generator), labels


def test_separable_features_are_separated() -> None:
    (train, labels), (test, test_labels) = blobs(200, 0), blobs(100, 1)
    fitted = linear.fit(train, labels, test, test_labels, classes=3)
    assert fitted.test_top1[150] == 100.0
    assert list(fitted.test_top1) == list(range(5, 151, 5)), "as the reference, whose best epoch is the best of 30"
    assert (fitted.scores.argmax(1) == test_labels).all()


def test_results_depend_on_the_seed_only() -> None:
    (train, labels), (test, test_labels) = blobs(50, 0), blobs(20, 1)
    torch.manual_seed(1)
    one = linear.fit(train, labels, test, test_labels, classes=3, seed=4).scores
    torch.manual_seed(2)
    assert torch.equal(one, linear.fit(train, labels, test, test_labels, classes=3, seed=4).scores)
    assert not torch.equal(one, linear.fit(train, labels, test, test_labels, classes=3, seed=5).scores)


def test_one_step_is_plain_gradient_descent_on_cross_entropy() -> None:
    train, labels = blobs(8, 0)
    config = LinearConfig(epochs=1, init_std=0.0, learning_rate=0.5)
    scores = linear.fit(train, labels, train, labels, classes=3, config=config).scores
    off = torch.full((8, 3), 1 / 3) - torch.eye(3)[labels]
    weight, bias = -0.5 * off.T @ train / 8, -0.5 * off.mean(0)
    torch.testing.assert_close(scores, train @ weight.T + bias)


def test_the_last_epoch_is_always_tested() -> None:
    train, labels = blobs(8, 0)
    fitted = linear.fit(train, labels, train, labels, classes=3, config=LinearConfig(epochs=7, test_every=3))
    assert list(fitted.test_top1) == [3, 6, 7]


@pytest.mark.parametrize(("clips", "drop_last", "sizes"), [(21, True, [8, 8]), (21, False, [8, 8, 5]), (5, True, [5])])
def test_the_last_incomplete_batch_is_left_out_unless_it_is_the_only_one(
    clips: int, drop_last: bool, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(linear._AutogradStep, "step", lambda step, chosen, rate: seen.append(len(chosen)))
    train, labels = blobs(clips, 0)
    config = LinearConfig(epochs=1, batch_size=8, drop_last=drop_last)
    linear.fit(train, labels, train, labels, classes=3, config=config)
    assert seen == sizes


def test_a_training_that_diverges_is_an_error_with_the_epoch() -> None:
    train, labels = blobs(50, 0)
    with pytest.raises(NotFinite, match=r"diverged: .* is not finite after epoch \d+; lower the learning rate"):
        linear.fit(train * 1e10, labels, train, labels, classes=3, config=LinearConfig(learning_rate=1e30))


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_manual_steps_equal_autograd_steps(decay: float) -> None:
    train, labels = blobs(60, 0)
    config = LinearConfig(weight_decay=decay)
    start = torch.randn(3, 3, generator=torch.Generator().manual_seed(3)).double()
    ways = [way(start, train.double(), labels, config) for way in (linear._ManualStep, linear._AutogradStep)]
    for step in range(40):
        chosen = torch.randperm(60, generator=torch.Generator().manual_seed(step))[: 32 if step % 3 else 7]
        for way in ways:
            way.step(chosen, rate=0.3 if step < 30 else 0.03)
    assert (ways[1].weight - start).abs().max() > 0.1
    torch.testing.assert_close(ways[0].weight, ways[1].weight.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ways[0].bias, ways[1].bias.detach(), rtol=1e-12, atol=1e-12)
