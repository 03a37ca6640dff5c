"""Project features of test clips to the plane (t-SNE or PCA), and find nearest neighbours of some test clips."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.store.build_splits import sample_each_class
from pipeline.store.store import Store
from trainer.evaluation import features
from trainer.evaluation.divergence import require_finite_features
from trainer.evaluation.knn import weighted_knn
from trainer.models.encoder import Encoder
from trainer.runs.run import Run

MAX_MAPPED_CLIPS = 2000
"""Test clips in the map; t-SNE of 2,000 takes 40 s on one core (AMD EPYC, 2026-11-26)."""
MAX_BANK_CLIPS = 10_000
"""Training clips among which neighbours are searched; at full width encoding them takes some 35 s (298 clips/s on two
cores, benchmarks/RESULTS.md)."""
PERPLEXITY = 30.0
"""Van der Maaten and Hinton (2008) recommend 5 to 50."""
VOTING_NEIGHBOURS = 20
"""Nearest training clips that vote for the class of a test clip, as in the kNN of `eval`."""
EXAMPLES, SHOWN_NEIGHBOURS = 4, 5
"""Examples of correctly and of wrongly predicted test clips (this number of each); training clips shown with each."""
COLLAPSED_COSINE = 0.99
"""Mean cosine similarity of different clips from which the report warns of feature collapse."""
SEED = 0

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Clips and their features."""

    rows: Rows
    """(n,) rows of the store, ascending."""
    population: int
    """Number of clips from which they were sampled."""
    labels: NDArray[np.int64]
    """(n,) classes; -1: unknown."""
    features: Tensor
    """(n, D) float32, on the CPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NeighbourExample:
    """A test clip, its predicted class and its nearest training clips."""

    row: int
    label: int
    predicted: int
    """The class with the most votes of the nearest training clips."""
    nearest: list[tuple[int, int, float]]
    """Row, class and cosine similarity of each, the most similar first."""


def sample_rows(store: Store, rows: Rows, max_rows: int) -> Rows:
    """Sample about `max_rows` rows, the same fraction of each class, ascending; the sample is always the same."""
    rows = np.sort(rows)
    if len(rows) <= max_rows:
        return rows
    labels = store.columns["label"][rows]
    return rows[sample_each_class(labels, max_rows / len(rows), np.random.default_rng(SEED))]


def extract_sample(
    run: Run,
    store: Store,
    encoder: Encoder,
    rows: Rows,
    population: int,
    progress: Callable[[int], None] = lambda clips: None,
) -> Sample:
    """Extract backbone features of clips as `eval` does; only a batch of clips is in memory at a time.

    Args:
        run: the run of the encoder.
        store: with the clips.
        encoder: of the run.
        rows: (n,) rows of the store, as `sample_rows` returns them.
        population: number of clips from which they were sampled.
        progress: called with the number of clips of each batch.

    Raises:
        ArtifactError: the store is damaged.
        NotFinite: features are not finite, or too large to compare.
    """
    labels = store.columns["label"][rows].astype(np.int64)
    vectors = features.extract_rows(encoder, store, rows, run.config, progress)
    require_finite_features(vectors)
    return Sample(rows=rows, population=population, labels=labels, features=vectors)


def project_to_plane(vectors: Tensor) -> tuple[NDArray[np.float64], str]:
    """Project features (n, D), scaled to length 1, to the plane; return points (n, 2) and the name of the method.

    The method is t-SNE, or PCA if scikit-learn is not installed or there are fewer than 5 clips.
    """
    unit = normalize(vectors, dim=1).double().numpy()
    centred = unit - unit.mean(axis=0)
    try:
        from sklearn.manifold import TSNE  # noqa: PLC0415 (an extra)
    except ImportError:
        return _pca(centred), "PCA"
    if len(unit) < 5:
        return _pca(centred), "PCA"
    perplexity = min(PERPLEXITY, (len(unit) - 1) / 3)
    start = _pca(centred)
    start *= 1e-4 / max(float(start[:, 0].std()), 1e-12)  # small, as with scikit-learn's init="pca"
    model = TSNE(n_components=2, init=start, perplexity=perplexity, random_state=SEED)
    return np.asarray(model.fit_transform(unit), np.float64), "t-SNE"


def _pca(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Project to the two directions of greatest variance; the largest entry of each is positive, to fix the signs."""
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((2, centred.shape[1]))
    plane[: len(directions[:2])] = directions[:2]
    largest = np.abs(plane).argmax(axis=1)
    plane *= np.where(plane[[0, 1], largest] < 0, -1, 1)[:, None]
    return centred @ plane.T


def spread(vectors: Tensor) -> tuple[float, float]:
    """Return the mean cosine similarity of two different clips, and the effective rank of features (n, D).

    The effective rank (Roy and Vetterli 2007) is the exponential of the entropy of the normalised singular values of
    the centred features: 1 if they all lie on a line, D if they spread evenly.
    """
    unit = normalize(vectors.double(), dim=1)
    n = len(unit)
    mean = ((unit.sum(0) ** 2).sum() - n) / (n * (n - 1)) if n > 1 else torch.ones(())
    singular = torch.linalg.svdvals(vectors.double() - vectors.double().mean(0))
    shares = singular[singular > 0] / singular.sum().clamp_min(1e-300)
    return float(mean), float(torch.exp(-(shares * shares.log()).sum()))


def find_examples(bank: Sample, test: Sample) -> tuple[list[NeighbourExample], float]:
    """Predict the classes of test clips by kNN, and select examples: first correct predictions, then wrong ones.

    The examples are of different classes if there are enough. Clips without a class are left out.

    Returns:
        The examples, and the accuracy on all test clips with a class, in per cent.
    """
    known, voting = np.flatnonzero(test.labels >= 0), np.flatnonzero(bank.labels >= 0)
    if not len(known) or not len(voting):
        return [], 0.0
    classes, positions = np.unique(bank.labels[voting], return_inverse=True)
    train, queries = bank.features[voting], test.features[known]
    votes = weighted_knn(train, torch.from_numpy(positions), queries, len(classes), VOTING_NEIGHBOURS)
    predicted = classes[votes.argmax(1).numpy()]
    is_correct = predicted == test.labels[known]
    order = np.random.default_rng(SEED).permutation(len(known))
    labels = test.labels[known]
    chosen = [
        *_pick_different_classes(order[is_correct[order]], labels),
        *_pick_different_classes(order[~is_correct[order]], labels),
    ]
    unit = normalize(train, dim=1)
    found = []
    for index in chosen:
        cosines = unit @ normalize(queries[index : index + 1], dim=1)[0]
        nearest = torch.argsort(cosines, descending=True, stable=True)[:SHOWN_NEIGHBOURS].tolist()
        found.append(
            NeighbourExample(
                row=int(test.rows[known[index]]),
                label=int(test.labels[known[index]]),
                predicted=int(predicted[index]),
                nearest=[(int(bank.rows[voting[n]]), int(bank.labels[voting[n]]), float(cosines[n])) for n in nearest],
            )
        )
    return found, 100 * float(is_correct.mean())


def _pick_different_classes(indices: NDArray[Any], labels: NDArray[np.int64]) -> list[int]:
    """Return the first EXAMPLES indices, each of a different class as long as there are unused classes."""
    picked: list[int] = []
    for may_repeat_class in (False, True):
        for index in indices.tolist():
            used = {int(labels[other]) for other in picked}
            if len(picked) < EXAMPLES and index not in picked and (may_repeat_class or int(labels[index]) not in used):
                picked.append(index)
    return picked
