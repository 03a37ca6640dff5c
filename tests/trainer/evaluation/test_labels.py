from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ArtifactError
from pipeline.store.splits import find_split
from pipeline.store.store import Store
from trainer.evaluation.evaluate import EvaluateRequest, evaluate
from trainer.evaluation.labels import labelled_clips
from trainer.runs.run import Run
from trainer.terminal.evaluation_output import results_notes


@dataclass
class Labels:
    """A store of which only the labels are read."""

    labels: list[int]
    path: Path = Path("some.zarr")
    columns: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.columns = {"label": np.array(self.labels)}

    def class_name(self, label: int) -> str:
        return f"{label} walk"


@dataclass
class Sides:
    """A split of a number of clips into halves."""

    count: int
    name: str = "xsub"

    @property
    def train(self) -> np.ndarray[Any, Any]:
        return np.arange(self.count // 2)

    @property
    def test(self) -> np.ndarray[Any, Any]:
        return np.arange(self.count // 2, self.count)


def select(labels: list[int]) -> Any:
    return labelled_clips(Labels(labels), Sides(len(labels)))  # type: ignore[arg-type]


def test_without_unknown_labels_every_clip_is_evaluated() -> None:
    found = select([3, 5, 3, 5, 5, 3])
    assert (found.train.tolist(), found.test.tolist(), found.classes) == ([0, 1, 2], [3, 4, 5], [3, 5])
    assert (found.train_labels.tolist(), found.test_labels.tolist(), found.notes) == ([0, 1, 0], [1, 1, 0], ())


def test_clips_without_label_are_left_out_and_counted_and_are_no_class() -> None:
    found = select([3, -1, 5, -1, -1, 5, 3, -1])
    assert (found.train.tolist(), found.test.tolist(), found.classes) == ([0, 2], [5, 6], [3, 5])
    assert (found.train_labels.tolist(), found.test_labels.tolist()) == ([0, 1], [1, 0])
    assert found.notes == (
        "2 of the 4 training clips have no label and are left out",
        "2 of the 4 test clips have no label and are left out",
    )


@pytest.mark.parametrize(("labels", "side"), [([-1, -1, 1, 2], "training"), ([1, 2, -1, -1], "test")])
def test_a_side_without_labels_is_an_error(labels: list[int], side: str) -> None:
    with pytest.raises(ArtifactError, match=rf"none of the 2 {side} clips of xsub has a label"):
        select(labels)


def test_a_single_class_is_named() -> None:
    assert select([4, 4, 4, 4]).notes == ("all clips have the class 4 walk, so every accuracy is 100 %",)


def test_test_clips_of_classes_without_training_clips_are_named() -> None:
    assert select([1, 1, 1, 2, 3, 1]).notes == (
        "2 of the 3 test clips cannot be recognised, because their class has no training clip: 2 walk, 3 walk",
    )
    assert select([1] * 8 + list(range(2, 10))).notes[0].endswith("6 walk and 3 more")


def test_the_evaluation_leaves_out_clips_without_label(
    shared_run: Run, shared_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = find_split(shared_store, "xsub")
    labels = shared_store.columns["label"].copy()
    labels[[split.train[0], split.test[0], split.test[3]]] = -1
    monkeypatch.setitem(shared_store.columns, "label", labels)
    request = EvaluateRequest(run=shared_run, store=shared_store, split=split, protocols=("knn",))
    result = evaluate(request)["knn"]
    row = result["rows"]["raw coordinates"]
    assert -1 not in row["classes"]
    assert row["clips"] == len(split.test) - 2
    assert result["lineage"]["split"]["train"] == len(split.train) - 1
    assert "2 of the 36 test clips have no label and are left out" in results_notes({"knn": result})
