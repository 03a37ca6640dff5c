"""Report sections on an encoder's features: a map of test clips, and test clips next to their nearest neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.report.report import Block, Chart, Film, MovingSkeleton, Scene, Text, make_table
from pipeline.report.scatter_plot import draw_scatter_plot
from pipeline.store.store import Store
from trainer.report import feature_map
from trainer.report.feature_map import NeighbourExample, Sample

MAX_FRAMES = 40
"""Frames of a small moving skeleton."""
MAX_NAMED_CLASSES = 24
"""Classes up to which the map has their names; above, it has their numbers, such as A006."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureSamples:
    """The clips whose features are shown."""

    store: Store
    step: int
    """Training steps of the encoder's checkpoint."""
    bank: Sample
    """Training clips."""
    test: Sample


def map_blocks(samples: FeatureSamples) -> list[Block]:
    """Plot test clips in the plane, coloured by class."""
    test, store = samples.test, samples.store
    points, method = feature_map.project_to_plane(test.features)
    classes = sorted({int(label) for label in test.labels if label >= 0})
    groups = np.array([classes.index(int(label)) if label >= 0 else -1 for label in test.labels])
    clips = f"all {test.population:,} test clips"
    if len(test.rows) < test.population:
        clips = f"{len(test.rows):,} of {test.population:,} test clips (a fixed sample, stratified by class)"
    notes = [
        "The name or number of a class is where most of its clips are; grey points have no class.",
        "Clips are compared by the cosine similarity of their features, with batch-norm statistics of the training.",
    ]
    if method == "t-SNE":
        notes.insert(0, "Neighbours have similar features; distances between groups, and their sizes, mean nothing.")
    else:
        notes.insert(0, "The two directions of greatest variance. Install `skelepipe[analysis]` for t-SNE.")
    title = f"Features of {len(test.rows):,} test clips, {method}"
    titles = [store.class_name(label) for label in classes]
    legend = [(title, int((test.labels == label).sum())) for title, label in zip(titles, classes, strict=True)]
    labels = titles if len(classes) <= MAX_NAMED_CLASSES else [title.split(" ")[0] for title in titles]
    names = [store.names[row] for row in test.rows]
    return [
        *_collapse_blocks(test),
        Text(text=f"{method} of the backbone features of {clips}, at step {samples.step:,}.", points=notes),
        Chart(title=title, svg=draw_scatter_plot(title, points, groups, labels, names)),
        make_table("Classes of the map", ["class", "clips"], legend, folded=True),
    ]


def _collapse_blocks(test: Sample) -> list[Block]:
    """State how similar the features of different clips are, and warn if they have collapsed."""
    cosine, rank = feature_map.spread(test.features)
    numbers = (
        f"mean cosine similarity of two test clips {cosine:.3f}; effective rank of the features {rank:.1f} of "
        f"{test.features.shape[1]} dimensions"
    )
    if cosine > feature_map.COLLAPSED_COSINE:
        return [Text(text=f"Features are almost parallel, a sign of feature collapse: {numbers}.", warns=True)]
    return [Text(text=f"No feature collapse: {numbers}.")]


def neighbour_blocks(samples: FeatureSamples, film: Film) -> list[Block]:
    """Show examples of correctly and wrongly predicted test clips, each next to its nearest training clips."""
    bank, test = samples.bank, samples.test
    found, accuracy = feature_map.find_examples(bank, test)
    if not found:
        return [Text(text="The clips have no classes, so that neighbours cannot be compared.")]
    source = f"{len(bank.rows):,} training clips"
    if len(bank.rows) < bank.population:
        source += f" (of {bank.population:,}, the same fraction of each class)"
    film_indices: dict[int, int] = {}
    text = (
        f"Test clips, each next to the {feature_map.SHOWN_NEIGHBOURS} most similar of {source}. A vote of the "
        f"{feature_map.VOTING_NEIGHBOURS} most similar predicts {accuracy:.1f} % of {len(test.rows):,} test clips "
        "correctly. Examples of correct predictions come first, then wrong ones. ✓ marks neighbours of the clip's own "
        "class, ✗ others."
    )
    return [Text(text=text), *(_scene(samples.store, example, film, film_indices) for example in found)]


def _scene(store: Store, example: NeighbourExample, film: Film, film_indices: dict[int, int]) -> Scene:
    """Show one test clip with its neighbours; a clip that is shown twice is stored once in the page."""

    def film_index(row: int) -> int:
        if row not in film_indices:
            film_indices[row] = film.add(store.clip(row), MAX_FRAMES)
        return film_indices[row]

    is_correct = example.predicted == example.label
    outcome = "predicted correctly" if is_correct else f"predicted as {store.class_name(example.predicted)}"
    cosines = _format_cosines([cosine for _, _, cosine in example.nearest])
    neighbours = [
        MovingSkeleton(
            label=store.class_name(label),
            note=f"{store.names[row]} cosine {cosine}",
            clip=film_index(row),
            mark="right" if label == example.label else "wrong",
        )
        for (row, label, _), cosine in zip(example.nearest, cosines, strict=True)
    ]
    own = MovingSkeleton(label="test clip", note=store.names[example.row], clip=film_index(example.row))
    return Scene(title=f"{store.class_name(example.label)}: {outcome}", note="", shown=[own, *neighbours])


def _format_cosines(cosines: Sequence[float]) -> list[str]:
    """Format similarities with equally many digits, so many that each differs from 1, up to six."""
    for digits in range(2, 7):
        texts = [f"{cosine:.{digits}f}" for cosine in cosines]
        if all(float(text) < 1 for text in texts):
            break
    return texts
