import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from trainer.evaluation import knn
from trainer.evaluation.knn import nearest_neighbour, weighted_knn


def data(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    train, test = (torch.randn(count, 12, generator=generator, dtype=torch.float64) for count in (300, 80))
    return train, torch.randint(0, 5, (300,), generator=generator), test


def test_weighted_votes_agree_with_scikit_learn() -> None:
    train, labels, test = data(0)
    oracle = KNeighborsClassifier(10, metric="cosine", algorithm="brute", weights=lambda far: np.exp((1 - far) / 0.1))
    wanted = oracle.fit(train.numpy(), labels.numpy()).predict_proba(test.numpy())
    scores = weighted_knn(train, labels, test, classes=5, k=10, temperature=0.1)
    np.testing.assert_allclose(scores / scores.sum(1, keepdim=True), wanted, rtol=1e-9)


def test_nearest_neighbour_agrees_with_scikit_learn() -> None:
    train, labels, test = data(1)
    wanted = KNeighborsClassifier(1).fit(train.numpy(), labels.numpy()).predict(test.numpy())
    np.testing.assert_array_equal(nearest_neighbour(train, labels, test, classes=5).argmax(1), wanted)


def test_nearest_neighbour_does_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    train, labels, test = data(1)
    whole = nearest_neighbour(train, labels, test, classes=5)
    monkeypatch.setattr(knn, "BLOCK_ROWS", 7)
    assert torch.equal(nearest_neighbour(train, labels, test, classes=5), whole)


def test_all_clips_vote_if_there_are_fewer_than_k() -> None:
    train, labels, test = data(2)
    few = weighted_knn(train[:3], labels[:3], test, classes=5, k=20)
    assert torch.equal(few, weighted_knn(train[:3], labels[:3], test, classes=5, k=3))


def test_weighted_votes_do_not_depend_on_the_block_size(monkeypatch: object) -> None:
    train, labels, test = data(3)
    whole = weighted_knn(train, labels, test, classes=5)
    monkeypatch.setattr(knn, "BLOCK_ROWS", 7)  # type: ignore[attr-defined]
    torch.testing.assert_close(weighted_knn(train, labels, test, classes=5), whole)


@pytest.mark.parametrize("temperature", [1e-2, 1e-4, 1e-300])
def test_votes_do_not_overflow_at_a_low_temperature(temperature: float) -> None:
    train, labels, test = (tensor.float() if tensor.is_floating_point() else tensor for tensor in data(4))
    scores = weighted_knn(train, labels, test, classes=5, k=10, temperature=temperature)
    assert torch.isfinite(scores).all()
    if temperature < 1e-3:
        nearest = weighted_knn(train, labels, test, classes=5, k=1)
        assert torch.equal(scores.argmax(1), nearest.argmax(1))


def test_the_votes_for_a_clip_add_up_to_one_so_that_runs_can_be_fused() -> None:
    train, labels, test = data(5)
    scores = weighted_knn(train, labels, test, classes=5, k=10, temperature=0.01)
    torch.testing.assert_close(scores.sum(1), torch.ones(len(test), dtype=scores.dtype))


def test_the_nearest_neighbour_is_exact_far_from_the_origin() -> None:
    train, labels, test = (tensor.float() if tensor.is_floating_point() else tensor for tensor in data(6))
    near = nearest_neighbour(train, labels, test, classes=5)
    far = torch.full((12,), 4096.0)
    # Sums of a power of two and these multiples of 2^-10 are exact in float32.
    train, test = ((tensor * 1024).round() / 1024 for tensor in (train, test))
    assert torch.equal(nearest_neighbour(train + far, labels, test + far, classes=5), near)


def test_the_nearest_neighbour_is_exact_in_two_groups_far_from_each_other() -> None:
    generator = torch.Generator().manual_seed(7)
    train = torch.randn(60, 300, generator=generator).mul_(0.02)
    train[::2] += 50
    train[1::2] -= 50
    test = train + torch.randn(60, 300, generator=generator).mul_(0.001)
    labels = torch.arange(60)
    assert torch.equal(nearest_neighbour(train, labels, test, classes=60).argmax(1), labels)
