"""What an encoder's features look like, for a run's report: a map of test clips, and clips beside their neighbours."""

from dataclasses import dataclass

import numpy as np

from pipeline.report import charts
from pipeline.report.report import Block, Chart, Charts, Film, Moving, Scene, Text, make_table
from pipeline.store.store import Store
from trainer.report import feature_map
from trainer.report.feature_map import Answer, Sample

FRAMES = 40
"""Of a small moving skeleton."""
UNFOLDED = 24
"""Classes up to which those of the map are listed open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """The clips that features are shown of."""

    store: Store
    step: int
    """Of the encoder's checkpoint."""
    bank: Sample
    """Training clips."""
    test: Sample


def map_of(shown: Shown) -> list[Block]:
    """Test clips in the plane, coloured by class."""
    test, store = shown.test, shown.store
    points, how = feature_map.flat(test.features)
    classes = sorted({int(label) for label in test.labels if label >= 0})
    groups = np.array([classes.index(int(label)) if label >= 0 else -1 for label in test.labels])
    drawn = f"all {test.of:,} test clips"
    if len(test.rows) < test.of:
        drawn = f"{len(test.rows):,} of {test.of:,} test clips (the same share of each class, always the same clips)"
    notes = [
        "A number stands in the middle of its class; grey is unknown.",
        "Clips are compared by the angle between their features, with batch-norm statistics as training left them.",
    ]
    if how == "t-SNE":
        notes.insert(0, "Near stays near; distances between groups, and their sizes, mean nothing.")
    else:
        notes.insert(0, "The two directions of greatest variance. `pip install 'skelepipe[analysis]'` brings t-SNE.")
    title = f"Features of {len(test.rows):,} test clips, {how}"
    legend = [(str(label), _name(store, label), int((test.labels == label).sum())) for label in classes]
    return [
        Text(text=f"{how} of the backbone features of {drawn}, at step {shown.step:,}.", points=notes),
        Charts(
            charts=[
                Chart(title=title, svg=charts.scatter(title, points, groups, [str(label) for label in classes])),
                make_table("Classes of the map", ["number", "class", "clips"], legend, folded=len(legend) > UNFOLDED),
            ]
        ),
    ]


def neighbours(shown: Shown, film: Film) -> list[Block]:
    """Some test clips, right and wrong, each beside the training clips nearest to it."""
    bank, test = shown.bank, shown.test
    found, right = feature_map.answers(bank, test)
    if not found:
        return [Text(text="The clips have no classes: there is nothing to compare neighbours by.")]
    among = f"{len(bank.rows):,} training clips"
    if len(bank.rows) < bank.of:
        among += f" (of {bank.of:,}, the same share of each class)"
    places: dict[int, int] = {}
    told = (
        f"Test clips, each beside the {feature_map.NEIGHBOURS} most similar of {among}. A vote of the "
        f"{feature_map.VOTING} most similar is right for {right:.1f} % of {len(test.rows):,} test clips; here are some "
        "that it gets right, then some that it gets wrong. ✓ marks neighbours of the clip's own class, ✗ others."
    )
    return [Text(text=told), *(_scene(shown.store, answer, film, places) for answer in found)]


def _scene(store: Store, answer: Answer, film: Film, places: dict[int, int]) -> Scene:
    """One test clip with its neighbours; a clip that is shown twice is kept once."""

    def place(row: int) -> int:
        if row not in places:
            places[row] = film.add(store.clip(row), FRAMES)
        return places[row]

    said = "taken for what it is" if answer.said == answer.label else f"taken for {store.class_name(answer.said)}"
    beside = [
        Moving(
            label=store.class_name(label),
            note=f"{store.names[row]} cosine {cosine:.3f}",
            clip=place(row),
            mark="right" if label == answer.label else "wrong",
        )
        for row, label, cosine in answer.nearest
    ]
    own = Moving(label="test clip", note=store.names[answer.row], clip=place(answer.row))
    return Scene(title=f"{store.class_name(answer.label)}: {said}", note="", shown=[own, *beside])


def _name(store: Store, label: int) -> str:
    name: str = store.attributes["classes"].get(str(label), "")
    return name
