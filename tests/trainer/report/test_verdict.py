"""The sentences of a run report that judge a run: against its baselines, and whether its features collapsed."""

import pytest
import torch

from trainer.evaluation.results import Result
from trainer.report.feature_blocks import _collapse_blocks, _format_cosines
from trainer.report.feature_map import Sample
from trainer.report.run_report import verdict


def result(name: str, *, transfer: bool = False, **top1: float) -> Result:
    rows = {row.replace("_", " ").replace("pretrained", "pre-trained"): {"top1": value} for row, value in top1.items()}
    lineage = {
        "run": {"name": "r", "digest": "a"},
        "checkpoint": {"step": 6, "total_steps": 6},
        "store": {"name": "ntu60", "digest": "b"},
        "split": {"name": "xsub", "digest": "c", "train": 40091, "test": 16487},
        "transfer": transfer,
    }
    fields = {"name": name, "protocol": name, "settings": {}, "class_names": [], "rows": rows, "lineage": lineage}
    return Result.model_validate(fields)


def test_a_better_encoder_is_above_its_baselines() -> None:
    found = [result("linear", pretrained=72.8, random_encoder=33.5, raw_coordinates=56.5)]
    assert verdict(found) == (
        "Linear top-1 72.8 %: 39.3 points above an untrained encoder, 16.3 points above a nearest neighbour on raw "
        "coordinates (16,487 test clips of ntu60 xsub)"
    )


def test_a_worse_encoder_is_below_its_baselines() -> None:
    found = [result("knn", pretrained=30.0, random_encoder=33.5, raw_coordinates=56.54)]
    assert verdict(found) == (
        "kNN top-1 30.0 %: 3.5 points below an untrained encoder, 26.5 points below a nearest neighbour on raw "
        "coordinates (16,487 test clips of ntu60 xsub)"
    )


def test_the_linear_evaluation_of_the_runs_own_data_decides() -> None:
    found = [
        result("knn", pretrained=1.0),
        result("linear", transfer=True, pretrained=2.0),
        result("linear", pretrained=3.0),
    ]
    assert verdict(found) == "Linear top-1 3.0 % (16,487 test clips of ntu60 xsub)"
    assert verdict(found[:1]).startswith("kNN top-1 1.0 %")
    assert verdict([]) == "Not evaluated yet"


@pytest.mark.parametrize("collapsed", [True, False])
def test_collapsed_features_are_reported_as_a_warning(collapsed: bool) -> None:
    torch.manual_seed(0)
    features = torch.ones(50, 8) + 0.01 * torch.randn(50, 8) if collapsed else torch.randn(50, 8)
    rows = torch.arange(50).numpy()
    (text,) = _collapse_blocks(Sample(rows=rows, population=50, labels=rows, features=features))
    assert text.warns == collapsed
    start = "Features are almost parallel, a sign of feature collapse: " if collapsed else "No feature collapse: "
    assert text.text.startswith(f"{start}mean cosine similarity of two test clips ")
    assert text.text.endswith(" of 8 dimensions.")


def test_the_cosines_of_a_scene_have_equally_many_digits() -> None:
    assert _format_cosines([0.9951, 0.9, 0.5]) == ["0.995", "0.900", "0.500"]
    assert _format_cosines([0.5, 0.25]) == ["0.50", "0.25"]
    assert _format_cosines([1.0, 0.5]) == ["1.000000", "0.500000"]
