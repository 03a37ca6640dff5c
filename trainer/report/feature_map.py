"""What an encoder's features look like: a map of test clips, and the training clips nearest to some of them."""

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
from trainer.evaluation.knn import weighted_knn
from trainer.models.encoder import Encoder
from trainer.runs.run import Run

MAPPED = 2000
"""Test clips of a map at most: t-SNE of so many takes 40 s of one core (AMD EPYC, 2026-11-26)."""
BANK = 10_000
"""Training clips at most among which neighbours are looked for: at full width some 35 s of encoding
(298 a second on two cores, benchmarks/RESULTS.md)."""
PERPLEXITY = 30.0
"""Van der Maaten and Hinton (2008) take 5 to 50."""
VOTING = 20
"""Nearest training clips that say a test clip's class, as in `eval`'s kNN."""
SHOWN, NEIGHBOURS = 4, 5
"""Clips shown of those that the vote gets right, and as many of the others; training clips beside each."""
SEED = 0

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Clips with their features."""

    rows: Rows
    """(n,) of the store, ascending."""
    of: int
    """How many they were drawn from."""
    labels: NDArray[np.int64]
    """(n,) classes; -1 unknown."""
    features: Tensor
    """(n, D) float32, on the CPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A test clip with the training clips nearest to it."""

    row: int
    label: int
    said: int
    """The class that the vote of the nearest gives."""
    nearest: list[tuple[int, int, float]]
    """Row, class and cosine of each, the most similar first."""


def draw(store: Store, rows: Rows, most: int) -> Rows:
    """At most some `most` rows, of every class the same share, ascending; always the same ones."""
    rows = np.sort(rows)
    if len(rows) <= most:
        return rows
    labels = store.columns["label"][rows]
    return rows[sample_each_class(labels, most / len(rows), np.random.default_rng(SEED))]


def sample(
    run: Run, store: Store, encoder: Encoder, chosen: Rows, of: int, done: Callable[[int], None] = lambda clips: None
) -> Sample:
    """Backbone features of clips, as `eval` shows them to the encoder; never all clips in memory.

    Args:
        run: whose encoder it is.
        store: where the clips lie.
        encoder: of the run.
        chosen: (n,) rows, as `draw` gives them.
        of: how many they were drawn from.
        done: told of so many more clips.

    Raises:
        ArtifactError: the store is damaged.
    """
    labels = store.columns["label"][chosen].astype(np.int64)
    return Sample(
        rows=chosen, of=of, labels=labels, features=features.extract_rows(encoder, store, chosen, run.config, done)
    )


def flat(vectors: Tensor) -> tuple[NDArray[np.float64], str]:
    """Features (n, D) of length 1 in the plane, (n, 2), and how: t-SNE, or PCA where scikit-learn is not installed.

    Too few for t-SNE's neighbourhoods (below 5) are projected by PCA as well.
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
    start *= 1e-4 / max(float(start[:, 0].std()), 1e-12)  # small, as scikit-learn's own start from PCA is
    model = TSNE(n_components=2, init=start, perplexity=perplexity, random_state=SEED)
    return np.asarray(model.fit_transform(unit), np.float64), "t-SNE"


def _pca(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """The two directions of greatest variance; each with its largest entry positive, so that signs do not wander."""
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((2, centred.shape[1]))
    plane[: len(directions[:2])] = directions[:2]
    largest = np.abs(plane).argmax(axis=1)
    plane *= np.where(plane[[0, 1], largest] < 0, -1, 1)[:, None]
    return centred @ plane.T


def answers(bank: Sample, test: Sample) -> tuple[list[Answer], float]:
    """Some test clips with their nearest training clips, first those that the vote gets right, then the others.

    Each is of another class where there are enough. Clips without a class are left out.

    Returns:
        The clips, and the share of all known test clips that the vote gets right, in per cent.
    """
    known, voting = np.flatnonzero(test.labels >= 0), np.flatnonzero(bank.labels >= 0)
    if not len(known) or not len(voting):
        return [], 0.0
    classes, positions = np.unique(bank.labels[voting], return_inverse=True)
    train, queries = bank.features[voting], test.features[known]
    votes = weighted_knn(train, torch.from_numpy(positions), queries, len(classes), VOTING)
    said = classes[votes.argmax(1).numpy()]
    right = said == test.labels[known]
    order = np.random.default_rng(SEED).permutation(len(known))
    picked = [*_spread(order[right[order]], test.labels[known]), *_spread(order[~right[order]], test.labels[known])]
    unit = normalize(train, dim=1)
    found = []
    for place in picked:
        cosines = unit @ normalize(queries[place : place + 1], dim=1)[0]
        nearest = torch.argsort(cosines, descending=True, stable=True)[:NEIGHBOURS].tolist()
        found.append(
            Answer(
                row=int(test.rows[known[place]]),
                label=int(test.labels[known[place]]),
                said=int(said[place]),
                nearest=[(int(bank.rows[voting[n]]), int(bank.labels[voting[n]]), float(cosines[n])) for n in nearest],
            )
        )
    return found, 100 * float(right.mean())


def _spread(places: NDArray[Any], labels: NDArray[np.int64]) -> list[int]:
    """The first SHOWN places, of a class that is not there yet as long as there is one."""
    picked: list[int] = []
    for again in (False, True):
        for place in places.tolist():
            taken = {int(labels[one]) for one in picked}
            if len(picked) < SHOWN and place not in picked and (again or int(labels[place]) not in taken):
                picked.append(place)
    return picked
