"""The labelled clips of an evaluation: leave out clips without label, and name what their classes cannot show."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ArtifactError
from pipeline.store.splits import Split
from pipeline.store.store import Store

UNLABELLED = -1
"""The label of a clip whose class is unknown."""
MAX_NAMED = 5
"""Classes that a note names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledClips:
    """The clips of a split that can be evaluated."""

    train: NDArray[np.int64]
    """Rows of the store."""
    test: NDArray[np.int64]
    classes: list[int]
    """Class ids on either side, sorted."""
    train_labels: NDArray[np.int64]
    """Positions in `classes`."""
    test_labels: NDArray[np.int64]
    notes: tuple[str, ...]
    """What a reader of the accuracies must know."""


def labelled_clips(store: Store, split: Split) -> LabelledClips:
    """Select the labelled clips of both sides of a split.

    Raises:
        ArtifactError: a side has no labelled clip.
    """
    labels = store.columns["label"]
    sides = [rows[labels[rows] != UNLABELLED] for rows in (split.train, split.test)]
    notes = []
    for name, rows in (("training", split.train), ("test", split.test)):
        if not len(rows):
            raise ArtifactError(
                f"{split.path}: the split {split.name} has no {name} clips, so nothing can be evaluated; define "
                "splits in skeleton.toml, or use `skelepipe build-splits --split-file`"
            )
    for name, rows, labelled in zip(("training", "test"), (split.train, split.test), sides, strict=True):
        if not len(labelled):
            raise ArtifactError(
                f"{store.path}: none of the {len(rows)} {name} clips of {split.name} has a label, so none can be "
                "evaluated; ingest recordings with labels, or use `skelepipe embed`"
            )
        if left_out := len(rows) - len(labelled):
            notes.append(f"{left_out} of the {len(rows)} {name} clips have no label and are left out")
    classes, positions = np.unique(labels[np.concatenate(sides)], return_inverse=True)
    train_labels, test_labels = np.split(positions, [len(sides[0])])
    return LabelledClips(
        train=sides[0],
        test=sides[1],
        classes=classes.tolist(),
        train_labels=train_labels,
        test_labels=test_labels,
        notes=(*notes, *_class_notes(store, classes, train_labels, test_labels)),
    )


def _class_notes(
    store: Store, classes: NDArray[np.int64], train_labels: NDArray[np.int64], test_labels: NDArray[np.int64]
) -> list[str]:
    """Notes on classes that are on one side only, and on an evaluation with a single class."""
    if len(classes) == 1:
        return [f"all clips have the class {store.class_name(int(classes[0]))}, so every accuracy is 100 %"]
    unknown = np.setdiff1d(test_labels, train_labels)
    if not len(unknown):
        return []
    clips = int(np.isin(test_labels, unknown).sum())
    names = ", ".join(store.class_name(int(classes[position])) for position in unknown[:MAX_NAMED])
    rest = f" and {len(unknown) - MAX_NAMED} more" if len(unknown) > MAX_NAMED else ""
    return [
        f"{clips} of the {len(test_labels)} test clips cannot be recognised, because their class has no training clip: "
        f"{names}{rest}"
    ]
