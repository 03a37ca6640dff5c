import builtins
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.store.splits import find_split
from pipeline.store.store import Store
from trainer.data.loader import load_clips
from trainer.evaluation import features
from trainer.report import feature_map
from trainer.report.feature_map import Sample
from trainer.runs.run import Run, load_encoder

DEVICE = torch.device("cpu")


def sample(labels: list[int], vectors: torch.Tensor, first: int = 0) -> Sample:
    rows = np.arange(first, first + len(labels))
    return Sample(rows=rows, of=len(rows), labels=np.array(labels), features=vectors)


def test_features_are_those_of_an_evaluation(shared_run: Run, shared_store: Store) -> None:
    encoder, _ = load_encoder(shared_run, DEVICE)
    rows = np.sort(find_split(shared_store, "xsub").test)
    told: list[int] = []
    found = feature_map.sample(shared_run, shared_store, encoder, rows, 99, told.append)
    clips = load_clips(shared_store, rows, shared_run.config.frames, shared_run.config.bodies)
    torch.testing.assert_close(found.features, features.extract_positions(encoder, clips, shared_run))
    assert np.array_equal(found.labels, shared_store.columns["label"][rows])
    assert (sum(told), found.of) == (len(rows), 99)


def test_a_draw_has_the_same_share_of_each_class_and_is_always_the_same(shared_store: Store) -> None:
    rows = np.arange(len(shared_store))[::-1]
    drawn = feature_map.draw(shared_store, rows, 30)
    assert np.array_equal(drawn, feature_map.draw(shared_store, rows[::-1], 30))
    assert np.array_equal(drawn, np.unique(drawn))
    _, all_of = np.unique(shared_store.columns["label"], return_counts=True)
    _, some = np.unique(shared_store.columns["label"][drawn], return_counts=True)
    assert np.array_equal(some, np.round(all_of * 30 / 72))
    assert np.array_equal(feature_map.draw(shared_store, rows, 72), rows[::-1])


def test_groups_stay_together_in_the_plane() -> None:
    rng = np.random.default_rng(1)
    middles = np.eye(3, 8)[np.arange(60) % 3]
    vectors = torch.from_numpy(middles + rng.normal(0, 0.05, (60, 8)))
    points, how = feature_map.flat(vectors)
    assert how == "t-SNE"
    away = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.where(np.eye(60), np.inf, 0)
    assert np.array_equal(away.argmin(1) % 3, np.arange(60) % 3)
    assert np.array_equal(points, feature_map.flat(vectors)[0])


def test_without_scikit_learn_the_plane_is_that_of_greatest_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return taken(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    vectors = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 6)) * [9, 4, 1, 1, 1, 1])
    points, how = feature_map.flat(vectors)
    assert how == "PCA"
    unit = (vectors / vectors.norm(dim=1, keepdim=True)).numpy()
    values = np.sort(np.linalg.eigvalsh(np.cov(unit.T)))[::-1]
    assert points.var(axis=0, ddof=1) == pytest.approx(values[:2])
    assert np.array_equal(points, feature_map.flat(vectors)[0])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_few_clips_have_a_plane_too(count: int) -> None:
    points, how = feature_map.flat(torch.eye(4)[:count])
    assert (points.shape, how) == ((count, 2), "PCA")
    assert np.isfinite(points).all()


def test_neighbours_are_the_most_similar_and_the_vote_is_theirs() -> None:
    torch.manual_seed(0)
    bank = sample([n % 4 for n in range(80)], torch.randn(80, 5), 100)
    test = sample([n % 4 for n in range(50)] + [-1], torch.randn(51, 5))
    found, right = feature_map.answers(bank, test)
    assert len(found) == 2 * feature_map.SHOWN
    unit = torch.nn.functional.normalize
    cosines = unit(test.features, dim=1) @ unit(bank.features, dim=1).T
    hits = 0
    for row in range(50):  # the vote, clip by clip
        votes = np.zeros(4)
        for place in torch.argsort(cosines[row], descending=True)[: feature_map.VOTING].tolist():
            votes[bank.labels[place]] += np.exp(float(cosines[row, place]) / 0.1)
        hits += int(votes.argmax() == row % 4)
        for answer in found:
            assert answer.row != row or answer.said == votes.argmax()
    assert right == pytest.approx(2 * hits)
    for answer in found:
        best = torch.argsort(cosines[answer.row], descending=True)[: feature_map.NEIGHBOURS].tolist()
        assert [row for row, _, _ in answer.nearest] == [100 + place for place in best]
        assert [label for _, label, _ in answer.nearest] == [place % 4 for place in best]
    is_right = [answer.said == answer.label for answer in found]
    assert is_right == sorted(is_right, reverse=True)
    assert len({answer.label for answer in found[feature_map.SHOWN :]}) == 4  # of each class one, where there is one


def test_clips_without_classes_have_no_answers() -> None:
    nothing = sample([-1, -1], torch.randn(2, 3))
    assert feature_map.answers(nothing, nothing) == ([], 0.0)
