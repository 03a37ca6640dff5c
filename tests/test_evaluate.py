import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import splits
from pipeline.store import Store
from trainer import display, evaluate, knn, loader
from trainer.methods import MethodConfig
from trainer.runs import Run
from trainer.skelemix import MixConfig


@pytest.fixture(scope="module")
def results(shared_run: Run, shared_store: Store) -> dict[str, dict[str, object]]:
    split = splits.find(shared_store, "xsub")
    request = evaluate.Request(
        run=shared_run, store=shared_store, split=split, protocols=("knn", "linear"), device=torch.device("cpu")
    )
    return evaluate.evaluate(request)  # type: ignore[return-value]


def test_every_protocol_has_every_row_and_is_written_down(
    results: dict[str, dict[str, object]], shared_run: Run
) -> None:
    for protocol, result in results.items():
        assert list(result["rows"]) == ["pre-trained", "pre-trained, recalibrated", "random encoder", "raw coordinates"]  # type: ignore[call-overload]
        written = json.loads((shared_run.path / "eval" / f"{protocol}.json").read_text())
        assert written["rows"] == json.loads(json.dumps(result["rows"]))
        assert written["lineage"]["store"]["digest"] == shared_run.lineage["store"]["digest"]
        assert written["lineage"]["checkpoint"]["step"] == shared_run.total_steps
        assert written["published"] is None
        assert written["lineage"]["transfer"] is False
        assert written["lineage"]["test_clips_pretrained_on"] == 0


def test_linear_names_last_and_best_epoch_apart(results: dict[str, dict[str, object]]) -> None:
    row = results["linear"]["rows"]["pre-trained"]  # type: ignore[index]
    assert row["top1"] == pytest.approx(row["test_top1_by_epoch"][-1], abs=1e-4)
    best = row["best_epoch"]
    assert best["top1"] == max(row["test_top1_by_epoch"]) == row["test_top1_by_epoch"][best["epoch"] - 1]


def test_raw_coordinates_are_one_nearest_neighbour_on_the_resized_clips(
    results: dict[str, dict[str, object]], shared_store: Store, shared_run: Run
) -> None:
    split, labels = splits.find(shared_store, "xsub"), shared_store.columns["label"]
    train, test = (
        loader.load(shared_store, side, 16, shared_run.config.bodies).flatten(1).numpy()
        for side in (split.train, split.test)
    )
    said = [labels[split.train][np.square(train - clip).sum(1).argmin()] for clip in test]
    assert results["knn"]["rows"]["raw coordinates"]["top1"] == 100 * np.mean(said == labels[split.test])  # type: ignore[index]


def test_another_split_is_another_result(shared_run: Run, shared_store: Store) -> None:
    split = splits.find(shared_store, "xview")
    request = evaluate.Request(
        run=shared_run, store=shared_store, split=split, protocols=("knn",), device=torch.device("cpu")
    )
    result = evaluate.evaluate(request)["knn"]
    assert Path(result["written"]).name == "knn-ntu60-xview.json"
    seen = np.intersect1d(splits.find(shared_store, "xsub").train, split.test)
    assert result["lineage"]["test_clips_pretrained_on"] == len(seen) > 0
    assert f"{len(seen)} of the test clips were pre-trained on" in "\n".join(display.results_notes({"knn": result}))


def test_the_published_number_stands_beside_the_presets_own_data_set_and_split(
    shared_run: Run, shared_store: Store
) -> None:
    run = replace(
        shared_run,
        preset="ntu60-xsub",
        config=shared_run.config.model_copy(update={"method": MethodConfig()}),
    )
    published = [
        evaluate._published(run, shared_store, splits.find(shared_store, split), protocol)
        for split, protocol in (("xsub", "linear"), ("xview", "linear"), ("xsub", "knn"))
    ]
    assert published[0] is not None
    assert published[0]["top1"] == 80.7
    assert published[1:] == [None, None]
    others = [MethodConfig(name="skeletonclr"), MethodConfig(mix=MixConfig(fill="zeros"))]
    for other in ({"stream": "bone"}, *({"method": method} for method in others)):
        another = replace(run, config=run.config.model_copy(update=other))
        assert evaluate._published(another, shared_store, splits.find(shared_store, "xsub"), "linear") is None


def test_scores_of_neighbours_do_not_need_more_clips_than_there_are() -> None:
    assert knn.weighted(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), classes=2).argmax(1).tolist() == [0, 1]
