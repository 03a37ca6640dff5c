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
    return Sample(rows=rows, population=len(rows), labels=np.array(labels), features=vectors)


def test_features_are_those_of_an_evaluation(shared_run: Run, shared_store: Store) -> None:
    encoder, _ = load_encoder(shared_run, DEVICE)
    rows = np.sort(find_split(shared_store, "xsub").test)
    progress: list[int] = []
    found = feature_map.extract_sample(shared_run, shared_store, encoder, rows, 99, progress.append)
    clips = load_clips(shared_store, rows, shared_run.config.frames, shared_run.config.bodies)
    torch.testing.assert_close(found.features, features.extract_positions(encoder, clips, shared_run))
    assert np.array_equal(found.labels, shared_store.columns["label"][rows])
    assert (sum(progress), found.population) == (len(rows), 99)


def test_a_sample_has_the_same_fraction_of_each_class_and_is_always_the_same(shared_store: Store) -> None:
    rows = np.arange(len(shared_store))[::-1]
    sampled = feature_map.sample_rows(shared_store, rows, 30)
    assert np.array_equal(sampled, feature_map.sample_rows(shared_store, rows[::-1], 30))
    assert np.array_equal(sampled, np.unique(sampled))
    _, all_of = np.unique(shared_store.columns["label"], return_counts=True)
    _, some = np.unique(shared_store.columns["label"][sampled], return_counts=True)
    assert np.array_equal(some, np.round(all_of * 30 / 72))
    assert np.array_equal(feature_map.sample_rows(shared_store, rows, 72), rows[::-1])


def test_groups_stay_together_in_the_plane() -> None:
    rng = np.random.default_rng(1)
    centres = np.eye(3, 8)[np.arange(60) % 3]
    vectors = torch.from_numpy(centres + rng.normal(0, 0.05, (60, 8)))
    points, method = feature_map.project_to_plane(vectors)
    assert method == "t-SNE"
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.where(np.eye(60), np.inf, 0)
    assert np.array_equal(distances.argmin(1) % 3, np.arange(60) % 3)
    assert np.array_equal(points, feature_map.project_to_plane(vectors)[0])


def test_without_scikit_learn_features_are_projected_by_pca(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return taken(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    vectors = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 6)) * [9, 4, 1, 1, 1, 1])
    points, method = feature_map.project_to_plane(vectors)
    assert method == "PCA"
    unit = (vectors / vectors.norm(dim=1, keepdim=True)).numpy()
    values = np.sort(np.linalg.eigvalsh(np.cov(unit.T)))[::-1]
    assert points.var(axis=0, ddof=1) == pytest.approx(values[:2])
    assert np.array_equal(points, feature_map.project_to_plane(vectors)[0])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_few_clips_are_projected_by_pca(count: int) -> None:
    points, method = feature_map.project_to_plane(torch.eye(4)[:count])
    assert (points.shape, method) == ((count, 2), "PCA")
    assert np.isfinite(points).all()


def test_neighbours_are_the_most_similar_clips_and_vote_for_the_class() -> None:
    torch.manual_seed(0)
    bank = sample([n % 4 for n in range(80)], torch.randn(80, 5), 100)
    test = sample([n % 4 for n in range(50)] + [-1], torch.randn(51, 5))
    found, right = feature_map.find_examples(bank, test)
    assert len(found) == 2 * feature_map.EXAMPLES
    unit = torch.nn.functional.normalize
    cosines = unit(test.features, dim=1) @ unit(bank.features, dim=1).T
    hits = 0
    for row in range(50):  # the vote, computed clip by clip
        votes = np.zeros(4)
        for index in torch.argsort(cosines[row], descending=True)[: feature_map.VOTING_NEIGHBOURS].tolist():
            votes[bank.labels[index]] += np.exp(float(cosines[row, index]) / 0.1)
        hits += int(votes.argmax() == row % 4)
        for example in found:
            assert example.row != row or example.predicted == votes.argmax()
    assert right == pytest.approx(2 * hits)
    for example in found:
        best = torch.argsort(cosines[example.row], descending=True)[: feature_map.SHOWN_NEIGHBOURS].tolist()
        assert [row for row, _, _ in example.nearest] == [100 + index for index in best]
        assert [label for _, label, _ in example.nearest] == [index % 4 for index in best]
    is_right = [example.predicted == example.label for example in found]
    assert is_right == sorted(is_right, reverse=True)
    assert len({example.label for example in found[feature_map.EXAMPLES :]}) == 4  # of different classes


def test_clips_without_classes_give_no_examples() -> None:
    nothing = sample([-1, -1], torch.randn(2, 3))
    assert feature_map.find_examples(nothing, nothing) == ([], 0.0)


def test_spread_names_collapse_and_diversity() -> None:
    same = torch.ones(10, 4) + 1e-6 * torch.eye(10, 4)
    cosine, _ = feature_map.spread(same)
    assert cosine > feature_map.COLLAPSED_COSINE
    cosine, rank = feature_map.spread(torch.cat([torch.eye(4), -torch.eye(4)]))
    assert cosine == pytest.approx(-1 / 7)
    assert rank == pytest.approx(4)
    assert feature_map.spread(torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]))[1] == pytest.approx(1)
