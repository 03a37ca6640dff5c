"""From new files to classes, end to end, for every kind of data set: the evaluation's own scores must come out."""

import csv
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result

from pipeline.errors import ArtifactNotFound, SkelepipeError
from pipeline.ingest.ingest import ingest
from pipeline.ingest.request import IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.store.build_splits import build_splits
from pipeline.store.splits import find_split
from pipeline.store.store import Store
from pipeline.synth.synth import write
from tests.conftest import TINY
from tests.support.result_files import result_file
from trainer.config.presets import compose_pretrain, load_preset
from trainer.evaluation import features, linear
from trainer.evaluation.evaluate import EvaluateRequest, evaluate
from trainer.inference.predict import PredictRequest, PredictResult, predict
from trainer.pretrain.pretrain import PretrainRequest, pretrain
from trainer.runs import checkpoint
from trainer.runs.run import Run

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Lab:
    """A data set, a run that was trained on it, and what its linear evaluations said of the test clips."""

    dataset: str
    raw: Path
    store: Store
    run: Run
    fitted: dict[str, linear.LinearResult]

    @property
    def test(self) -> list[int]:
        return find_split(self.store, "xsub").test.tolist()


@pytest.fixture(scope="module", params=["ntu60", "pku1", "folder"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    dataset, place = str(request.param), tmp_path_factory.mktemp("lab")
    write(dataset, place / "raw", clips=48, seed=1)
    output = place / f"{dataset}.zarr"
    steps = load_recipe("clean")
    ingest(IngestRequest(dataset=dataset, roots=(place / "raw",), output=output, recipe=steps))
    store = Store(output)
    build_splits(store)
    config = compose_pretrain(load_preset("quick"), None, [*TINY, "stream=bone"])
    run = pretrain(
        PretrainRequest(
            store=store,
            split=find_split(store, "xsub"),
            preset="quick",
            config=config,
            output=place / "run",
            device=CPU,
        )
    ).run
    fitted: list[linear.LinearResult] = []
    fit = linear.fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "fit", lambda *args, **options: fitted.append(fit(*args, **options)) or fitted[-1])
        evaluate(
            EvaluateRequest(run=run, store=store, split=find_split(store, "xsub"), protocols=("linear",), device=CPU)
        )
    names = ("linear", "linear-recalibrated")
    return Lab(dataset, place / "raw", store, run, dict(zip(names, fitted, strict=False)))


def files_of(lab: Lab, folder: Path) -> Path:
    """The recordings of the test side, in a folder of their own."""
    wanted = {lab.store.recordings[row] for row in lab.test}
    if lab.dataset == "folder":
        shutil.copytree(lab.raw, folder)
        header, *lines = list(csv.reader((lab.raw / "manifest.csv").read_text().splitlines()))
        who = header.index("subject")
        held = set(lab.store.columns["subject"][lab.test].astype(str).tolist())
        kept = [line for line in lines if line[who] in held]
        with (folder / "manifest.csv").open("w", newline="") as out:
            csv.writer(out).writerows([header, *kept])
        return folder
    folder.mkdir(parents=True)
    for path in lab.raw.rglob("*"):
        if path.is_file() and path.stem in wanted:
            (folder / path.parent.name).mkdir(exist_ok=True)
            shutil.copy(path, folder / path.parent.name)
    return folder


def ask(lab: Lab, *roots: Path, **options: object) -> PredictResult:
    return predict(PredictRequest(run=lab.run, roots=roots, device=CPU, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["linear", "linear-recalibrated"])
def test_scores_equal_those_of_the_evaluation_bit_for_bit(lab: Lab, name: str, tmp_path: Path) -> None:
    report = ask(lab, files_of(lab, tmp_path / "new"), classifier=name)
    assert [answer.clip for answer in report.answers] == [lab.store.names[row] for row in lab.test]
    assert report.refused == []
    assert torch.equal(report.scores, lab.fitted[name].scores)
    result = json.loads(result_file(lab.run.path, "linear.json").read_text())
    row = result["rows"]["pre-trained" if name == "linear" else "pre-trained, recalibrated"]
    said = [answer.top[0].label for answer in report.answers]
    assert 100 * np.mean(said == lab.store.columns["label"][lab.test]) == pytest.approx(row["top1"])
    assert report.classifier["checkpoint"] == result["lineage"]["checkpoint"]


def test_probabilities_cover_all_classes_in_descending_order(lab: Lab) -> None:
    report = ask(lab, lab.raw, top=99)
    for answer in report.answers:
        probabilities = [guess.probability for guess in answer.top]
        assert sum(probabilities) == pytest.approx(1)
        assert probabilities == sorted(probabilities, reverse=True)
        assert {str(guess.label): guess.name for guess in answer.top} == lab.store.attributes["classes"]
    assert len(ask(lab, lab.raw, top=1).answers[0].top) == 1


def test_the_batch_size_changes_only_rounding(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_of(lab, tmp_path / "new")
    monkeypatch.setattr(features, "MAX_BATCH_CLIPS", 5)
    torch.testing.assert_close(ask(lab, files).scores, lab.fitted["linear"].scores, rtol=1e-4, atol=1e-4)


def test_no_files_are_left(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_of(lab, tmp_path / "new")
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for place in (tmp_path, lab.run.path) for path in place.rglob("*")}
    ask(lab, files)
    after = {path: path.stat().st_mtime_ns for place in (tmp_path, lab.run.path) for path in place.rglob("*")}
    assert after == before


only_ntu = pytest.mark.parametrize("lab", ["ntu60"], indirect=True)


@only_ntu
def test_file_names_and_archives_do_not_affect_predictions(lab: Lab, tmp_path: Path) -> None:
    files = sorted(files_of(lab, tmp_path / "new").rglob("*.skeleton"))
    with zipfile.ZipFile(tmp_path / "new.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number, path in enumerate(files):
            archive.write(path, f"Monday/visitor {number:03d}.skeleton")
    report = ask(lab, tmp_path / "new.zip")
    assert report.answers[1].file == f"{tmp_path / 'new.zip'}: Monday/visitor 001.skeleton"
    assert torch.equal(report.scores, lab.fitted["linear"].scores)


@only_ntu
@pytest.mark.parametrize(
    ("refused_by", "reason"),
    [("parser", "x of spine_base is -3e+38 m, expect"), ("encoder", "the encoder's output is not finite:")],
)
def test_too_large_coordinates_are_reported_and_the_rest_is_predicted(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused_by: str, reason: str
) -> None:
    if refused_by == "encoder":
        monkeypatch.setattr("pipeline.sources.ntu.parser.first_beyond", lambda xyz, limit: None)
    none = load_recipe("none")
    monkeypatch.setattr(
        "trainer.inference.predict.recipe_from_plain", lambda plain, source: none
    )  # other recipes leave such bodies out
    good = sorted(lab.raw.glob("*.skeleton"))[0]
    lines = [line.split(" ") for line in good.read_text().splitlines()]
    # Neighbours on either side: their difference, a bone, is more than a float32 can hold.
    huge = [[f"{'-+'[at % 2]}3e38", *fields[1:]] if len(fields) == 12 else fields for at, fields in enumerate(lines)]
    (tmp_path / "huge.skeleton").write_text("".join(" ".join(fields) + "\n" for fields in huge))
    report = ask(lab, tmp_path / "huge.skeleton", good)
    assert [answer.file for answer in report.answers] == [str(good)]
    assert len(report.scores) == 1
    assert [(bad["name"], bad["reason"][:35]) for bad in report.refused] == [("huge", reason)]


Skelepipe = Callable[..., Result]


def test_a_damaged_recording_is_reported_and_the_rest_is_predicted(
    lab: Lab, skelepipe: Skelepipe, tmp_path: Path
) -> None:
    files = files_of(lab, tmp_path / "new")
    suffix = {"ntu60": ".skeleton", "pku1": ".txt", "folder": ".npy"}[lab.dataset]
    shutil.copy(lab.raw / "skeleton.toml", tmp_path) if lab.dataset == "folder" else None
    (tmp_path / f"broken{suffix}").write_bytes(b"12\n5 what\n")
    done = skelepipe("predict", lab.run.path, files, f"broken{suffix}", "--out", "said.csv")
    assert done.exit_code == 3, done.output
    lines = [line for line in done.stderr.splitlines() if line.startswith(f"broken{suffix}:")]
    assert len(lines) == 1
    assert "classifier linear-" in done.stderr
    for guess in lab.store.attributes["classes"].values():
        assert guess.split(",")[0][:8] in done.stdout
    with (tmp_path / "said.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    report = ask(lab, Path("new"))
    assert [(row["clip"], int(row["class"]), float(row["probability"])) for row in rows] == [
        (answer.clip, answer.top[0].label, answer.top[0].probability) for answer in report.answers
    ]
    assert list(rows[0])[-3:] == ["class_2", "name_2", "probability_2"]
    plain = skelepipe("predict", lab.run.path, files, f"broken{suffix}", "--json", "--top", 1)
    assert plain.exit_code == 3
    found = json.loads(plain.stdout)
    assert [bad["name"] for bad in found["refused"]] == ["broken"]
    assert [len(answer["top"]) for answer in found["predictions"]] == [1] * len(lab.test)
    assert (found["classifier"]["name"][:7], found["classifier"]["recipe"]) == ("linear-", "clean")
    assert skelepipe("predict", lab.run.path, files).exit_code == 0


def test_if_nothing_can_be_used_there_is_an_error_and_no_output(lab: Lab, skelepipe: Skelepipe, tmp_path: Path) -> None:
    (tmp_path / "odd.mp4").write_bytes(b"x")
    done = skelepipe("predict", lab.run.path, "odd.mp4", "--out", "said.csv")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: odd.mp4: none of .skeleton")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "said.csv").exists()
    assert skelepipe("predict", lab.run.path, "none").exit_code == 2
    assert skelepipe("predict", lab.run.path).exit_code == 2


def test_another_layout_is_a_one_line_error(lab: Lab, skelepipe: Skelepipe, tmp_path: Path) -> None:
    other = "folder" if lab.dataset != "folder" else "ntu60"
    write(other, tmp_path / "other", clips=4, seed=0)
    done = skelepipe("predict", lab.run.path, "other")
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert f"expected {lab.store.layout.name}" in done.stderr


def test_a_run_without_evaluation_names_the_command(lab: Lab, skelepipe: Skelepipe, tmp_path: Path) -> None:
    shutil.copytree(lab.run.path, tmp_path / "bare", ignore=shutil.ignore_patterns("eval"))
    done = skelepipe("predict", "bare", lab.raw)
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
    assert "skelepipe eval bare --protocol linear" in done.stderr
    with pytest.raises(ArtifactNotFound, match=r"the run has .*; make one with `skelepipe eval .* finetune`"):
        ask(lab, lab.raw, classifier="finetune")


def test_a_classifier_of_an_earlier_step_gives_a_note(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(lab, lab.raw).notes == []
    monkeypatch.setattr(checkpoint, "list_checkpoints", lambda folder: [folder / "step-00000999"])
    (note,) = ask(lab, lab.raw).notes
    assert note.endswith("the run's newest checkpoint is step-00000999")


def test_the_store_is_not_needed(lab: Lab, tmp_path: Path) -> None:
    files = files_of(lab, tmp_path / "new")
    moved = lab.store.path.rename(lab.store.path.with_name("elsewhere"))
    try:
        assert len(ask(lab, files).answers) == len(lab.test)
    finally:
        moved.rename(lab.store.path)


def test_only_unusable_recordings_are_an_error(lab: Lab, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.npy").write_bytes(b"")
    with pytest.raises(SkelepipeError, match="and 2 more: none can be used"):
        ask(lab, tmp_path)
