import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.artifacts.manifest import write_manifest
from pipeline.artifacts.schemas import CHECKPOINT, CLASSIFIER
from pipeline.errors import ArtifactError, ArtifactNotFound, NotFinite
from pipeline.store.splits import find_split
from pipeline.store.store import Store
from pipeline.store.verify import NotAnArtifact, verify
from tests.support.result_files import result_file
from trainer.config.evaluation import compose_eval
from trainer.data.loader import load_clips
from trainer.evaluation import features, linear
from trainer.evaluation.evaluate import EvaluateRequest, evaluate
from trainer.runs.classifier import choose_classifier, load_classifier, saved_classifiers
from trainer.runs.run import Run, load_encoder, load_run
from trainer.runs.safetensors_file import read_tensors, write_tensors

CPU = torch.device("cpu")


@pytest.fixture
def own_run(shared_run: Run, tmp_path: Path) -> Run:
    """A copy of the run without results, that tests may damage."""
    shutil.copytree(shared_run.path, tmp_path / "run", ignore=shutil.ignore_patterns("eval"))
    return load_run(tmp_path / "run")


@pytest.fixture
def evaluated(
    own_run: Run, shared_store: Store, monkeypatch: pytest.MonkeyPatch
) -> tuple[Run, list[linear.LinearResult]]:
    """The run after a linear evaluation, and what that fitted, row by row."""
    fitted: list[linear.LinearResult] = []
    fit = linear.fit
    monkeypatch.setattr(linear, "fit", lambda *args, **options: fitted.append(fit(*args, **options)) or fitted[-1])
    evaluate(request_of(own_run, shared_store, "xsub"))
    return own_run, fitted


def request_of(run: Run, store: Store, split: str) -> EvaluateRequest:
    return EvaluateRequest(
        run=run, store=store, split=find_split(store, split), protocols=("knn", "linear"), device=CPU
    )


def chosen_file(run: Run, name: str | None) -> Path:
    return run.path / "eval" / f"{choose_classifier(run, name)}.classifier"


def test_linear_evaluation_saves_both_classifiers_with_their_encoders(
    evaluated: tuple[Run, list[linear.LinearResult]], shared_store: Store
) -> None:
    run, fitted = evaluated
    assert sorted(saved.short_name for saved in saved_classifiers(run)) == ["linear", "linear-recalibrated"]
    test = load_clips(shared_store, find_split(shared_store, "xsub").test, 16, run.config.bodies)
    for name, wanted in zip(("linear", "linear-recalibrated"), fitted, strict=False):
        kept = load_classifier(run, name, CPU)
        assert torch.equal(kept.scores(features.extract(kept.encoder, test)), wanted.scores)
        assert kept.classes == tuple(sorted({*shared_store.columns["label"].tolist()}))
        assert kept.names == tuple(shared_store.attributes["classes"][str(label)] for label in kept.classes)
        assert kept.facts["lineage"]["checkpoint"]["digest"] == load_encoder(run, CPU)[1]["digest"]
    plain, recalibrated = (load_classifier(run, name, CPU) for name in ("linear", "linear-recalibrated"))
    assert (plain.facts["batch_norm"], recalibrated.facts["batch_norm"]) == (
        "as training left them",
        "of the training clips",
    )
    norms = [kept.encoder.state_dict()["input_norm.running_mean"] for kept in (plain, recalibrated)]
    assert not torch.equal(*norms)


def test_the_newest_classifier_is_the_default_and_recalibrated_ones_must_be_named(
    evaluated: tuple[Run, list[linear.LinearResult]], shared_store: Store
) -> None:
    run, _ = evaluated
    assert chosen_file(run, None) == result_file(run.path, "linear.classifier")
    assert chosen_file(run, "linear-recalibrated") == result_file(run.path, "linear-recalibrated.classifier")
    evaluate(request_of(run, shared_store, "xview"))
    assert chosen_file(run, None) == result_file(run.path, "linear-ntu60-xview.classifier")
    assert chosen_file(run, "linear") == result_file(run.path, "linear.classifier")
    with pytest.raises(ArtifactNotFound, match=r"the run has .*linear.*skelepipe eval .*/run --protocol finetune"):
        choose_classifier(run, "finetune")


def test_without_classifiers_the_error_names_the_command_that_makes_one(own_run: Run) -> None:
    for name in (None, "linear"):
        with pytest.raises(ArtifactNotFound, match=rf"make one with `skelepipe eval {own_run.path} --protocol linear`"):
            choose_classifier(own_run, name)
    with pytest.raises(ArtifactNotFound, match="skelepipe eval"):
        load_classifier(own_run, "linear", CPU)


def test_verify_checks_every_byte_of_a_classifier(
    evaluated: tuple[Run, list[linear.LinearResult]],
) -> None:
    run, _ = evaluated
    folder = result_file(run.path, "linear.classifier")
    assert (verify(folder).kind, verify(folder).findings) == (CLASSIFIER.kind, [])
    assert verify(run.path).findings == []
    for name in ("classifier.safetensors", "meta.json", "MANIFEST.json"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
        assert verify(folder).findings, name
        assert f"eval/{folder.name}" in verify(run.path).findings[0], name
        with pytest.raises(ArtifactError, match=r"linear-\w+\.classifier: .*evaluate again with `skelepipe eval"):
            load_classifier(run, "linear", CPU)
        (folder / name).write_bytes(whole)
    (folder / "MANIFEST.json").unlink()
    assert "has no MANIFEST.json" in verify(folder).findings[0]
    (folder / "meta.json").unlink()
    assert verify(folder).kind == CLASSIFIER.kind
    (folder / "classifier.safetensors").unlink()
    with pytest.raises(NotAnArtifact):
        verify(folder)


def test_a_classifier_of_another_run_is_rejected(evaluated: tuple[Run, list[linear.LinearResult]]) -> None:
    run, _ = evaluated
    with pytest.raises(ArtifactError, match="belongs to another run"):
        load_classifier(replace(run, digest="0" * 64), "linear", CPU)
    folder = result_file(run.path, "linear.classifier")
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"run": "0" * 64}))
    write_manifest(folder, CLASSIFIER)
    assert verify(run.path).findings == [f"eval/{folder.name}: is a classifier of another run"]


def test_partial_classifiers_of_a_killed_evaluation_are_removed(
    evaluated: tuple[Run, list[linear.LinearResult]], shared_store: Store
) -> None:
    run, _ = evaluated
    saved = result_file(run.path, "linear.classifier")
    left = saved.with_name(f".{saved.name}.partial")
    left.mkdir()
    (left / "classifier.safetensors").write_bytes(b"half")
    assert sorted(saved.short_name for saved in saved_classifiers(run)) == ["linear", "linear-recalibrated"]
    assert verify(run.path).findings == []
    evaluate(replace(request_of(run, shared_store, "xsub"), force=True))
    assert not left.exists()
    assert verify(run.path).findings == []


def set_first_value(path: Path, value: float) -> None:
    """Change one number in a file of tensors, and its checksum."""
    tensors = read_tensors(path)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name].view(-1)[0] = value
    write_tensors(path, tensors)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_classifier_that_is_not_finite_is_refused(
    evaluated: tuple[Run, list[linear.LinearResult]], value: float
) -> None:
    folder = result_file(evaluated[0].path, "linear.classifier")
    set_first_value(folder / "classifier.safetensors", value)
    write_manifest(folder, CLASSIFIER)
    with pytest.raises(NotFinite, match=r"classifier\.safetensors: .* is not finite; evaluate again with"):
        load_classifier(evaluated[0], "linear", CPU)


def test_an_encoder_that_is_not_finite_is_refused(own_run: Run) -> None:
    folder = next((own_run.path / "checkpoints").iterdir())
    set_first_value(folder / "model.safetensors", float("nan"))
    write_manifest(folder, CHECKPOINT)
    with pytest.raises(NotFinite, match=r"model\.safetensors: .* is not finite; restore the file or train again"):
        load_encoder(own_run, CPU)


def test_a_training_on_labels_that_diverges_saves_nothing_and_names_protocol_and_row(
    own_run: Run, shared_store: Store
) -> None:
    config = compose_eval(["finetune.learning_rate=1e20", "finetune.epochs=2"])
    request = replace(request_of(own_run, shared_store, "xsub"), protocols=("finetune",), config=config)
    with pytest.raises(NotFinite, match=r"^finetune, pre-trained: the training diverged: .* after epoch \d+; lower"):
        evaluate(request)
    assert saved_classifiers(own_run) == []
    assert not list((own_run.path / "eval").glob("finetune*.json"))
