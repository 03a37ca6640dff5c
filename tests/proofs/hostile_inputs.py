"""Hostile recordings, names and environments."""

import csv
import os
import re
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.store.store import Store
from tests.proofs.hostile_cases import TINY, case, run_here


def replace_by_pipe(path: Path) -> None:
    """Put a FIFO in place of a file."""
    path.unlink()
    os.mkfifo(path)


# Special files


@case(3, mentions="x.npy|clips")
def a_pipe_among_the_recordings_of_a_folder(folder: Path) -> str:
    replace_by_pipe(next((folder / "own").rglob("*.npy")))
    return "ingest folder own"


@case(0, 3, mentions="regular file")
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


@case(0, 1, 4)
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


@case(1, mentions="weights.pt: .*pipe")
def a_pipe_as_weights(folder: Path) -> str:
    os.mkfifo(folder / "weights.pt")
    return "import-weights weights.pt --source skelemixclr --out runs/imported"


@case(1, 2, mentions="input.npz: .*")
def a_pipe_as_embed_input(folder: Path) -> str:
    os.mkfifo(folder / "input.npz")
    return "embed runs/tiny --input input.npz --out features.npz"


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
    case(3, mentions=r"\d .*of spine_base is .* m, expected")(prepare)


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
    return "view processed/own.zarr --png page.png --gif page.gif --html page.html"


@case(0)
def control_characters_in_class_names(folder: Path) -> str:
    path = folder / "own" / "skeleton.toml"
    text = path.read_text()
    start = text.index("names = [", text.index("[classes]"))
    path.write_text(text[:start] + text[start:].replace('"', '"\\u001b[31m=1+1', 1))
    assert run_here(folder, "ingest folder own") in (0, 1, 2, 3)
    return "inspect processed/own.zarr" if (folder / "processed/own.zarr").exists() else "inspect processed/ntu60.zarr"


@case(0)
def formulas_in_class_names(folder: Path) -> str:
    path = folder / "own" / "skeleton.toml"
    path.write_text(path.read_text().replace('"movement 1"', '"=HYPERLINK(1)"').replace('"movement 2"', '"@SUM(1)"'))
    for command in (
        "ingest folder own",
        "build-splits processed/own.zarr",
        TINY.replace("pretrain", "pretrain processed/own.zarr").replace("runs/tiny", "runs/own") + " batch_size=4",
        "eval runs/own --protocol linear --no-baselines --set linear.epochs=2",
        "predict runs/own own --out classes.csv",
    ):
        assert run_here(folder, command) in (0, 3), command
    cells = [cell for row in csv.reader((folder / "classes.csv").read_text().splitlines()) for cell in row]
    assert any("HYPERLINK" in cell or "SUM" in cell for cell in cells)
    assert not [cell for cell in cells if cell[:1] in "=@" and cell]
    return "inspect processed/own.zarr"


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
    assert len(set(Store(folder / "processed/own.zarr").columns["subject"])) == 1
    return "inspect processed/own.zarr"


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
