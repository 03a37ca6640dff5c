import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.artifacts import manifest, schemas
from pipeline.store.splits import find_split
from pipeline.store.store import Store
from pipeline.store.verify import verify
from tests.support.result_files import result_file
from trainer.config.evaluation import compose_eval
from trainer.evaluation import finetune, frozen_protocols, linear, training_state
from trainer.evaluation.evaluate import EvaluateRequest, evaluate
from trainer.evaluation.results import newest_results, read_results
from trainer.runs.classifier import choose_classifier, load_classifier
from trainer.runs.run import Run, load_run
from trainer.terminal import evaluation_output

CPU = torch.device("cpu")


@pytest.fixture
def run(shared_run: Run, tmp_path: Path) -> Run:
    """A copy of the run without results."""
    shutil.copytree(shared_run.path, tmp_path / "run", ignore=shutil.ignore_patterns("eval"))
    return load_run(tmp_path / "run")


def request_of(run: Run, store: Store, *protocols: str, settings: tuple[str, ...] = (), **more: Any) -> EvaluateRequest:
    return EvaluateRequest(
        run=run,
        store=store,
        split=find_split(store, "xsub"),
        protocols=protocols,  # type: ignore[arg-type]
        device=CPU,
        config=compose_eval(["linear.epochs=3", *settings]),
        **more,
    )


def files_of(run: Run) -> dict[str, bytes]:
    return {
        str(path.relative_to(run.path)): path.read_bytes()
        for path in sorted((run.path / "eval").rglob("*"))
        if path.is_file() and not path.name.endswith(".lock")
    }


def test_results_and_classifiers_of_other_settings_stay(run: Run, shared_store: Store) -> None:
    full = evaluate(request_of(run, shared_store, "knn", "linear"))
    before = files_of(run)
    classifier = choose_classifier(run, "linear")
    other = evaluate(
        request_of(run, shared_store, "knn", "linear", settings=("knn.k=3", "linear.epochs=2"), baselines=False)
    )
    after = files_of(run)
    assert {name: after[name] for name in before} == before
    assert {full[key]["written"] for key in full}.isdisjoint(other[key]["written"] for key in other)
    newest, older = newest_results(read_results(run)[0])
    assert [Path(other[key]["written"]).stem for key in ("knn", "linear")] == [result.name for result in newest]
    assert {Path(full[key]["written"]).stem for key in full} == {result.name for result in older}
    assert choose_classifier(run, "linear") == Path(other["linear"]["written"]).stem
    assert choose_classifier(run, classifier) == classifier
    assert load_classifier(run, classifier, CPU).facts["lineage"]["split"]["name"] == "xsub"


def test_finished_rows_are_not_computed_again(run: Run, shared_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = evaluate(request_of(run, shared_store, "knn", "linear", baselines=False, batch_norm="trained"))
    assert list(first["knn"]["rows"]) == ["pre-trained"]
    fits, encoded, messages = [], [], []
    fit, extract = linear.fit, frozen_protocols.features.extract_blocks
    monkeypatch.setattr(linear, "fit", lambda *args: fits.append(args) or fit(*args))
    monkeypatch.setattr(
        frozen_protocols.features, "extract_blocks", lambda *args: encoded.append(args) or extract(*args)
    )
    whole = evaluate(request_of(run, shared_store, "knn", "linear"))
    assert (len(fits), len(encoded)) == (2, 4)  # recalibrated and random encoder; both sides of each
    assert list(whole["linear"]["rows"]) == list(frozen_protocols.ROWS)
    assert whole["linear"]["rows"]["pre-trained"] == first["linear"]["rows"]["pre-trained"]
    kept = files_of(run)
    again = evaluate(request_of(run, shared_store, "linear", "knn"), messages.append)
    part = evaluate(request_of(run, shared_store, "knn", baselines=False))
    assert (len(fits), len(encoded)) == (2, 4)
    assert files_of(run) == kept
    assert list(again) == ["linear", "knn"]
    assert again["knn"]["rows"] == json.loads(json.dumps(whole["knn"]["rows"]))
    assert list(part["knn"]["rows"]) == ["pre-trained", "pre-trained, recalibrated"]
    notes = "\n".join(evaluation_output.results_notes(again))
    assert f"found: {again['knn']['written']}, evaluated before with the same settings; --force evaluates" in notes
    evaluate(request_of(run, shared_store, "linear", force=True))
    assert (len(fits), len(encoded)) == (5, 10)


def test_rows_computed_apart_have_the_bytes_of_one_evaluation(run: Run, shared_store: Store, tmp_path: Path) -> None:
    other = load_run(Path(shutil.copytree(run.path, tmp_path / "again" / "run")))
    evaluate(request_of(run, shared_store, "linear", baselines=False, batch_norm="trained"))
    evaluate(request_of(run, shared_store, "linear"))
    evaluate(request_of(other, shared_store, "linear"))
    one, two = (result_file(each.path, "linear.scores.npz").read_bytes() for each in (run, other))
    assert one == two
    rows = [json.loads(result_file(each.path, "linear.json").read_text())["rows"] for each in (run, other)]
    assert list(rows[0].items()) == list(rows[1].items())


def test_the_newest_result_does_not_depend_on_file_times(run: Run, shared_store: Store, tmp_path: Path) -> None:
    evaluate(request_of(run, shared_store, "linear", baselines=False))
    newest = choose_classifier(run, None), newest_results(read_results(run)[0])[0][0].name
    evaluate(request_of(run, shared_store, "linear", settings=("linear.epochs=2",), baselines=False))
    assert choose_classifier(run, None) != newest[0]
    repeated = evaluate(request_of(run, shared_store, "linear", baselines=False))["linear"]
    assert repeated["newest"] != newest[1]
    assert f"The newest result of linear, which report and predict use, is {repeated['newest']}" in "\n".join(
        evaluation_output.results_notes({"linear": repeated})
    )
    evaluate(request_of(run, shared_store, "linear", baselines=False, force=True))
    shutil.copytree(run.path, tmp_path / "copied", copy_function=shutil.copyfile)
    copied = load_run(tmp_path / "copied")
    assert (choose_classifier(copied, "linear"), newest_results(read_results(copied)[0])[0][0].name) == newest


def test_classifiers_of_older_versions_stay_readable(run: Run, shared_store: Store) -> None:
    evaluate(request_of(run, shared_store, "linear", baselines=False, batch_norm="trained"))
    saved, result = result_file(run.path, "linear.classifier"), result_file(run.path, "linear.json")
    plain = saved.with_name("linear.classifier")
    shutil.copytree(saved, plain)
    meta = json.loads((plain / "meta.json").read_text())
    (plain / "meta.json").write_text(
        json.dumps({key: meta[key] for key in meta.keys() - {"number", "settings_digest"}})
    )
    manifest.write_manifest(plain, schemas.CLASSIFIER)
    document = json.loads(result.read_text())
    old = {key: document[key] for key in document.keys() - {"number", "settings_digest", "digest", "scores_sha256"}}
    result.with_name("linear.json").write_text(json.dumps(old))
    assert choose_classifier(run, "linear") == saved.name.removesuffix(".classifier")
    assert [len(results) for results in newest_results(read_results(run)[0])] == [1, 1]
    shutil.rmtree(saved)
    result.unlink()
    assert choose_classifier(run, None) == choose_classifier(run, "linear") == "linear"
    assert [result.short_name for result in read_results(run)[0]] == ["linear"]


@pytest.mark.parametrize("name", ["linear.json", "linear.scores.npz", "linear.classifier"])
def test_a_damaged_file_is_reported_and_only_what_it_had_is_computed_again(
    run: Run, shared_store: Store, name: str
) -> None:
    request = request_of(run, shared_store, "knn", "linear")
    evaluate(request)
    kept = files_of(run)
    path = result_file(run.path, name)
    path = path / "classifier.safetensors" if path.is_dir() else path
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes(9))
    messages: list[str] = []
    found = evaluate(request, messages.append)
    assert any(Path(name).stem.split(".")[0] in message and "evaluating" in message for message in messages)
    assert (found["knn"]["reused"], found["linear"]["reused"]) == (True, False)
    assert files_of(run) == kept


def train_request(run: Run, store: Store, protocol: str, *settings: str, **more: Any) -> EvaluateRequest:
    settings = (f"{protocol}.epochs=3", f"{protocol}.test_every=1", *settings)
    return request_of(run, store, protocol, settings=settings, **more)


class Killed(Exception):
    """A process that ends."""


@pytest.mark.parametrize("fast", [True, False])
def test_a_fine_tuning_that_was_stopped_has_the_same_scores(
    run: Run, shared_store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fast: bool
) -> None:
    config = run.config.model_copy(update={"encoder": run.config.encoder.model_copy(update={"dropout": 0.5})})
    run = replace(run, config=config)
    other = replace(run, path=Path(shutil.copytree(run.path, tmp_path / "again" / "run")))
    request = train_request(run, shared_store, "finetune", "finetune.augmented=true", fast=fast)
    evaluate(request)
    monkeypatch.setattr(training_state, "SAVE_SECONDS", 0.0)
    started: list[str] = []
    stopped = replace(request, run=other)
    for title, epoch in (("pre-trained", 2), ("supervised from scratch", 1)):

        def stop(message: str, at: str = f"finetune, {title}, epoch {epoch} of 3") -> None:
            started.append(message.removeprefix("1 of 2: ").removeprefix("2 of 2: "))
            if message.endswith(f": {at}"):
                raise Killed

        with pytest.raises(Killed):
            evaluate(stopped, stop)
        assert not list((other.path / "eval").glob("*.json"))
        assert verify(other.path).findings == []
    assert started.count("finetune, pre-trained, epoch 1 of 3") == 1
    messages: list[str] = []
    evaluate(stopped, messages.append)
    assert "2 of 2: finetune: supervised from scratch: resumes after epoch 1" in messages
    found, wanted = files_of(other), files_of(run)
    assert found.keys() == wanted.keys()
    numbers = [name for name in found if name.endswith((".npz", ".safetensors"))]
    assert [found[name] for name in numbers] == [wanted[name] for name in numbers]
    assert len(numbers) == 2
    assert not [path for path in (other.path / "eval").iterdir() if path.name.endswith(".unfinished")]


def test_finished_draws_are_not_trained_again(run: Run, drawn_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    request = train_request(run, drawn_store, "semi", fractions=(0.25,), baselines=False)

    def stop(message: str) -> None:
        if message == "1 of 1: semi 0.25, pre-trained, draw 4, epoch 2 of 3":
            raise Killed

    with pytest.raises(Killed):
        evaluate(request, stop)
    trained: list[int] = []
    learning_rate = finetune.learning_rate
    monkeypatch.setattr(finetune, "learning_rate", lambda *args: trained.append(args[1]) or learning_rate(*args))
    found = evaluate(request)["semi-0.25"]
    assert trained == [0, 1, 2]  # draw 4 from the start: its state was saved less than SAVE_SECONDS ago
    trained.clear()
    repeated = evaluate(replace(request, force=True))["semi-0.25"]
    assert len(trained) == 6
    assert found["rows"] == repeated["rows"]


@pytest.mark.parametrize("change", ["damage", "force", "settings"])
def test_a_state_that_is_damaged_or_of_other_settings_is_ignored(
    run: Run, shared_store: Store, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(training_state, "SAVE_SECONDS", 0.0)
    request = train_request(run, shared_store, "finetune", baselines=False)

    def stop(message: str) -> None:
        if "epoch 2 of 3" in message:
            raise Killed

    with pytest.raises(Killed):
        evaluate(request, stop)
    (state,) = (run.path / "eval").glob(".*.unfinished/*/training.safetensors")
    if change == "damage":
        state.write_bytes(state.read_bytes()[:-1] + b"\xff")
    elif change == "force":
        request = replace(request, force=True)
    else:
        request = train_request(run, shared_store, "finetune", "seed=7", baselines=False)
    messages: list[str] = []
    evaluate(request, messages.append)
    assert not any("resumes" in message for message in messages)
    damaged = [message for message in messages if "training from the first epoch" in message]
    assert len(damaged) == (change == "damage")
    with np.load(result_file(run.path, "finetune.scores.npz")) as scores:
        assert np.isfinite(scores["pre-trained"]).all()
