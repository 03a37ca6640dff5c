"""Outputs of commands: existing files, inputs and artifacts are not replaced."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from pipeline.artifacts.latest import record_latest
from pipeline.errors import OutputExists
from pipeline.store.store import Store
from trainer.runs.run import Run
from trainer.terminal.artifacts import split_run
from trainer.terminal.outputs import check_output

Skelepipe = Callable[..., Result]


@pytest.fixture
def folder(evaluated_run: Run, raw: Path, tmp_path: Path) -> Path:
    """A folder with a store, its splits, a run with results and recordings."""
    shutil.copytree(evaluated_run.path.parents[1], tmp_path, dirs_exist_ok=True)
    (tmp_path / "raw").mkdir()
    for path in sorted(raw.glob("*.skeleton"))[:4]:
        shutil.copy(path, tmp_path / "raw")
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".lock" not in path.name}


COMMANDS = {
    "export processed/ntu60.zarr --out": "mine.npz",
    "export processed/ntu60.zarr --format stgcn --out": "mine",
    "export runs/tiny --out": "mine.onnx",
    "embed runs/tiny --store processed/ntu60.zarr --out": "mine.npz",
    "predict runs/tiny raw --out": "mine.csv",
    "report runs/tiny --out": "mine.html",
    "report processed/ntu60.zarr --out": "mine.html",
    "view processed/ntu60.zarr --html": "mine.html",
    "view processed/ntu60.zarr --png": "mine.png",
    "view processed/ntu60.zarr --gif": "mine.gif",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_existing_file_is_only_replaced_with_force(folder: Path, skelepipe: Skelepipe, command: str) -> None:
    path = folder / COMMANDS[command]
    if path.suffix:
        path.write_text("mine")
    else:
        path.mkdir()
        (path / "mine.txt").write_text("mine")
    before = contents(folder)
    done = skelepipe(*command.split(), path.name)
    assert done.exit_code == 1, done.output
    assert f"{path.name}: " in done.output
    assert "--force" in done.output
    assert contents(folder) == before


@pytest.mark.parametrize(
    "command", ["embed runs/tiny --store processed/ntu60.zarr --out", "view processed/ntu60.zarr --html"]
)
def test_with_force_the_file_is_replaced(folder: Path, skelepipe: Skelepipe, command: str) -> None:
    path = folder / COMMANDS[command]
    path.write_text("mine")
    assert skelepipe(*command.split(), path.name, "--force").exit_code == 0
    assert path.read_bytes() != b"mine"


@pytest.mark.parametrize(
    "output",
    [
        "processed/ntu60.zarr/zarr.json",
        "processed/ntu60.zarr/new.html",
        "processed/splits/ntu60/xsub.json",
        "processed/LATEST.json",
        "runs/tiny/run.json",
        "runs/tiny/eval/new.html",
        "runs/tiny/report.html",
    ],
)
def test_nothing_is_written_into_an_artifact_even_with_force(folder: Path, skelepipe: Skelepipe, output: str) -> None:
    (folder / "processed/LATEST.json").write_text("{}")
    before = contents(folder)
    done = skelepipe("report", "processed/ntu60.zarr", "--out", output, "--force")
    assert done.exit_code == 1, done.output
    assert "belongs to the artifact" in done.output or "is a file of the input" in done.output
    assert contents(folder) == before


@pytest.mark.slow
def test_the_default_page_of_a_run_or_clip_is_written_again(folder: Path, skelepipe: Skelepipe) -> None:
    for command in ("report runs/tiny", "view processed/ntu60.zarr", "report processed/ntu60.zarr"):
        for _ in range(2):
            done = skelepipe(*command.split())
            assert done.exit_code == 0, done.output
    assert skelepipe("verify", "runs/tiny").exit_code == 0
    (folder / "clips-of-ntu60.html").write_text("my own page")
    done = skelepipe("view", "processed/ntu60.zarr")
    assert done.exit_code == 1
    assert (folder / "clips-of-ntu60.html").read_text() == "my own page"


def test_a_recording_is_not_replaced_by_its_predictions(folder: Path, skelepipe: Skelepipe) -> None:
    first, second = sorted(path.relative_to(folder) for path in (folder / "raw").iterdir())[:2]
    (folder / "link.csv").symlink_to(first)
    os.link(folder / first, folder / "hard.csv")
    before = contents(folder / "raw")
    for out, inputs in ((first, [first]), ("link.csv", [first]), ("hard.csv", [first]), (second, ["raw"])):
        done = skelepipe("predict", "runs/tiny", *inputs, "--out", out, "--force")
        assert done.exit_code == 1, done.output
        assert "input" in done.output
    assert contents(folder / "raw") == before


def test_a_document_of_another_program_is_no_artifact(tmp_path: Path) -> None:
    (tmp_path / "MANIFEST.json").write_text('{"kind": "of another program"}')
    (tmp_path / "run.json").write_text("not JSON")
    check_output(tmp_path / "page.html", force=False)
    with pytest.raises(OutputExists, match=r"run.json: exists; replace it with --force"):
        check_output(tmp_path / "run.json", force=False)


def test_a_store_is_no_output(shared_store: Store) -> None:
    with pytest.raises(OutputExists, match="belongs to the artifact"):
        check_output(shared_store.path / "a" / "b" / "c.npz", force=True)


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("export runs/tiny --out encoder.pt", "no format has the suffix .pt; known: .npz (npz), .npz (ctrgcn)"),
        ("export runs/tiny --format onnx --out encoder.npz", "expected a name that ends in .onnx"),
        ("export processed/ntu60.zarr --format hdf5 --out q.npz", "expected a name that ends in .h5, .hdf5"),
        ("export processed/ntu60.zarr --format stgcn --out d.npz", "--format stgcn writes a folder, but d.npz has"),
        ("embed runs/tiny --store processed/ntu60.zarr --out f.csv", "expected a name that ends in .npz"),
        ("predict runs/tiny raw --out p.json", "expected a name that ends in .csv"),
        ("report runs/tiny --out r.pdf", "expected a name that ends in .html, .htm"),
        ("view processed/ntu60.zarr --gif a.html", "expected a name that ends in .gif"),
    ],
)
def test_the_suffix_of_a_file_must_fit_what_is_written(
    folder: Path, skelepipe: Skelepipe, command: str, wanted: str
) -> None:
    done = skelepipe(*command.split())
    assert done.exit_code == 2
    assert wanted in done.stderr
    assert not list(Path().glob("[a-z]*.*"))


def test_the_suffix_chooses_the_format_of_an_export(folder: Path, skelepipe: Skelepipe) -> None:
    for name, start in (("data.h5", b"\x89HDF"), ("data.npz", b"PK"), ("data.pkl", b"\x80")):
        done = skelepipe("export", "processed/ntu60.zarr", "--out", name)
        assert done.exit_code == 0, done.output
        assert Path(name).read_bytes().startswith(start)


RUN_NOTE, STORE_NOTE = "run runs/tiny (newest)", "store processed/ntu60.zarr (newest)"


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (["view", "A002", "--html", "class.html"], STORE_NOTE),
        (["embed", "--out", "f.npz"], RUN_NOTE),
        (["export", "--out", "x.npz"], STORE_NOTE),
        (["export", "--out", "x.onnx"], RUN_NOTE),
        (["export", "--out", "x", "--format", "onnx"], RUN_NOTE),
        (["verify"], "newest: runs/tiny"),
    ],
)
def test_commands_take_the_newest(words: list[str], note: str, folder: Path, skelepipe: Skelepipe) -> None:
    done = skelepipe(*words)
    assert done.exit_code == 0, done.output
    assert note in done.stderr


def test_verify_examines_the_newest_artifact_even_if_it_is_damaged(folder: Path, skelepipe: Skelepipe) -> None:
    shutil.copytree("runs/tiny", "runs/half")
    record_latest(Path("runs"), "run", "half")
    (Path("runs/half/run.json")).write_text("{}")
    done = skelepipe("verify")
    assert "newest: runs/half" in done.stderr
    assert done.exit_code != 0
    shutil.rmtree("runs")
    assert "processed/ntu60.zarr: good" in skelepipe("verify").output
    shutil.rmtree("processed")
    assert "there is no run and no store" in skelepipe("verify").stderr


def test_a_store_that_is_not_there_is_named(folder: Path, skelepipe: Skelepipe) -> None:
    assert "none.zarr: no such file" in skelepipe("view", "none.zarr").stderr


def test_predict_finds_out_which_argument_is_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs/one/checkpoints").mkdir(parents=True)
    Path("elsewhere").mkdir()
    Path("elsewhere/run.json").touch()
    Path("new").mkdir()
    new, stdin = Path("new"), Path("-")
    for run in (Path("runs/one"), Path("runs/never"), Path("elsewhere"), Path("typo")):
        assert split_run([run, new]) == (run, (new,))
        assert split_run([run, stdin]) == (run, (stdin,))
    assert split_run([new, Path("more")]) == (None, (new, Path("more")))
    assert split_run([stdin]) == (None, (stdin,))
    assert split_run([Path("typo")]) == (None, (Path("typo"),))
    assert split_run([Path("runs/one")]) == (Path("runs/one"), ())


def test_an_unknown_class_is_answered_with_a_similar_one(folder: Path, skelepipe: Skelepipe) -> None:
    refused = skelepipe("view", "drinking water")
    assert "no clip and no class is called 'drinking water' (did you mean drink water?)" in refused.stderr
