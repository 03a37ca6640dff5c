import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from pipeline.errors import ArtifactNotFound, NotFinite
from pipeline.store.splits import find_split, load_subsets
from pipeline.store.store import Store
from tests.support.result_files import result_file
from trainer.config.evaluation import compose_eval
from trainer.data.loader import load_clips
from trainer.evaluation import features, finetune
from trainer.evaluation.evaluate import EvaluateRequest, evaluate
from trainer.evaluation.finetune import Sides
from trainer.evaluation.frozen_protocols import extract_representations
from trainer.evaluation.knn import weighted_knn
from trainer.models.encoder import Encoder
from trainer.runs.classifier import load_classifier
from trainer.runs.run import Run, load_encoder
from trainer.terminal import evaluation_output


@pytest.fixture(scope="module")
def results(shared_run: Run, shared_store: Store) -> dict[str, dict[str, object]]:
    split = find_split(shared_store, "xsub")
    request = EvaluateRequest(
        run=shared_run,
        store=shared_store,
        split=split,
        protocols=("knn", "linear"),
        device=torch.device("cpu"),
    )
    return evaluate(request)  # type: ignore[return-value]


def test_every_protocol_writes_a_result_with_all_rows(results: dict[str, dict[str, object]], shared_run: Run) -> None:
    for protocol, result in results.items():
        assert list(result["rows"]) == ["pre-trained", "pre-trained, recalibrated", "random encoder", "raw coordinates"]  # type: ignore[call-overload]
        written = json.loads(Path(result["written"]).read_text())  # type: ignore[arg-type]
        assert Path(result["written"]) == result_file(shared_run.path, f"{protocol}.json")  # type: ignore[arg-type]
        assert written["rows"] == json.loads(json.dumps(result["rows"]))
        assert written["lineage"]["store"]["digest"] == shared_run.lineage["store"]["digest"]
        assert written["lineage"]["checkpoint"]["step"] == shared_run.total_steps
        assert (written["published"] is None) is (protocol == "knn")
        assert written["lineage"]["transfer"] is False
        assert written["lineage"]["test_clips_pretrained_on"] == 0


def test_linear_reports_last_and_best_epoch_separately(results: dict[str, dict[str, object]]) -> None:
    row = results["linear"]["rows"]["pre-trained"]  # type: ignore[index]
    assert row["top1"] == pytest.approx(row["test_top1_by_epoch"]["150"], abs=1e-4)
    best = row["best_epoch"]
    assert best["top1"] == max(row["test_top1_by_epoch"].values()) == row["test_top1_by_epoch"][str(best["epoch"])]


def test_raw_coordinates_are_classified_by_one_nearest_neighbour(
    results: dict[str, dict[str, object]], shared_store: Store, shared_run: Run
) -> None:
    split, labels = find_split(shared_store, "xsub"), shared_store.columns["label"]
    train, test = (
        load_clips(shared_store, side, 16, shared_run.config.bodies).flatten(1).numpy()
        for side in (split.train, split.test)
    )
    said = [labels[split.train][np.square(train - clip).sum(1).argmin()] for clip in test]
    assert results["knn"]["rows"]["raw coordinates"]["top1"] == 100 * np.mean(said == labels[split.test])  # type: ignore[index]


def test_another_split_gets_its_own_result_file(shared_run: Run, shared_store: Store) -> None:
    split = find_split(shared_store, "xview")
    request = EvaluateRequest(
        run=shared_run,
        store=shared_store,
        split=split,
        protocols=("knn",),
        device=torch.device("cpu"),
    )
    result = evaluate(request)["knn"]
    assert Path(result["written"]) == result_file(shared_run.path, "knn-ntu60-xview.json")
    seen = np.intersect1d(find_split(shared_store, "xsub").train, split.test)
    assert result["lineage"]["test_clips_pretrained_on"] == len(seen) > 0
    assert f"{len(seen)} of the test clips were used in pre-training" in "\n".join(
        evaluation_output.results_notes({"knn": result})
    )


def test_knn_works_with_fewer_clips_than_k() -> None:
    assert weighted_knn(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), classes=2).argmax(1).tolist() == [0, 1]


def asked(run: Run, store: Store, *protocols: str, **more: object) -> EvaluateRequest:
    split = find_split(store, "xsub")
    return EvaluateRequest(run=run, store=store, split=split, protocols=protocols, device=torch.device("cpu"), **more)  # type: ignore[arg-type]


def test_retrieval_predicts_the_class_of_the_most_similar_clip(shared_run: Run, shared_store: Store) -> None:
    result = evaluate(asked(shared_run, shared_store, "retrieval", batch_norm="trained"))["retrieval"]
    assert list(result["rows"]) == ["pre-trained", "random encoder", "raw coordinates"]
    split, labels = find_split(shared_store, "xsub"), shared_store.columns["label"]
    encoder, _ = load_encoder(shared_run, torch.device("cpu"))
    train, test = (
        torch.nn.functional.normalize(
            features.extract_positions(
                encoder, load_clips(shared_store, side, 16, shared_run.config.bodies), shared_run
            )
        )
        for side in (split.train, split.test)
    )
    said = labels[split.train][(test @ train.T).argmax(1).numpy()]
    assert result["rows"]["pre-trained"]["top1"] == pytest.approx(100 * np.mean(said == labels[split.test]))


def test_augmented_knn_depends_on_the_seed(shared_run: Run, shared_store: Store) -> None:
    def scores(*settings: str) -> object:
        config = compose_eval([*settings, "knn.k=1"])
        found = evaluate(asked(shared_run, shared_store, "knn", config=config, batch_norm="trained", force=True))
        with np.load(Path(found["knn"]["written"]).with_suffix(".scores.npz")) as kept:
            return kept["pre-trained"]

    plain, head = scores(), scores("knn.layer=head")
    views = [scores("knn.layer=head", "knn.augmented=true", f"seed={seed}") for seed in (0, 0, 1)]
    assert not np.array_equal(plain, head)  # type: ignore[arg-type]
    assert np.array_equal(views[0], views[1])  # type: ignore[arg-type]
    assert not np.array_equal(views[0], views[2])  # type: ignore[arg-type]
    assert not np.array_equal(views[0], head)  # type: ignore[arg-type]


def test_finetuning_is_compared_with_training_from_scratch(shared_run: Run, shared_store: Store) -> None:
    config = compose_eval(["finetune.epochs=2", "finetune.test_every=1"])
    result = evaluate(asked(shared_run, shared_store, "finetune", config=config))["finetune"]
    assert list(result["rows"]) == ["pre-trained", "supervised from scratch"]
    row = result["rows"]["pre-trained"]
    assert list(row["test_top1_by_epoch"]) == ["1", "2"]
    assert row["best_epoch"]["note"] == "chosen on the test set"
    kept = load_classifier(shared_run, "finetune", torch.device("cpu"))
    split = find_split(shared_store, "xsub")
    test = load_clips(shared_store, split.test, 16, shared_run.config.bodies)
    again = kept.scores(features.extract_positions(kept.encoder, test, shared_run))
    with np.load(result_file(shared_run.path, "finetune.scores.npz")) as scores:
        np.testing.assert_allclose(again.detach().numpy(), scores["pre-trained"], atol=1e-5)
        assert np.array_equal(scores["rows"], split.test)


def test_semi_trains_only_on_the_labels_of_each_stored_draw(
    shared_run: Run, drawn_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArtifactNotFound, match=r"build-splits .* --label-fraction 0.37 --seed"):
        evaluate(asked(shared_run, drawn_store, "semi", fractions=(0.37,)))
    subsets = load_subsets(drawn_store, find_split(drawn_store, "xsub"), 0.25)
    seen = []
    fit = finetune.fit

    def watched(start: Encoder, sides: Sides, *rest: Any, **more: Any) -> finetune.FinetuneResult:
        seen.append(sides)
        return fit(start, sides, *rest, **more)

    monkeypatch.setattr(finetune, "fit", watched)
    config = compose_eval(["semi.epochs=1"])
    result = evaluate(asked(shared_run, drawn_store, "semi", config=config, fractions=(0.25,)))["semi-0.25"]
    assert [row["top1"] for row in result["rows"].values()] == [
        pytest.approx(np.mean([draw["top1"] for draw in row["seeds"].values()])) for row in result["rows"].values()
    ]
    for name in ("pre-trained", "supervised from scratch"):
        assert list(result["rows"][name]["seeds"]) == ["3", "4"]
    for sides, subset in zip(seen, subsets * 2, strict=True):
        wanted = load_clips(drawn_store, subset.rows, 16, shared_run.config.bodies)
        assert torch.equal(sides.train, wanted)
        classes = np.unique(drawn_store.columns["label"])
        assert np.array_equal(classes[sides.train_labels], drawn_store.columns["label"][subset.rows])


def test_baselines_can_be_disabled(shared_run: Run, drawn_store: Store) -> None:
    config = compose_eval(["semi.epochs=1", "finetune.epochs=1", "linear.epochs=2"])
    request = asked(
        shared_run, drawn_store, "finetune", "semi", "knn", config=config, fractions=(0.25,), baselines=False
    )
    rows = {key: list(result["rows"]) for key, result in evaluate(request).items()}
    pretrained = ["pre-trained", "pre-trained, recalibrated"]
    assert rows == {"finetune": pretrained[:1], "semi-0.25": pretrained[:1], "knn": pretrained}


def test_a_number_that_cannot_be_compared_is_named_below_the_table(
    results: dict[str, dict[str, Any]], shared_run: Run
) -> None:
    published = results["linear"]["published"]
    assert (published["top1"], published["preset"]) == (80.7, "ntu60-xsub")
    assert "epochs 2 instead of 300" in published["differences"]
    notes = " ".join(evaluation_output.results_notes(results))
    assert "linear: not comparable with the published 80.7 (README of czhaneva/SkeleMixCLR, best test epoch): " in notes
    assert re.search(r" and \d+ more", notes)
    comparable = {**results, "linear": {**results["linear"], "published": {**published, "differences": ()}}}
    for shown, rows in ((results, 0), (comparable, 1)):
        table = evaluation_output.results_table(shown)
        assert list(table.columns[0].cells).count("published") == rows


def test_a_run_is_evaluated_with_the_settings_of_its_preset(shared_run: Run, shared_store: Store) -> None:
    request = asked(shared_run, shared_store, "linear")
    assert (request.settings.linear.learning_rate, request.settings.linear.drop_last) == (0.3, False)
    for preset in ("ntu60-xsub", "imported weights", "of another version"):
        other = replace(request, run=replace(shared_run, preset=preset))
        assert (other.settings.linear.learning_rate, other.settings.linear.drop_last) == (3.0, True)
    assert replace(request, config=compose_eval(["knn.k=3"])).settings == compose_eval(["knn.k=3"])
    assert compose_eval(["linear.learning_rate=1"], "quick").linear.learning_rate == 1.0
    reference = compose_eval(preset="reference-ntu60-xsub")
    assert (reference.knn.layer, reference.finetune.frozen_statistics) == ("head", True)
    assert reference.semi_for(0.01).learning_rate == 0.05


def test_the_best_epoch_is_shown_as_the_best_of_the_evaluations_on_the_test_clips(
    results: dict[str, dict[str, Any]],
) -> None:
    assert "the best of 30 evaluations on the test set was" in " ".join(evaluation_output.results_notes(results))


def test_projections_too_large_to_compare_stop_the_knn_of_the_reference(shared_run: Run, shared_store: Store) -> None:
    encoder, _ = load_encoder(shared_run, torch.device("cpu"))
    with torch.no_grad():
        for name, value in encoder.named_parameters():
            if name.startswith("head.") and value.ndim == 2:
                value.mul_(1e30)
    rows = find_split(shared_store, "xsub").test
    clips = load_clips(shared_store, rows, shared_run.config.frames, shared_run.config.bodies)
    labels = torch.zeros(len(clips), dtype=torch.int64)
    sides = Sides(train=clips, train_labels=labels, test=clips, test_labels=labels, classes=1)
    config = compose_eval(["knn.layer=head"])
    with pytest.raises(NotFinite, match=r"^knn, pre-trained: the encoder's features of 36 of 36 clips are not finite"):
        next(
            extract_representations(shared_run, encoder, encoder, sides, ["pre-trained"], config, lambda message: None)
        )


def test_the_table_has_every_row_and_fits_a_terminal(shared_run: Run, drawn_store: Store) -> None:
    config = compose_eval(["semi.epochs=1", "finetune.epochs=1", "linear.epochs=2"])
    request = asked(
        shared_run, drawn_store, "finetune", "semi", "linear", "knn", "retrieval", config=config, fractions=(0.25,)
    )
    found = evaluate(request)
    assert list(found) == ["finetune", "semi-0.25", "linear", "knn", "retrieval"]
    console = Console(width=90, record=True, file=io.StringIO())
    console.print(evaluation_output.results_table(found))
    shown = console.export_text()
    for row in ("pre-trained", "pre-trained, recalibrated", "supervised from scratch", "random encoder"):
        assert row in shown
    assert "…" not in shown
    assert "±" in shown
    notes = "\n".join(evaluation_output.results_notes(found))
    assert "semi-0.25: " in notes
    assert "over 2 subsets" in notes
    assert "finetune: accuracy after the last epoch; the best of 1 evaluation on the test set was" in notes
