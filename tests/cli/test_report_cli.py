"""`skelepipe report` as a user sees it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import main
from pipeline.files.locks import sole_writer
from pipeline.store.verify import verify
from trainer.runs.run import Run
from trainer.terminal.demo import demo_commands

Skelepipe = Callable[..., Result]


@pytest.fixture
def skelepipe(evaluated_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Skelepipe:
    """Run a command in a folder with a store and an evaluated run."""
    shutil.copytree(evaluated_run.path.parents[1], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(main, [str(arg) for arg in args])


def test_the_default_is_the_newest_run_which_stays_valid(skelepipe: Skelepipe) -> None:
    done = skelepipe("report")
    assert done.exit_code == 0, done.output
    assert "run runs/tiny (newest)" in done.stderr
    answer, written, saved = done.stdout.splitlines()
    assert saved == "written: runs/tiny/report, every chart as .png and .csv"
    assert len(list(Path("runs/tiny/report").glob("*.png"))) == len(list(Path("runs/tiny/report").glob("*.csv"))) > 5
    assert answer.startswith("Linear top-1 ")
    assert written == "written: runs/tiny/report.html"
    assert verify(Path("runs/tiny")).findings == []
    assert "<h1>tiny</h1>" in Path("runs/tiny/report.html").read_text()


def test_without_a_run_the_default_is_the_newest_store(skelepipe: Skelepipe) -> None:
    shutil.rmtree("runs")
    done = skelepipe("report")
    assert done.exit_code == 0, done.output
    assert "runs: there is no complete run" in done.stderr
    assert "store processed/ntu60.zarr (newest)" in done.stderr
    assert done.stdout.splitlines()[-1] == "written: processed/ntu60.report.html"
    assert verify(Path("processed/ntu60.zarr")).findings == []


def test_json_lists_the_sections(skelepipe: Skelepipe, raw: Path) -> None:
    result = json.loads(skelepipe("report", "processed/ntu60.zarr", "--raw", raw, "--out", "s.html", "--json").stdout)
    assert result["report"] == "s.html"
    assert result["bytes"] == Path("s.html").stat().st_size
    assert result["sections"]["examples"]["skeletons"] >= 8
    result = json.loads(skelepipe("report", "runs/tiny", "--out", "r.html", "--json").stdout)
    assert list(result["sections"])[:3] == ["results", "training", "classes"]
    assert result["sections"]["neighbours"]["skeletons"] >= 6


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ("runs/tiny --raw raw", 2, "a RUN and --raw cannot be combined"),
        ("processed/ntu60.zarr --store x", 2, "a STORE and --store cannot be combined"),
        ("processed/ntu60.zarr --raw none", 2, "none: no such file or folder"),
        ("none", 2, "none: no such file or folder"),
        ("processed", 1, "processed: has no MANIFEST.json"),
        ("runs/tiny --store none.zarr", 2, "none.zarr: no such file or folder"),
        ("runs/tiny --device tpu", 2, "--device tpu"),
        ("runs/tiny --out runs", 5, "runs: cannot be written"),
    ],
)
def test_errors_are_one_line(skelepipe: Skelepipe, arguments: str, code: int, says: str) -> None:
    done = skelepipe("report", *arguments.split())
    assert (done.exit_code, says in done.stderr) == (code, True), done.output
    assert "Traceback" not in done.output


def test_a_missing_best_checkpoint_is_reported_in_the_page(skelepipe: Skelepipe) -> None:
    assert skelepipe("report", "runs/tiny", "--checkpoint", "best").exit_code == 0
    assert (
        "has no best checkpoint, because it was trained with validate_every=0"
        in Path("runs/tiny/report.html").read_text()
    )


def test_a_second_writer_exits_with_6(skelepipe: Skelepipe) -> None:
    with sole_writer(Path("s.html")):
        done = skelepipe("report", "processed/ntu60.zarr", "--out", "s.html")
    assert done.exit_code == 6


def test_the_demo_ends_with_a_report() -> None:
    assert demo_commands(48, 1)[-1] == "report"


def test_a_report_on_a_store_does_not_import_torch(skelepipe: Skelepipe, tmp_path: Path) -> None:
    code = (
        "import sys, cli; cli.main(['report', 'processed/ntu60.zarr'], standalone_mode=False); "
        "sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment).returncode == 0
