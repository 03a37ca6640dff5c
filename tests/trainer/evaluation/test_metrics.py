import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, top_k_accuracy_score

from trainer.evaluation.metrics import summarise, wilson


def test_accuracy_and_confusion_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.standard_normal((200, 9)), rng.integers(0, 9, 200)
    found = summarise(scores, labels, list(range(10, 19)))
    assert found["top1"] == pytest.approx(100 * (scores.argmax(1) == labels).mean())
    assert found["top5"] == pytest.approx(100 * top_k_accuracy_score(labels, scores, k=5, labels=range(9)))
    np.testing.assert_array_equal(found["confusion"], confusion_matrix(labels, scores.argmax(1), labels=range(9)))
    for label, share in enumerate(found["per_class"]):
        assert share == pytest.approx(100 * (scores.argmax(1) == labels)[labels == label].mean())


def test_classes_without_votes_do_not_count_in_top5() -> None:
    scores = np.zeros((9, 9))
    scores[:, 8] = 1  # one vote for the last class, as the nearest neighbour gives it
    found = summarise(scores, np.arange(9), range(9))
    assert found["top1"] == found["top5"] == pytest.approx(100 / 9)
    assert summarise(np.full((9, 9), np.nan), np.arange(1, 10) % 9, range(9))["top5"] <= 100 / 9 + 1e-9


def test_a_class_without_test_clips_has_no_accuracy() -> None:
    found = summarise(np.eye(3)[[0, 0, 1]], np.array([0, 0, 1]), [4, 5, 6])
    assert found["per_class"] == [100.0, 100.0, None]
    assert found["classes"] == [4, 5, 6]


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)]
)
def test_the_interval_is_the_wilson_interval(hits: int, trials: int, low: float, high: float) -> None:
    """0 and 5 of 10 by the closed formula; 81 of 263 as in Newcombe 1998, table I (score method)."""
    assert wilson(hits, trials) == pytest.approx((low, high), abs=1e-4)
