"""Run commands on hostile input, each in its own process: one clear line, a bounded time, bounded memory, no damage."""

import csv
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pipeline.artifacts import manifest, schemas
from pipeline.store.store import Store
from tests.support.run_commands import run_all

pytestmark = pytest.mark.thorough
CLI = Path(__file__).parents[2] / "cli.py"
SECONDS = 90
MAX_RSS_MB = 1500
MAX_LINE = 1200
Prepare = Callable[[Path], str | list[str]]
TINY = (
    "pretrain --preset quick --out runs/tiny --set frames=16 epochs=2 batch_size=12 encoder.hidden_channels=2"
    " encoder.hidden_dim=8 encoder.feature_dim=4 method.mix.frames=[1,3] method.mix.repeats=2"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One hostile command."""

    name: str
    prepare: Prepare
    """Changes a copy of the work folder and returns the command."""
    codes: tuple[int, ...]
    """Exit codes that are right."""
    mentions: str
    """Regular expression that the output must contain."""
    shell: str
    """Shell commands that run before the command in its shell, such as `ulimit`."""
    redirect: str
    """Shell redirections of the command."""
    changes: bool
    """Whether the command may change existing files."""
    meanwhile: Callable[[Path], None] | None
    """Runs in a thread while the command runs."""


CASES: list[Case] = []


def case(
    *codes: int,
    mentions: str = "",
    shell: str = "",
    redirect: str = "",
    changes: bool = False,
    meanwhile: Callable[[Path], None] | None = None,
) -> Callable[[Prepare], Prepare]:
    """Register a function as a case."""

    def register(prepare: Prepare) -> Prepare:
        CASES.append(
            Case(
                name=prepare.__name__,
                prepare=prepare,
                codes=codes,
                mentions=mentions,
                shell=shell,
                redirect=redirect,
                changes=changes,
                meanwhile=meanwhile,
            )
        )
        return prepare

    return register


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make recordings, stores, a run and its evaluation once."""
    folder = tmp_path_factory.mktemp("world")
    commands = [
        "synth ntu60 raw --clips 36 --seed 3",
        "ingest ntu60 raw",
        "build-splits",
        TINY,
        "eval runs/tiny --set linear.epochs=5",
        "synth folder own --clips 24",
        "synth pku1 pku --clips 12",
        "export processed/ntu60.zarr --out clips.npz",
    ]
    before = Path.cwd()
    try:
        os.chdir(folder)
        assert run_all([command.split() for command in commands]) == ""
    finally:
        os.chdir(before)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Read every regular file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.name != "LATEST.json"
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile_command(case: Case, world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    shutil.copytree(world, folder, symlinks=True)
    words = case.prepare(folder)
    words = words.split() if isinstance(words, str) else words
    before = contents(folder)
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in [sys.executable, str(CLI), *words])
    started = f"{case.shell or ':'}; exec {quoted} {case.redirect}"
    output = tmp_path / "output.txt"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            ["bash", "-c", started],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    timer = threading.Timer(SECONDS, lambda: os.killpg(process.pid, signal.SIGKILL))
    timer.start()
    if case.meanwhile:
        threading.Thread(target=case.meanwhile, args=(folder,), daemon=True).start()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = code = os.waitstatus_to_exitcode(status)
    text = output.read_text(errors="replace")
    finished = timer.is_alive()
    timer.cancel()
    shown = text[-3000:]
    assert finished, f"ran longer than {SECONDS} s: {shown}"
    assert "Traceback" not in text, shown
    assert code in case.codes, f"exit code {code}: {shown}"
    assert re.search(case.mentions, text, re.IGNORECASE | re.DOTALL), shown
    assert not [line for line in text.splitlines() if len(line) > MAX_LINE], shown
    assert not re.search("[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]", text), repr(shown)
    assert usage.ru_maxrss < MAX_RSS_MB * 1024, f"{usage.ru_maxrss // 1024} MB"
    if not case.changes:
        after = contents(folder)
        assert {name for name in before if after.get(name) != before[name]} == set()


def replace_by_pipe(path: Path) -> None:
    """Put a FIFO in place of a file."""
    path.unlink()
    os.mkfifo(path)


# Special files


@case(3, mentions="x.npy|clips")
def a_pipe_among_the_recordings_of_a_folder(folder: Path) -> str:
    replace_by_pipe(next((folder / "own").rglob("*.npy")))
    return "ingest folder own"


@case(3, mentions="S001|skeleton")
def a_pipe_among_ntu_recordings(folder: Path) -> str:
    replace_by_pipe(next((folder / "raw").glob("*.skeleton")))
    return "ingest ntu60 raw --out other.zarr"


@case(3)
def a_link_to_an_endless_device(folder: Path) -> str:
    path = next((folder / "own").rglob("*.npy"))
    path.unlink()
    path.symlink_to("/dev/zero")
    return "ingest folder own"


@case(3)
def a_socket_among_the_recordings(folder: Path) -> str:
    path = next((folder / "own").rglob("*.npy"))
    path.unlink()
    here = Path.cwd()
    try:
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)
    return "ingest folder own"


@case(1, 2, mentions="manifest.csv")
def a_pipe_as_manifest(folder: Path) -> str:
    replace_by_pipe(folder / "own" / "manifest.csv")
    return "ingest folder own"


@case(1, 2, mentions="skeleton.toml")
def a_pipe_as_description(folder: Path) -> str:
    replace_by_pipe(folder / "own" / "skeleton.toml")
    return "ingest folder own"


@case(1, 2, mentions="run.json")
def a_pipe_as_run_json(folder: Path) -> str:
    replace_by_pipe(folder / "runs/tiny/run.json")
    return "report runs/tiny --out page.html"


@case(1, 4, mentions="run.json")
def a_pipe_as_run_json_for_verify(folder: Path) -> str:
    replace_by_pipe(folder / "runs/tiny/run.json")
    return "verify runs/tiny"


@case(0, 1, mentions="log.jsonl")
def a_pipe_as_log(folder: Path) -> str:
    replace_by_pipe(folder / "runs/tiny/log.jsonl")
    return "report runs/tiny --out page.html"


@case(0, 1, 4, mentions=r"eval/")
def a_pipe_as_result(folder: Path) -> str:
    replace_by_pipe(next((folder / "runs/tiny/eval").glob("*.json")))
    return "report runs/tiny --out page.html"


@case(0, 1, 2)
def a_pipe_as_latest(folder: Path) -> str:
    replace_by_pipe(folder / "processed/LATEST.json")
    return "inspect"


@case(1, 2)
def a_pipe_as_split(folder: Path) -> str:
    replace_by_pipe(next((folder / "processed").rglob("*xsub*.json")))
    return "pretrain --split xsub"


@case(1, 2, mentions="pipe.toml")
def a_pipe_as_recipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe.toml")
    return "ingest ntu60 raw --out other.zarr --recipe pipe.toml"


@case(1, 2, mentions="pipe.toml")
def a_pipe_as_configuration(folder: Path) -> str:
    os.mkfifo(folder / "pipe.toml")
    return "pretrain --config pipe.toml"


@case(1, 2, 3, mentions="loop")
def a_link_to_itself_for_predict(folder: Path) -> str:
    (folder / "loop.skeleton").symlink_to("loop.skeleton")
    return "predict runs/tiny loop.skeleton"


@case(1, 2, 3, mentions="loop")
def a_link_to_itself_for_convert(folder: Path) -> str:
    (folder / "loop.json").symlink_to("loop.json")
    return "convert openpose loop.json --out converted"


@case(1, 2, mentions="weights")
def a_pipe_as_weights(folder: Path) -> str:
    os.mkfifo(folder / "weights.pt")
    return "import-weights weights.pt --store processed/ntu60.zarr --out runs/imported"


@case(1, 2, mentions="input.npz")
def a_pipe_as_embed_input(folder: Path) -> str:
    os.mkfifo(folder / "input.npz")
    return "embed runs/tiny --input input.npz --out features.npz"


# Absurd settings


def absurd(setting: str, mentions: str = "") -> None:
    """Register a training with one absurd setting."""

    def prepare(folder: Path) -> str:
        return f"pretrain --preset quick --out runs/absurd --set {setting}"

    prepare.__name__ = f"absurd_{setting}"
    case(1, 2, mentions=mentions or setting.partition("=")[0].rpartition(".")[2])(prepare)


absurd("pair.queue_size=100000000000")
absurd("encoder.hidden_channels=1000000")
absurd("encoder.hidden_dim=100000000")
absurd("frames=100000000")
absurd("encoder.temporal_kernel=1000001")
absurd("epochs=1e20")
absurd("batch_size=1000000000")
absurd("encoder.feature_dim=1000000000")


@case(1, 2, mentions=r"linear\.epochs|epochs")
def absurd_linear_epochs(folder: Path) -> str:
    return "eval runs/tiny --set linear.epochs=1e20"


@case(0, 1, 2)
def absurd_neighbours(folder: Path) -> str:
    return "eval runs/tiny --protocol knn --k 1000000000000"


@case(1, mentions=r"not finite|finite|nan|inf")
def a_linear_training_that_diverges(folder: Path) -> str:
    return "eval runs/tiny --set linear.learning_rate=1e30 linear.epochs=5"


# Runs from strangers


def stranger(key: str, value: object, command: str) -> None:
    """Register a command on a run whose run.json was changed."""

    def prepare(folder: Path) -> str:
        path = folder / "runs/tiny/run.json"
        document = json.loads(path.read_text())
        place = document["config"]
        *parents, last = key.split(".")
        for parent in parents:
            place = place[parent]
        place[last] = value
        document.pop("digest", None)
        path.write_text(json.dumps(document))
        return command

    prepare.__name__ = f"stranger_{key}_{command.partition(' ')[0]}"
    case(1, 2, 4)(prepare)


for _key, _value in [
    ("encoder.hidden_channels", 10**6),
    ("encoder.temporal_kernel", 1000001),
    ("frames", 10**9),
    ("pair.queue_size", 10**12),
    ("encoder.hidden_dim", 10**9),
]:
    for _command in [
        "embed runs/tiny --store processed/ntu60.zarr --out f.npz",
        "eval runs/tiny",
        "export runs/tiny --out model.onnx",
    ]:
        stranger(_key, _value, _command)


# Outputs that exist, inputs and artifacts


def keeps(name: str, command: str, *codes: int) -> None:
    """Register a command that must not replace anything."""

    def prepare(folder: Path) -> str:
        (folder / "mine.txt").write_text("mine")
        for suffix in ("npz", "html", "gif", "png", "csv", "onnx"):
            (folder / f"mine.{suffix}").write_text("mine")
        return command

    prepare.__name__ = name
    case(*(codes or (1, 2)))(prepare)


keeps("export_over_a_file", "export processed/ntu60.zarr --out mine.npz")
keeps("view_over_a_page", "view processed/ntu60.zarr --html mine.html")
keeps("view_over_an_animation", "view processed/ntu60.zarr --gif mine.gif")
keeps("view_over_a_picture", "view processed/ntu60.zarr --png mine.png")
keeps("embed_over_a_file", "embed runs/tiny --store processed/ntu60.zarr --out mine.npz")
keeps("predict_over_a_file", "predict runs/tiny raw --out mine.csv")
keeps("report_over_a_file", "report runs/tiny --out mine.html")
keeps("onnx_over_a_file", "export runs/tiny --out mine.onnx")
keeps("report_over_zarr_json", "report processed/ntu60.zarr --out processed/ntu60.zarr/zarr.json --force")
keeps("report_over_run_json", "report runs/tiny --out runs/tiny/run.json --force")
keeps("report_into_a_store", "report processed/ntu60.zarr --out processed/ntu60.zarr/new.html --force")
keeps("embed_over_its_input", "embed runs/tiny --input clips.npz --out clips.npz --force")
keeps("export_into_itself", "export processed/ntu60.zarr --out processed/ntu60.zarr/c/0.npz --force")
keeps("view_over_a_checkpoint", "view processed/ntu60.zarr --png runs/tiny/checkpoints/x.png --force")


@case(1, 2)
def predict_over_its_input(folder: Path) -> list[str]:
    name = next((folder / "raw").glob("*.skeleton")).relative_to(folder).as_posix()
    return ["predict", "runs/tiny", name, "--out", name, "--force"]


@case(1, 2)
def predict_over_its_input_by_a_link(folder: Path) -> list[str]:
    name = next((folder / "raw").glob("*.skeleton"))
    (folder / "link.csv").symlink_to(name)
    return ["predict", "runs/tiny", name.relative_to(folder).as_posix(), "--out", "link.csv", "--force"]


# Own data


def rewrite_manifest(folder: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Change the rows of the manifest; each row is a list of cells without quotes."""
    path = folder / "own" / "manifest.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join(change(row)) for row in rows) + "\n")


@case(0)
def recordings_without_a_label_column(folder: Path) -> str:
    column = (folder / "own/manifest.csv").read_text().splitlines()[0].split(",").index("label")
    rewrite_manifest(folder, lambda row: row[:column] + row[column + 1 :])
    return "ingest folder own"


@case(0)
def recordings_with_empty_labels(folder: Path) -> str:
    column = (folder / "own/manifest.csv").read_text().splitlines()[0].split(",").index("label")
    rewrite_manifest(folder, lambda row: row if "label" in row else [*row[:column], "", *row[column + 1 :]])
    return "ingest folder own"


@case(0, mentions="ignored")
def other_files_next_to_recordings(folder: Path) -> str:
    for name in ("README.txt", "joints.txt", "Thumbs.db", ".DS_Store", "notes.csv", "a.skeleton~"):
        (folder / "raw" / name).write_text("hips, knees\n")
    return "ingest ntu60 raw --out other.zarr"


@case(1, 2, mentions="frames_per_second")
def an_absurd_frame_rate(folder: Path) -> str:
    path = folder / "own" / "skeleton.toml"
    text = re.sub(r"frames_per_second = .*\n", "", path.read_text())
    path.write_text("frames_per_second = -4\n" + text)
    return "ingest folder own"


def huge_coordinate(value: str) -> None:
    """Register an ingest of a recording with one huge coordinate."""

    def prepare(folder: Path) -> str:
        path = sorted((folder / "raw").glob("*.skeleton"))[0]
        lines = path.read_text().split("\n")
        index = next(i for i, line in enumerate(lines) if len(line.split()) == 12)
        words = lines[index].split()
        lines[index] = " ".join([value, *words[1:]])
        path.write_text("\n".join(lines))
        return "ingest ntu60 raw --out other.zarr"

    prepare.__name__ = f"a_coordinate_of_{value}"
    case(3, mentions=r":\d+:")(prepare)


huge_coordinate("3e38")
huge_coordinate("-1e12")
huge_coordinate("1500")


@case(0)
def many_overlapping_segments(folder: Path) -> str:
    own = folder / "own"
    path = sorted(own.rglob("*.npy"))[0]
    frames = np.load(path)
    np.save(path, np.resize(frames, (40_000, *frames.shape[1:])))
    name = path.relative_to(own).as_posix()
    rows = [f"{name},0,1,morning,{start},{39_000 + start},clip{start}" for start in range(200)]
    (own / "manifest.csv").write_text("\n".join(["file,label,subject,session,start,end,name", *rows]) + "\n")
    return "ingest folder own"


# Limits of the environment


@case(1, 5, mentions="memory|worker", shell="ulimit -v 400000")
def little_memory(folder: Path) -> str:
    return "ingest ntu60 raw --out other.zarr --workers 2"


@case(0, 1, 5, shell="exec >&-", redirect="2>&1")
def a_closed_stdout(folder: Path) -> str:
    return "inspect processed/ntu60.zarr"


@case(0, mentions="", shell="export HOME=/nonexistent NUMBA_CACHE_DIR=/dev/null/x XDG_CACHE_HOME=/dev/null/y")
def no_usable_home(folder: Path) -> str:
    return "ingest ntu60 raw --out other.zarr"


# Names


@case(0)
def dollars_in_names(folder: Path) -> str:
    path = folder / "own" / "manifest.csv"
    lines = path.read_text().splitlines()
    lines[1:] = [f"{line.rpartition(',')[0]},$\\frac{{x$ {index}" for index, line in enumerate(lines[1:])]
    path.write_text("\n".join(lines) + "\n")
    assert run_here(folder, "ingest folder own") == 0
    return "view processed/folder.zarr --png page.png --gif page.gif --html page.html"


@case(0)
def control_characters_in_class_names(folder: Path) -> str:
    path = folder / "own" / "skeleton.toml"
    text = path.read_text()
    start = text.index("names = [", text.index("[classes]"))
    path.write_text(text[:start] + text[start:].replace('"', '"\\u001b[31m=1+1', 1))
    assert run_here(folder, "ingest folder own") in (0, 1, 2, 3)
    return (
        "inspect processed/folder.zarr"
        if (folder / "processed/folder.zarr").exists()
        else "inspect processed/ntu60.zarr"
    )


def run_here(folder: Path, command: str) -> int:
    """Run a command that prepares a case; return its exit code."""
    words = [sys.executable, str(CLI), *command.split()]
    return subprocess.run(words, cwd=folder, capture_output=True, check=False, timeout=SECONDS).returncode


@case(0)
def formulas_in_class_names(folder: Path) -> str:
    path = folder / "own" / "skeleton.toml"
    path.write_text(path.read_text().replace('"movement 1"', '"=HYPERLINK(1)"').replace('"movement 2"', '"@SUM(1)"'))
    for command in (
        "ingest folder own",
        "build-splits processed/folder.zarr",
        TINY.replace("pretrain", "pretrain processed/folder.zarr").replace("runs/tiny", "runs/own") + " batch_size=4",
        "eval runs/own --protocol linear --no-baselines --set linear.epochs=2",
        "predict runs/own own --out classes.csv",
    ):
        assert run_here(folder, command) in (0, 3), command
    cells = [cell for row in csv.reader((folder / "classes.csv").read_text().splitlines()) for cell in row]
    assert any("HYPERLINK" in cell or "SUM" in cell for cell in cells)
    assert not [cell for cell in cells if cell[:1] in "=@" and cell]
    return "inspect processed/folder.zarr"


@case(0)
def one_subject_in_two_unicode_forms(folder: Path) -> str:
    path = folder / "own" / "manifest.csv"
    lines = path.read_text().splitlines()
    column = lines[0].split(",").index("subject")
    for index, line in enumerate(lines[1:], 1):
        cells = line.split(",")
        cells[column] = "Jose\u0301" if index % 2 else "Jos\u00e9"
        lines[index] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    assert run_here(folder, "ingest folder own") == 0
    assert len(set(Store(folder / "processed/folder.zarr").columns["subject"])) == 1
    return "inspect processed/folder.zarr"


# Damaged runs


@case(1, 2, 4, mentions="finite|nan|inf")
def weights_that_are_not_finite(folder: Path) -> str:
    path = sorted((folder / "runs/tiny/checkpoints").rglob("*.safetensors"))[-1]
    data = bytearray(path.read_bytes())
    header = int.from_bytes(data[:8], "little")
    tensors = {name: entry for name, entry in json.loads(data[8 : 8 + header]).items() if name != "__metadata__"}
    for entry in tensors.values():
        if entry["dtype"] == "F32":
            first, last = (8 + header + offset for offset in entry["data_offsets"])
            data[first:last] = np.full((last - first) // 4, np.nan, "<f4").tobytes()
    path.write_bytes(bytes(data))
    refresh_manifest(path.parent)
    return "embed runs/tiny --store processed/ntu60.zarr --out features.npz"


def refresh_manifest(folder: Path) -> None:
    """Write the checksums of a changed folder again, as a stranger could."""
    manifest.write_manifest(folder, schemas.CHECKPOINT)


@case(0, 1, changes=True, mentions="leftover|not a run|force|killed|unfinished|without run.json")
def leftovers_of_a_killed_training(folder: Path) -> str:
    (folder / "runs/left/checkpoints/.step-3.partial").mkdir(parents=True)
    return TINY.replace("runs/tiny", "runs/left")


@case(0, changes=True)
def leftovers_replaced_by_force(folder: Path) -> str:
    (folder / "runs/left/checkpoints/.step-3.partial").mkdir(parents=True)
    return TINY.replace("runs/tiny", "runs/left") + " --force"


@case(0, changes=True)
def a_desktop_file_in_a_store(folder: Path) -> str:
    (folder / "processed/ntu60.zarr/.DS_Store").write_bytes(b"x")
    return "verify processed/ntu60.zarr"


@case(0, 1, 4, mentions="log.jsonl")
def a_bad_line_in_the_log(folder: Path) -> str:
    path = folder / "runs/tiny/log.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{broken", *lines[1:]]) + "\n")
    return "report runs/tiny --out page.html"


def remove_run(folder: Path) -> None:
    """Remove the run's folder as soon as its log has three lines."""
    log = folder / "runs/gone/log.jsonl"
    while not log.exists() or len(log.read_text().splitlines()) < 3:
        time.sleep(0.01)
    shutil.rmtree(folder / "runs/gone")


@case(1, 2, 5, mentions="runs/gone", meanwhile=remove_run, changes=True)
def a_run_folder_removed_during_training(folder: Path) -> str:
    return TINY.replace("runs/tiny", "runs/gone").replace("epochs=2", "epochs=3000")


def remove_recordings(folder: Path) -> None:
    """Remove the recordings as soon as the work folder exists."""
    while not list(folder.glob(".other.zarr*")):
        time.sleep(0.001)
    shutil.rmtree(folder / "raw")


@case(5, mentions="raw", meanwhile=remove_recordings, changes=True)
def recordings_removed_during_ingest(folder: Path) -> str:
    for path in list((folder / "raw").glob("*.skeleton")):
        for repeat in range(60):
            shutil.copy(path, path.with_name(f"{path.stem[:12]}R{repeat + 3:03d}{path.stem[16:]}.skeleton"))
    return "ingest ntu60 raw --out other.zarr --workers 0"


@case(0, 1, 2, 4)
def results_that_are_a_link_elsewhere(folder: Path) -> str:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere/.thesis.partial").write_text("mine")
    (folder / "elsewhere/.old.partial").mkdir()
    (folder / "elsewhere/.old.partial/data").write_text("mine")
    shutil.rmtree(folder / "runs/tiny/eval")
    (folder / "runs/tiny/eval").symlink_to("../../elsewhere")
    return "eval runs/tiny --protocol knn"


@case(0, 1)
def an_evaluation_with_other_settings(folder: Path) -> str:
    return "eval runs/tiny --k 3 --no-baselines --set linear.epochs=2"


def test_the_limits_of_this_process_are_normal() -> None:
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
