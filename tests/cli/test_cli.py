"""The command line as a user sees it: output, JSON, exit codes, and errors in one line."""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

import cli
from cli import main
from pipeline.artifacts.latest import record_latest
from pipeline.errors import SkelepipeError
from pipeline.files.locks import sole_writer
from pipeline.ingest import partitions, process_pool
from pipeline.ingest.partitions import process_partition
from pipeline.store.store import Store
from trainer.runs.run import Run, load_run
from trainer.terminal import console
from trainer.terminal.commands import expand_repeatable_options
from trainer.terminal.console import FIRST_RUN_NOTE, ProgressBar
from trainer.terminal.examples import EXAMPLES

ROOT = Path(__file__).parents[2]
Skelepipe = Callable[..., Result]


@pytest.fixture
def workplace(own_store: Path, shared_run: Run, tmp_path: Path) -> Path:
    """A folder with a store, its splits and a finished run, where commands need no argument."""
    shutil.copytree(shared_run.path.parent, tmp_path / "runs")
    return tmp_path


def start_process(*args: object, cwd: Path, **options: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "cli", *map(str, args)]
    return subprocess.Popen(command, cwd=cwd, env=environment, text=True, **options)  # type: ignore[call-overload,no-any-return]


def test_repeatable_options_take_several_values() -> None:
    repeatable = {"--protocol": {"knn", "linear"}.__contains__, "--set": lambda word: "=" in word}
    assert expand_repeatable_options(["run", "--protocol", "knn", "linear", "--k", "5"], repeatable) == [
        "run", "--protocol", "knn", "--protocol", "linear", "--k", "5",
    ]  # fmt: skip
    assert expand_repeatable_options(["--set", "a=1", "b=2", "--set", "c=3"], repeatable) == [
        "--set",
        "a=1",
        "--set",
        "b=2",
        "--set",
        "c=3",
    ]
    assert expand_repeatable_options(["--protocol=knn", "run"], repeatable) == ["--protocol=knn", "run"]
    assert expand_repeatable_options(["--protocol"], repeatable) == ["--protocol"]


@pytest.mark.parametrize(
    ("command", "words", "argument", "values"),
    [
        ("eval", "--protocol knn linear runs/tiny", "runs/tiny", {"protocols": ("knn", "linear")}),
        ("eval", "--set epochs=1 runs/tiny", "runs/tiny", {"settings": ("epochs=1",)}),
        ("eval", "--label-fraction 0.1 1e-2 runs/tiny", "runs/tiny", {"fractions": (0.1, 0.01)}),
        ("eval", "--label-fraction 0.1 --protocol svm runs/tiny", None, {}),
        ("build-splits", "--seed 0 1 processed/ntu60.zarr", "processed/ntu60.zarr", {"seeds": (0, 1)}),
        (
            "build-splits",
            "--split xsub xview processed/ntu60.zarr",
            "processed/ntu60.zarr",
            {"names": ("xsub", "xview")},
        ),
        (
            "report",
            "--raw raw more processed/ntu60.zarr",
            "processed/ntu60.zarr",
            {"roots": (Path("raw"), Path("more"))},
        ),
    ],
)
def test_several_values_do_not_swallow_the_argument_after_them(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, command: str, words: str, argument: str | None, values: Any
) -> None:
    monkeypatch.chdir(workplace)
    for folder in ("raw", "more"):
        Path(folder).mkdir(exist_ok=True)
    if argument is None:
        with pytest.raises(click.BadParameter, match="'svm' is not one of"):
            main.commands[command].make_context(command, words.split())
        return
    params = main.commands[command].make_context(command, words.split()).params
    given = [value for value in params.values() if value in (Path(argument), (Path(argument),))]
    assert len(given) == 1
    assert {name: params[name] for name in values} == values


def test_every_command_and_option_has_help(skelepipe: Skelepipe) -> None:
    listed = skelepipe("--help").output
    for name, command in main.commands.items():
        assert f"  {name} " in listed
        assert command.help
        assert skelepipe(name, "--help").exit_code == 0
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.name} has no help"


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_the_help_of_every_command_ends_with_an_example_that_parses(name: str, skelepipe: Skelepipe) -> None:
    words = shlex.split(EXAMPLES[name])
    command: Any = main
    while words and isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    assert command.name == name
    command.make_context(name, words)
    path = ["config", "show"] if name == "show" else [name]
    shown = " ".join(skelepipe(*path, "--help").stdout.split())
    assert shown.endswith(f"Example: skelepipe {' '.join(EXAMPLES[name].split())}")


def test_every_command_has_an_example() -> None:
    leaves = {name for name, command in main.commands.items() if not isinstance(command, click.Group)}
    assert leaves | {"show"} == EXAMPLES.keys()


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'torch', 'zarr', 'numba', 'rich', 'pydantic'}"
    code = f"import sys, cli; cli.main(['--help'], standalone_mode=False); sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0


def test_ingest_does_not_import_torch(raw: Path, tmp_path: Path) -> None:
    code = (
        f"import sys, cli; cli.main(['ingest', 'ntu60', {str(raw)!r}, '--workers', '1'], standalone_mode=False); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert done.returncode == 0


def test_ingest_prints_a_summary_and_exits_3_if_recordings_were_quarantined(raw: Path, skelepipe: Skelepipe) -> None:
    first = skelepipe("ingest", "ntu60", raw)
    assert first.exit_code == 3
    assert "processed/ntu60.zarr: ingested, 72 clips" in first.stdout
    assert "3 quarantined" in first.stdout
    assert "next: skelepipe build-splits" in first.stdout
    again = skelepipe("ingest", "ntu60", raw)
    assert again.exit_code == 0
    assert "up to date" in again.stdout
    other = skelepipe("ingest", "ntu60", raw, "--recipe", "skelemixclr")
    assert other.exit_code == 1
    assert "Error: processed/ntu60.zarr: was made from other input (recipe is clean, requested" in other.stderr


def test_json_is_one_object_on_stdout(raw: Path, skelepipe: Skelepipe, tmp_path: Path) -> None:
    report = json.loads(skelepipe("ingest", "ntu60", raw, "--json").stdout)
    assert (report["clips"], len(report["quarantined"]), report["outcome"]) == (72, 3, "ingested")
    assert {"file", "line", "reason"} <= set(report["quarantined"][0])
    assert json.loads(skelepipe("build-splits", "--json", "--label-fraction", "0.1", "0.5").stdout)["subsets"][3][
        "rows"
    ]
    assert json.loads(skelepipe("verify", "processed/ntu60.zarr", "--json").stdout)["findings"] == []
    exported = json.loads(skelepipe("export", "processed/ntu60.zarr", "--out", "x.npz", "--json").stdout)
    assert exported["bytes"] == (tmp_path / "x.npz").stat().st_size
    assert json.loads(skelepipe("synth", "ntu60", "more", "--clips", "2", "--json").stdout)["files"] == 2
    assert json.loads(skelepipe("ingest", "ntu60", raw, "--dry-run", "--json").stdout)["outcome"] == "dry run"


def test_convert_prints_a_summary_and_the_refused_files(skelepipe: Skelepipe, tmp_path: Path) -> None:
    skelepipe("synth", "coco", "raw", "--clips", "7", "--broken", "1")
    pattern = ("--pattern", "(?P<subject>p[0-9])_")
    done = skelepipe("convert", "coco", "raw", "--to", "kinect-v2", *pattern, "--out", "own")
    assert done.exit_code == 3
    assert "own: converted, 7 clips of kinect-v2 skeletons (25 joints), " in done.stdout
    for line in (
        "6 classes, 2 subjects, ",
        "label from the folders' names\nsubject from --pattern\nsplit xsub: trains on subject p1\n",
        "interpolated from other joints: spine_base, ",
        "next: skelepipe ingest folder own --recipe clean-certain\n1 refused",
        "p2_0007.json",
    ):
        assert line in done.stdout
    found = json.loads(skelepipe("convert", "coco", "raw", "--out", "again", "--json").stdout)
    assert (found["clips"], found["confident"], found["layout"]) == (7, 7, "coco-17")
    assert found["refused"][0].keys() == {"name", "file", "line", "reason"}
    over = skelepipe("convert", "coco", "raw", "--out", "own")
    assert (over.exit_code, "exists and is not an empty folder" in over.stderr) == (1, True)
    for wrong in (("--aspect", "16:0"), ("--aspect", "wide"), ("--every", "0"), ("--up", "w")):
        assert skelepipe("convert", "mediapipe", "raw", "--out", "x", *wrong).exit_code == 2
    assert not (tmp_path / "x").exists()


def test_inspect_shows_a_store_and_its_quarantine(workplace: Path, skelepipe: Skelepipe) -> None:
    shown = skelepipe("inspect")
    assert shown.exit_code == 0, shown.output
    assert "processed/ntu60.zarr: ntu60, 72 clips of 72 recordings" in shown.stdout
    assert "split xsub: 36 train, 36 test" in shown.stdout
    assert "3 quarantined" in shown.stdout
    assert json.loads(skelepipe("inspect", "--json").stdout)["clips"] == 72
    rows = list(csv.DictReader(skelepipe("inspect", "--quarantine").stdout.splitlines()))
    assert len(rows) == 3
    assert all(row["file"].endswith(".skeleton") and row["reason"] for row in rows)
    assert json.loads(skelepipe("inspect", "--quarantine", "--json").stdout)[0]["file"] == rows[0]["file"]


def test_a_dry_run_estimates_time_and_space(raw: Path, skelepipe: Skelepipe) -> None:
    shown = skelepipe("ingest", "ntu60", raw, "--dry-run").stdout
    assert "dry run: 75 recordings" in shown
    assert re.search(r"expected: a store of [\d.]+ MB in \d+ s, up to [\d.]+ MB during the ingest", shown)
    assert not Path("processed").exists()


def test_each_stage_uses_the_newest_output_of_the_previous_stage_by_default(
    workplace: Path, skelepipe: Skelepipe
) -> None:
    built = skelepipe("build-splits")
    assert "store processed/ntu60.zarr (newest)" in built.stderr
    tiny = ["frames=16", "epochs=1", "batch_size=12", "encoder.hidden_channels=2", "encoder.hidden_dim=8"]
    trained = skelepipe("pretrain", "--preset", "quick", "--set", *tiny, "method.mix.frames=[1,3]")
    assert trained.exit_code == 0, trained.output
    assert "split processed/splits/ntu60/xsub.json, preset quick, run runs/ntu60-xsub-quick" in trained.stderr
    found = skelepipe("eval", "--json")
    assert "run runs/ntu60-xsub-quick (newest)" in found.stderr
    assert set(json.loads(found.stdout)) == {"knn", "linear"}


def test_eval_of_several_runs_prints_one_json_object(workplace: Path, skelepipe: Skelepipe) -> None:
    shutil.copytree("runs/tiny", "runs/twin")
    found = json.loads(skelepipe("eval", "runs/tiny", "runs/twin", "--protocol", "knn", "--json").stdout)
    assert set(found) == {"runs/tiny", "runs/twin"}
    assert found["runs/tiny"]["knn"]["rows"] == found["runs/twin"]["knn"]["rows"]


def test_eval_prints_the_settings_of_the_preset_that_set_does_not_override(
    workplace: Path, skelepipe: Skelepipe
) -> None:
    done = skelepipe("eval", "--protocol", "linear", "--no-baselines", "--set", "linear.learning_rate=1")
    assert "evaluation settings of preset quick: linear.drop_last=False\n" in done.stderr


def test_the_demo_stops_at_a_command_that_fails(
    tmp_path: Path, skelepipe: Skelepipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise SkelepipeError("no splits today")

    monkeypatch.setattr("pipeline.store.build_splits.build_splits", fail)
    done = skelepipe("demo", "--clips", "48")
    assert (done.exit_code, "Error: no splits today" in done.stderr) == (1, True)
    assert (tmp_path / "demo" / "processed" / "ntu60.zarr").exists()
    assert not (tmp_path / "demo" / "runs").exists()


def test_eval_skips_unfinished_runs_and_names_them(workplace: Path, skelepipe: Skelepipe) -> None:
    unfinished = workplace / "runs" / "half"
    unfinished.mkdir()
    record_latest(workplace / "runs", "run", "half")
    found = skelepipe("eval", "--protocol", "knn")
    assert found.exit_code == 0, found.output
    assert "runs/half: is not a run" in found.stderr
    assert "run runs/tiny (newest)" in found.stderr
    for row in ("pre-trained", "pre-trained, recalibrated", "random encoder", "raw coordinates"):
        assert row in found.stdout


def test_the_default_preset_on_a_cpu_is_quick(workplace: Path, skelepipe: Skelepipe) -> None:
    done = skelepipe("pretrain", "--device", "cpu", "--epochs", "1", "--set", "encoder.hidden_channels=2", "frames=16")
    assert "no GPU: preset quick, a narrow encoder; --preset ntu60-xsub trains a full-width one" in done.stderr
    assert load_run(Path("runs/ntu60-xsub-quick")).config.batch_size == 18  # half of the 36 training clips


def test_a_preset_that_does_not_suit_is_used_with_advice(workplace: Path, skelepipe: Skelepipe) -> None:
    refused = skelepipe("pretrain", "--device", "cpu", "--preset", "ntu60-xsub")
    assert "--preset quick is made for CPUs" in refused.stderr
    assert "preset ntu60-xsub is for 40,091 training clips, the whole data set; this one has 36" in refused.stderr
    assert "Error: batch_size 128 is more than the 36 training clips" in refused.stderr
    assert refused.exit_code == 2


def test_embed_writes_features_of_a_store_and_of_an_array(workplace: Path, skelepipe: Skelepipe) -> None:
    assert skelepipe("export", "processed/ntu60.zarr", "--format", "npz", "--out", "x.npz").exit_code == 0
    for source in (["--store", "processed/ntu60.zarr"], ["--input", "x.npz"]):
        done = skelepipe("embed", "runs/tiny", *source, "--out", "features.npz", "--force")
        assert done.exit_code == 0, done.output
        with np.load("features.npz") as arrays:
            assert arrays["features"].shape == (72, 8)
    command = ["embed", "runs/tiny", "--store", "processed/ntu60.zarr", "--subset", "test", "--out", "t.npz", "--force"]
    for more in ([], ["--split", "xsub"]):
        result = json.loads(skelepipe(*command, *more, "--json").stdout)
        assert (result["clips"], result["checkpoint"]["step"], result["checkpoint"]["skipped"]) == (36, 6, [])
    assert skelepipe(*command, "--split", "xsub", "--layer", "head", "--normalise").exit_code == 0
    assert skelepipe(*command, "--input", "x.npz").exit_code == 2


@pytest.mark.parametrize(
    ("harm", "command", "code", "says"),
    [
        ("rm processed/ntu60.zarr/MANIFEST.json", "build-splits processed/ntu60.zarr", 1, "has no MANIFEST.json"),
        ("rm processed/ntu60.zarr/MANIFEST.json", "verify processed/ntu60.zarr", 4, ""),
        ("rm -r processed/splits", "pretrain --preset quick", 2, "build splits with `skelepipe build-splits"),
        ("true", "pretrain nowhere.zarr", 2, "nowhere.zarr: no such file or folder"),
        ("true", "verify nowhere", 2, "no such file or folder"),
        ("true", "verify runs", 1, "is not a store, split, run, checkpoint or classifier"),
        ("true", "pretrain --preset quick --set epoch=1", 2, "epoch"),
        ("true", "pretrain --preset none", 2, "unknown preset 'none'; known: demo, full, ntu120-xset, ntu120-xsub"),
        ("true", "pretrain --split xset", 2, "there are xsub, xview"),
        ("true", "pretrain --device tpu", 2, "--device tpu"),
        (
            "true",
            "eval runs/tiny --device meta",
            2,
            "--device meta: meta devices are not supported; use auto, cpu or cuda",
        ),
        ("rm runs/tiny/checkpoints/step-00000006/meta.json", "verify runs/tiny", 4, ""),
        ("true", "ingst ntu60 raw", 2, "there is no command 'ingst' (did you mean ingest?)"),
        ("true", "--json inspect", 2, "--json belongs after the command"),
        ("true", "inspect --debug", 2, "--debug belongs before the command: skelepipe --debug inspect"),
        ("true", "ingest raw ntu60", 2, "'raw' is not one of ntu60, ntu120, pku1, pku2, folder; ntu60 must come first"),
        ("true", "synth", 2, "Missing argument 'DATASET'. one of ntu60, ntu120, pku1, pku2, folder"),
        ("true", "ingest ntu60 raw --recpe clean", 2, "there is no option --recpe (did you mean --recipe?)"),
        ("true", "eval --protocol kn", 2, "(did you mean knn?)"),
        ("true", "pretrain --preset quik", 2, "unknown preset 'quik' (did you mean quick?)"),
        ("true", "pretrain --split xsbu", 2, "(did you mean xsub?); there are xsub, xview"),
        (
            "true",
            "pretrain --split lists/xsub.txt",
            2,
            "expected a name (xsub, xview) or processed/splits/ntu60/NAME.json",
        ),
        ("true", "pretrain --stream bones --preset quick", 2, "--stream: 'bones' is not one of joint, motion, bone"),
        ("true", "pretrain --device gpu", 2, "--device gpu: there is no such device (did you mean cuda?)"),
        ("true", "pretrain runs/tiny", 2, "skelepipe pretrain --resume runs/tiny"),
        ("true", "eval processed/ntu60.zarr", 1, "it is a store: name it with --store"),
        ("true", "eval tiny", 2, "(did you mean runs/tiny?)"),
        ("true", "inspect ntu60", 2, "(did you mean processed/ntu60.zarr?)"),
        ("rm -r processed", "inspect", 2, "processed: there is no complete store; make one with `skelepipe ingest"),
        ("true", "ingest ntu60 nowhere", 2, "nowhere: no such file or folder"),
        ("true", "ingest ntu61 raw", 2, "ntu61"),
        ("true", "ingest ntu60 raw --recipe dirty", 1, "no recipe is called 'dirty'"),
        ("true", "ingest ntu60 raw --partition 3/2", 2, "'3/2' is not K/N with K from 1 to N, such as 1/8"),
        ("true", "ingest ntu60 raw --partition 0/2", 2, "'0/2' is not K/N"),
        ("true", "ingest ntu60 raw --partition 1/2 --dask tcp://x", 2, "--partition and --dask cannot be combined"),
        ("true", "ingest ntu60 raw --partition 1/2 --dry-run", 2, "--partition and --dry-run cannot be combined"),
        ("true", "ingest ntu60 raw --partition 1/2 --strict", 2, "--strict belongs to `finalise`"),
        ("true", "ingest ntu60 raw --dask tcp://x --workers 0", 2, "--dask and --workers cannot be combined"),
        ("true", "ingest ntu60 raw --dask tcp://x --dry-run", 2, "--dask and --dry-run cannot be combined"),
        ("true", "ingest ntu60 raw --dask nonsense", 1, "--dask nonsense: is not a usable address (missing port"),
        ("true", "finalise", 2, "there is no unfinished ingest; name its output"),
        ("true", "finalise processed/none.zarr", 2, "there is no unfinished ingest of processed/none.zarr"),
        ("true", "eval runs/none", 2, "make a run with `skelepipe pretrain`"),
        ("mv processed/ntu60.zarr processed/moved.zarr", "eval runs/tiny", 2, "if it was moved, name it with --store"),
        ("touch runs/tiny/checkpoints/step-00000006/x", "eval runs/tiny", 1, "x does not belong there"),
        ("true", "export processed/ntu60.zarr --out processed", 5, "cannot be written"),
    ],
)
def test_errors_are_one_line_with_an_exit_code(
    workplace: Path, skelepipe: Skelepipe, harm: str, command: str, code: int, says: str
) -> None:
    (workplace / "raw").mkdir()
    subprocess.run(harm.split(), cwd=workplace, check=True)
    done = skelepipe(*command.split())
    assert (done.exit_code, done.output) == (code, done.output)
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.output


def test_a_split_can_be_given_as_a_file(workplace: Path, skelepipe: Skelepipe) -> None:
    where = "processed/splits/ntu60/xview.json"
    shutil.copy(where, "copy.json")
    for path in (where, workplace / where, "copy.json"):
        assert "on processed/ntu60.zarr xview" in skelepipe("config", "show", "--split", path).stdout
    assert (
        skelepipe("export", "processed/ntu60.zarr", "--split", where, "--format", "ctrgcn", "--out", "x").exit_code == 0
    )
    assert skelepipe("build-splits", "--label-fraction", "0.5").exit_code == 0
    refused = skelepipe("config", "show", "--split", "processed/splits/ntu60/xsub.train-0.5.seed0.json")
    assert "labelled subset, not a split" in refused.stderr


def test_help_has_whole_sentences_in_a_narrow_terminal() -> None:
    listed = CliRunner().invoke(main, ["--help"], terminal_width=60).output
    assert "..." not in listed.partition("Commands:")[2]
    assert max(map(len, listed.splitlines())) <= 60


def test_a_split_of_another_store_is_refused_with_one_line(workplace: Path, raw: Path, skelepipe: Skelepipe) -> None:
    assert skelepipe("ingest", "ntu60", raw, "--recipe", "skelemixclr", "--force").exit_code == 3
    refused = skelepipe("pretrain", "--preset", "quick")
    assert refused.exit_code == 1
    assert "was built for another store" in refused.stderr
    assert "run `skelepipe build-splits" in refused.stderr


def test_debug_shows_the_traceback(skelepipe: Skelepipe) -> None:
    assert skelepipe("--debug", "verify", "nowhere").exception.__class__.__name__ == "ArtifactNotFound"


def test_a_second_writer_exits_6(raw: Path, tmp_path: Path, skelepipe: Skelepipe) -> None:
    with sole_writer(tmp_path / "processed" / "ntu60.zarr"):
        refused = skelepipe("ingest", "ntu60", raw)
    assert refused.exit_code == 6
    assert "another process is writing it" in refused.stderr


@pytest.mark.slow
def test_a_training_resumes_after_ctrl_c_and_sigterm(workplace: Path) -> None:
    tiny = ["frames=16", "epochs=400", "batch_size=12", "encoder.hidden_channels=2", "encoder.hidden_dim=8"]
    tiny += ["method.mix.frames=[1,3]", "stream_buffer=16"]
    command = ["pretrain", "--preset", "quick", "--out", "runs/long", "--set", *tiny]
    for number, code, residency, workers in (
        (signal.SIGINT, 130, "host", 1),
        (signal.SIGTERM, 143, "stream", 2),
        (signal.SIGUSR1, 138, "stream", 0),
    ):
        data_options = ("--residency", residency, "--workers", workers)
        training = start_process(*command, *data_options, cwd=workplace, stderr=subprocess.PIPE)
        log = workplace / "runs" / "long" / "log.jsonl"
        before = len(log.read_text().splitlines()) if log.exists() else 0
        deadline = time.monotonic() + 60
        while (len(log.read_text().splitlines()) if log.exists() else 0) <= before + 3:
            assert training.poll() is None, training.stderr and training.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        training.send_signal(number)
        _, errors = training.communicate(timeout=60)
        assert training.returncode == code
        assert f"stopped by {number.name}" in errors
        assert f"clips, residency {residency}: takes " in errors
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == list(range(len(steps)))


@pytest.mark.parametrize(("how", "code"), [("ctrl-c", 130), ("ctrl-c in compiled code", 130), ("SIGTERM", 143)])
def test_an_interrupted_ingest_resumes(
    raw: Path, tmp_path: Path, skelepipe: Skelepipe, monkeypatch: pytest.MonkeyPatch, how: str, code: int
) -> None:
    monkeypatch.setattr(partitions, "MAX_RECORDINGS", 30)
    whole = process_partition

    def stop(part: Path, *args: object) -> int:
        if part.name == "part-00001.npz":
            if how == "SIGTERM":
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(10)
            if "compiled" in how:  # as numba's functions report it
                raise SystemError("returned a result with an exception set") from KeyboardInterrupt()
            raise KeyboardInterrupt
        return whole(part, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(process_pool, "process_partition", stop)
    done = skelepipe("ingest", "ntu60", raw, "--workers", "1")
    assert done.exit_code == code
    assert "run the same command again to resume" in done.stderr
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    monkeypatch.setattr(process_pool, "process_partition", whole)
    report = json.loads(skelepipe("ingest", "ntu60", raw, "--workers", "1", "--json").stdout)
    assert report["resumed_files"] == 30
    assert len(Store(tmp_path / "processed" / "ntu60.zarr")) == 72


@pytest.mark.slow
def test_output_to_a_pipe_has_no_escape_codes(workplace: Path) -> None:
    shown = start_process("eval", "--protocol", "knn", cwd=workplace, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = shown.communicate(timeout=120)
    assert shown.returncode == 0, err
    assert "\x1b" not in out + err


def test_the_commands_come_in_the_order_of_the_work() -> None:
    assert list(main.commands)[:7] == ["convert", "init", "ingest", "finalise", "build-splits", "pretrain", "eval"]
    assert cli.main.list_commands(None) == list(main.commands)  # type: ignore[arg-type]


def test_square_brackets_in_names_and_messages_are_shown_literally(raw: Path, skelepipe: Skelepipe) -> None:
    folder = Path("odd")
    folder.mkdir()
    shutil.copy(min(raw.iterdir()), folder)
    (folder / "[red].skeleton").write_text("x")
    (folder / "S001C001P001R001A044.skeleton").write_text("[/red]\n")
    done = skelepipe("ingest", "ntu60", folder)
    assert done.exit_code == 3, done.output
    assert "[red].skeleton" in done.stdout
    assert "'[/red]'" in done.stdout


def test_a_store_can_be_named_as_the_current_folder(
    workplace: Path, skelepipe: Skelepipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace / "processed" / "ntu60.zarr")
    assert skelepipe("build-splits", ".", "--label-fraction", "0.5").exit_code == 0
    assert skelepipe("verify", ".").exit_code == 0
    assert (workplace / "processed" / "splits" / "ntu60" / "xsub.train-0.5.seed0.json").exists()


def test_the_next_command_names_a_store_that_is_not_the_default(raw: Path, skelepipe: Skelepipe) -> None:
    done = skelepipe("ingest", "ntu60", raw, "--out", "my data/s.zarr")
    assert "next: skelepipe build-splits 'my data/s.zarr'" in done.stdout


def test_jobs_print_a_summary_and_the_next_command(
    raw: Path, skelepipe: Skelepipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "MAX_RECORDINGS", 40)
    first = skelepipe("ingest", "ntu60", raw, "--partition", "1/2", "--out", "my data/s.zarr")
    assert first.exit_code in {0, 3}, first.output
    assert "partition 1/2 done, 1 of 2 files of partitions, 40 recordings" in first.stdout
    assert "still missing: 1 file of other jobs; when they have ended:" in first.stdout
    assert "next: skelepipe finalise 'my data/s.zarr'" in first.stdout
    early = skelepipe("finalise", "my data/s.zarr")
    assert early.exit_code == 1
    assert "run again --partition 2/2, then finalise" in early.stderr
    second = json.loads(
        skelepipe("ingest", "ntu60", raw, "--partition", "2/2", "--out", "my data/s.zarr", "--json").stdout
    )
    assert (second["job"], second["partitions"], second["unfinished"], second["source_files"]) == ("2/2", [1], 0, 35)
    end = skelepipe("finalise", "my data/s.zarr")
    assert end.exit_code == 3
    assert "next: skelepipe build-splits 'my data/s.zarr'" in end.stdout
    assert "3 quarantined" in end.stdout
    again = skelepipe("ingest", "ntu60", raw, "--partition", "2/2", "--out", "my data/s.zarr")
    assert (again.exit_code, "up to date, nothing to do for partition 2/2" in again.stdout) == (0, True)


def test_finalise_finds_the_only_unfinished_store(raw: Path, skelepipe: Skelepipe) -> None:
    assert skelepipe("ingest", "ntu60", raw, "--partition", "1/1").exit_code == 3
    done = skelepipe("finalise", "--json")
    assert done.exit_code == 3
    assert "store processed/ntu60.zarr (the only unfinished one)" in done.stderr
    assert json.loads(done.stdout)["clips"] == 72
    assert skelepipe("finalise", "processed/ntu60.zarr").exit_code == 0


def test_the_bar_mentions_compilation_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "160")
    with ProgressBar("ingest", FIRST_RUN_NOTE):
        pass
    assert "starting; the first run on a machine compiles for 10 to 30 s" in capsys.readouterr().err


def test_the_remaining_time_ignores_compiling_and_earlier_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 15.0, 16.0, 35.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    bar = ProgressBar("pretrain")
    for done in (51, 52, 71):  # 50 were done by an earlier run, and 14 seconds went into compiling
        bar.update(done, 100, "loss 3.2")
    assert capsys.readouterr().err.splitlines() == [
        "pretrain  51 %  loss 3.2",
        "pretrain  71 %  loss 3.2  29 s left",
    ]


def test_an_ingest_imports_no_optional_library(raw: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from cli import main\n"
        f"main(['ingest', 'ntu60', {str(raw)!r}, '--out', {str(tmp_path / 's.zarr')!r}], standalone_mode=False)\n"
        "print(sorted({'torch', 'dask', 'distributed', 'matplotlib', 'sklearn'} & sys.modules.keys()))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (tmp_path / "s.zarr" / "MANIFEST.json").exists(), done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_weights_without_fuse_are_refused(skelepipe: Skelepipe, workplace: Path) -> None:
    done = skelepipe("eval", "--weights", "1", "2")
    assert done.exit_code == 2
    assert "--weights belongs to --fuse" in done.output


def test_the_demo_refuses_a_folder_that_is_not_empty(skelepipe: Skelepipe, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    done = skelepipe("demo", "mine")
    assert done.exit_code == 1
    assert "mine: is not empty; remove it or name another folder" in done.output


def test_a_fusion_needs_different_runs(workplace: Path, monkeypatch: pytest.MonkeyPatch, skelepipe: Skelepipe) -> None:
    monkeypatch.chdir(workplace)
    refused = skelepipe("eval", "--fuse", "runs/tiny", "runs/tiny")
    assert (refused.exit_code, "the same one was named twice" in refused.stderr) == (2, True)


def test_inspect_shows_classes_by_number_and_name(workplace: Path, skelepipe: Skelepipe) -> None:
    done = skelepipe("inspect", "processed/ntu60.zarr")
    assert "A001 drink water, A002 eat meal/snack, A050" in " ".join(done.stdout.split())


def test_the_next_command_names_the_store_that_was_named(workplace: Path, skelepipe: Skelepipe) -> None:
    assert skelepipe("build-splits").stdout.endswith("next: skelepipe pretrain\n")
    assert skelepipe("build-splits", "processed/ntu60.zarr").stdout.endswith(
        "next: skelepipe pretrain processed/ntu60.zarr\n"
    )
