import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.artifacts import manifest, schemas
from pipeline.errors import ArtifactError
from pipeline.report.report import Charts, Folded, Report, Scene, Table, write_report
from tests.support.html_checks import page_of
from tests.support.result_files import result_file
from trainer.config.presets import compose_pretrain, load_preset
from trainer.evaluation import results
from trainer.evaluation.results import Result
from trainer.report import result_tables, training_history
from trainer.report.run_report import RunReportRequest, build_run_report
from trainer.runs.checkpoint import MODEL
from trainer.runs.effective_config import effective_run_config
from trainer.runs.run import Run, load_run, newest_checkpoint
from trainer.runs.safetensors_file import read_tensors, write_tensors

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def gathered(evaluated_run: Run) -> Report:
    return build_run_report(RunReportRequest(run=evaluated_run, device=CPU))


def test_a_report_shows_results_and_baselines(gathered: Report, evaluated_run: Run, tmp_path: Path) -> None:
    page = page_of(gathered, tmp_path / "page.html")
    written = json.loads(result_file(evaluated_run.path, "linear.json").read_text())
    rows = written["rows"]
    top1 = {name: row["top1"] for name, row in rows.items()}
    assert gathered.answer.startswith(f"Linear top-1 {top1['pre-trained']:.1f} %: ")
    for baseline, shown in (("random encoder", "an untrained encoder"), ("raw coordinates", "a nearest neighbour on")):
        gain = top1["pre-trained"] - top1[baseline]
        assert f" {abs(gain):.1f} points {'above' if gain >= 0 else 'below'} {shown}" in gathered.answer
    assert gathered.answer.endswith(" (36 test clips of ntu60 xsub)")
    assert ("linear, random encoder", f"{top1['random encoder']:.1f} %") in gathered.tiles
    assert "All rows: 36 test clips of split xsub of the store ntu60, last checkpoint at step 6." in page.text
    for name, row in rows.items():
        assert f"linear {name} {row['top1']:.1f} {row['interval95'][0]:.1f} to" in page.text
    assert "linear, pre-trained" in page.text
    for name in written["class_names"]:
        assert name in page.text
    assert evaluated_run.digest in page.text
    assert "t-SNE of the backbone features of all 36 test clips, at step 6." in page.text
    assert page.count("canvas") == 6 * sum(scene.title != "" for scene in scenes(gathered))


def scenes(made: Report) -> list[Scene]:
    return [block for section in made.sections for block in section.blocks if isinstance(block, Scene)]


def test_neighbours_of_the_same_class_are_marked(gathered: Report) -> None:
    assert scenes(gathered)
    for scene in scenes(gathered):
        true = scene.title.split(":")[0]
        own, *beside = scene.shown
        assert (own.label, own.mark) == ("test clip", "")
        assert [one.mark for one in beside] == ["right" if one.label == true else "wrong" for one in beside]


def test_the_same_run_gives_the_same_bytes(gathered: Report, evaluated_run: Run, tmp_path: Path) -> None:
    write_report(gathered, tmp_path / "a.html")
    write_report(build_run_report(RunReportRequest(run=evaluated_run, device=CPU)), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_without_the_store_a_report_has_the_other_sections(evaluated_run: Run, tmp_path: Path) -> None:
    shutil.copytree(evaluated_run.path, tmp_path / "runs" / "alone")
    run = load_run(tmp_path / "runs" / "alone")
    made = build_run_report(RunReportRequest(run=run, device=CPU))
    page = page_of(made, tmp_path / "page.html")
    assert page.text.count("name it with --store. With the run's store,") == 2
    assert scenes(made) == []
    assert page.count("script") == 0
    assert "linear, pre-trained" in page.text
    store = evaluated_run.path.parents[1] / "processed" / "ntu60.zarr"
    assert scenes(build_run_report(RunReportRequest(run=run, device=CPU, store=store)))
    with pytest.raises(ArtifactError, match="no such file"):
        build_run_report(RunReportRequest(run=run, device=CPU, store=tmp_path / "none.zarr"))


@pytest.mark.parametrize("weight", [float("nan"), 1e20])
def test_a_run_whose_features_are_not_finite_has_a_report_that_says_so(
    evaluated_run: Run, tmp_path: Path, weight: float
) -> None:
    shutil.copytree(evaluated_run.path, tmp_path / "runs" / "diverged")
    run = load_run(tmp_path / "runs" / "diverged")
    path, _, _ = newest_checkpoint(run)
    tensors = read_tensors(path / MODEL)
    large = {name: tensor.fill_(weight) for name, tensor in tensors.items() if name.endswith("spatial.weight")}
    assert large
    write_tensors(path / MODEL, tensors | large)
    (path / manifest.MANIFEST).unlink()
    manifest.write_manifest(path, schemas.CHECKPOINT)
    store = evaluated_run.path.parents[1] / "processed" / "ntu60.zarr"
    made = build_run_report(RunReportRequest(run=run, device=CPU, store=store))
    page = page_of(made, tmp_path / "page.html")
    assert len(re.findall(r"Not shown: .*?not finite", page.text)) == 2
    assert scenes(made) == []
    assert "linear, pre-trained" in page.text


def test_an_unfinished_or_unevaluated_run_has_a_report(shared_run: Run, tmp_path: Path) -> None:
    shutil.copytree(shared_run.path, tmp_path / "run", ignore=shutil.ignore_patterns("eval", "checkpoints"))
    log = tmp_path / "run" / "log.jsonl"
    lines = log.read_text().splitlines()[:4]
    odd = {"step": 4, "total": "<b>", "lr": float("inf"), "instance": None, "samples_per_second": 10**400}
    log.write_text("\n".join([*lines, json.dumps(odd), '{"step": 5, "total": ']))
    made = build_run_report(RunReportRequest(run=load_run(tmp_path / "run"), device=CPU))
    page = page_of(made, tmp_path / "page.html")
    assert made.answer == "Not evaluated yet"
    assert "5 of 6" in page.text
    assert "Not finished: skelepipe pretrain" in " ".join(page.text.split())
    assert "There is no checkpoint." in page.text
    log.unlink()
    page = page_of(build_run_report(RunReportRequest(run=load_run(tmp_path / "run"), device=CPU)), tmp_path / "b.html")
    assert "there are no curves" in page.text


def test_class_names_are_escaped(evaluated_run: Run, tmp_path: Path) -> None:
    shutil.copytree(evaluated_run.path.parents[1], tmp_path, dirs_exist_ok=True)
    path = result_file(tmp_path / "runs" / "tiny", "linear.json")
    plain = json.loads(path.read_text())
    del plain["digest"]  # as in results of older versions
    plain["class_names"] = ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "$x$\ud800\x00"]
    plain["rows"]["<i>row</i>"] = plain["rows"]["pre-trained"]
    path.write_text(json.dumps(plain))
    run = load_run(tmp_path / "runs" / "tiny")
    page = page_of(build_run_report(RunReportRequest(run=run, device=CPU)), tmp_path / "page.html")
    assert page.count("script") == 2
    assert page.count("img") + page.count("i") == 0
    assert "<script>alert(1)</script>" in page.text


def test_settings_that_differ_are_listed_and_marked(shared_run: Run) -> None:
    table = next(block for block in training_history.configuration_blocks(shared_run) if isinstance(block, Table))
    rows = {row[0]: row[1:] for row in table.rows}
    assert [rows["frames"][place] for place in (0, 2, 3)] == ["16", "32", "64"]  # of the run, of quick, by default
    assert [rows["learning_rate"][place] for place in (0, 2, 3)] == ["0.005", "0.005", "0.1"]
    origins = {value.key: value.origin for value in effective_run_config(shared_run).values}
    assert {key: row[1] for key, row in rows.items()} == {key: origins[key] for key in rows}
    marked = {table.rows[place][0] for place in table.marked}
    assert {"frames", "epochs", "batch_size", "encoder.hidden_channels"} <= marked
    assert "learning_rate" not in marked
    whole = [block for block in training_history.configuration_blocks(shared_run) if isinstance(block, Table)][1]
    assert set(rows) < {row[0] for row in whole.rows}


def linear(run: Run) -> Result:
    return next(result for result in results.read_results(run)[0] if result.short_name == "linear")


def test_the_published_number_is_shown_with_reasons_against_comparing(evaluated_run: Run) -> None:
    (folded,) = result_tables.published_blocks(evaluated_run, [linear(evaluated_run)])
    assert folded.title == "No number here can be compared with a published one"  # type: ignore[union-attr]
    table, notes = folded.blocks  # type: ignore[union-attr]
    (row,) = table.rows  # type: ignore[union-attr]
    assert row[0] == "linear"
    assert row[3:] == ["80.7", load_preset("ntu60-xsub").about.source, "no"]
    text = " ".join(notes.points)  # type: ignore[union-attr]
    assert "linear: 36 training clips instead of 40,091: the store is incomplete or synthetic" in text
    assert "frames 16 instead of 64" in text
    assert "best epoch on the test clips" in text


def test_a_run_with_the_published_settings_is_compared(evaluated_run: Run) -> None:
    full = load_preset("ntu60-xsub")
    run = replace(evaluated_run, preset="ntu60-xsub", config=compose_pretrain(full))
    result = linear(evaluated_run)
    lineage = result.lineage.model_copy(update={"split": result.lineage.split.model_copy(update={"train": 40_091})})
    settings = result.settings | {"epochs": 150, "learning_rate": 3.0, "drop_last": True}
    as_published = result.model_copy(update={"lineage": lineage, "settings": settings})
    table, notes = result_tables.published_blocks(run, [as_published])
    assert table.rows[0][-1] == "best epochs"  # type: ignore[union-attr]
    assert list(notes.points) == [result_tables.BEST_EPOCH_NOTE]  # type: ignore[union-attr]
    other = replace(run, config=run.config.model_copy(update={"epochs": 100}))
    (folded,) = result_tables.published_blocks(other, [as_published])
    _, notes = folded.blocks  # type: ignore[union-attr]
    assert "linear: epochs 100 instead of 300." in notes.points  # type: ignore[union-attr]
    bones = replace(run, config=run.config.model_copy(update={"stream": "bone"}))
    (folded,) = result_tables.published_blocks(bones, [as_published])
    _, notes = folded.blocks  # type: ignore[union-attr]
    assert "linear: stream bone instead of joint." in notes.points  # type: ignore[union-attr]


def test_there_is_no_published_number_for_other_data(evaluated_run: Run) -> None:
    result = linear(evaluated_run)
    knn = result.model_copy(update={"protocol": "knn"})
    store = result.lineage.store.model_copy(update={"digest": "0" * 64})
    transfer = result.model_copy(update={"lineage": result.lineage.model_copy(update={"store": store})})
    for other in (knn, transfer):
        (text,) = result_tables.published_blocks(evaluated_run, [other])
        assert text.text.startswith("No published number is known")  # type: ignore[union-attr]


def test_label_subsets_other_stores_and_fused_streams_are_distinguished(evaluated_run: Run, tmp_path: Path) -> None:
    shutil.copytree(evaluated_run.path, tmp_path / "run")
    folder = tmp_path / "run" / "eval"
    plain = json.loads(result_file(tmp_path / "run", "knn.json").read_text())
    del plain["digest"]  # as in results of older versions
    row = plain["rows"]["pre-trained"]
    semi = {"top1": 41.25, "deviation": 1.75, "seeds": {"0": {**row, "subset": "x"}, "1": row}}
    settings = {**plain["settings"], "fraction": 0.1}
    others = {
        "semi-0.1": {"protocol": "semi", "settings": settings, "rows": {"pre-trained": semi}},
        "knn-with-bone": {"fused": [{}, {}]},
        "knn-moved": {"lineage": {**plain["lineage"], "transfer": True, "test_clips_pretrained_on": 7}},
    }
    for name, change in others.items():
        (folder / f"{name}.json").write_text(json.dumps({**plain, **change}))
    run = load_run(tmp_path / "run")
    page = page_of(build_run_report(RunReportRequest(run=run, device=CPU)), tmp_path / "page.html")
    assert (
        "semi-0.1 pre-trained 41.2 ± 1.8 36 36 test clips of split xsub of the store ntu60, last checkpoint at step 6"
        in page.text
    )
    assert "last checkpoint at step 6, 2 streams fused" in page.text
    assert "knn-moved: 7 of its test clips were used in pre-training, without their labels." in page.text
    assert "±: standard deviation over several subsets" in page.text
    titles = [
        block.title for block in result_tables.class_blocks(results.read_results(run)[0]) if isinstance(block, Folded)
    ]
    assert [title.split(",")[0] for title in titles] == ["linear", "knn", "knn-moved", "knn-with-bone"]


def test_the_most_confused_pairs_are_listed_first(evaluated_run: Run) -> None:
    counts = linear(evaluated_run).rows["pre-trained"].counts()
    counts[:] = [[5, 4, 0], [1, 9, 0], [0, 2, 8]]
    (table,) = result_tables._confused_pairs(
        ["a", "b", "c"], counts - 0 * counts - [[5, 0, 0], [0, 9, 0], [0, 0, 8]], counts.sum(1)
    )
    assert [list(row) for row in table.rows] == [
        ["a", "b", "4", "44 %"],
        ["c", "b", "2", "20 %"],
        ["b", "a", "1", "10 %"],
    ]


def loss_titles(run: Run) -> list[str]:
    blocks = training_history.training_blocks(run)
    shown = [chart.title for block in blocks if isinstance(block, Charts) for chart in block.charts]  # type: ignore[union-attr]
    return [title for title in shown if title.startswith("Loss")]


def test_the_title_of_the_loss_says_whether_its_start_is_left_out(shared_run: Run) -> None:
    """The tiny run has 6 steps of 12 clips; a queue of 32 is full after three, one of 4,096 never."""

    def with_queue(size: int) -> Run:
        pair = shared_run.config.pair.model_copy(update={"queue_size": size})
        return replace(shared_run, config=shared_run.config.model_copy(update={"pair": pair}))

    assert loss_titles(with_queue(32)) == ["Loss, from the step at which the queue is full"]
    assert loss_titles(with_queue(4096)) == ["Loss"]
