"""Run all commands again and again in one process: its memory, handles and threads must not grow.

After each round the process records its memory, file handles, threads and children, and the number of files in its
temporary folder. Prints a table with a line every few rounds; exits 1 when a count grows or a command ends with an
unexpected exit code. Some trainings are stopped by signals and resumed.
"""

import argparse
import gc
import os
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from importlib.util import find_spec
from multiprocessing import util
from pathlib import Path

import psutil

from tests.proofs import faults
from trainer.runs.log import read_log

RUN = "runs/s-xsub-quick"
TRAIN = (
    "pretrain --preset quick --split xsub --workers 2 --set frames=16 epochs=3 batch_size=8 "
    "encoder.hidden_channels=2 encoder.hidden_dim=8 encoder.feature_dim=4 pair.queue_size=16 validate_every=1"
)
BEFORE = (
    "synth ntu60 raw --clips 48 --broken 1",
    "ingest ntu60 raw --out processed/s.zarr --workers 2",
    "build-splits processed/s.zarr --label-fraction 0.5",
)
ONNX = f"export {RUN} --format onnx --out encoder.onnx"
NEEDS = {ONNX: ("onnx", "onnxruntime")}
"""Optional packages that a command needs."""
AFTER = (
    TRAIN,
    f"eval {RUN} --protocol knn linear retrieval --set linear.epochs=2",
    f"embed {RUN} --store processed/s.zarr --out features.npz",
    ONNX,
    "export processed/s.zarr --format npz --out s.npz",
    "export processed/s.zarr --format hdf5 --out s.h5",
    f"predict {RUN} raw --out p.csv",
    "view processed/s.zarr --html clips.html --png poses.png --poses 2",
    f"report {RUN}",
    "report processed/s.zarr",
    "synth mediapipe taken --clips 4",
    "convert mediapipe taken --out own",
    f"config show {RUN}",
    "verify processed/s.zarr",
    f"verify {RUN}",
)
WARM = 0.25
"""Share of the first rounds that is ignored, because caches still fill."""
GROWTH = 16.0
"""MB by which the median of the last rounds may exceed that of the first counted rounds."""


@dataclass(frozen=True, slots=True)
class Held:
    """Resources of the process after a round."""

    memory: float
    """MB resident."""
    handles: int
    threads: int
    children: int
    temporary: int
    """Files and folders in the temporary folder."""


def left_out() -> dict[str, list[str]]:
    """Return the commands that cannot run, each with its missing packages."""
    missing = {command: [name for name in names if find_spec(name) is None] for command, names in NEEDS.items()}
    return {command: names for command, names in missing.items() if names}


def held(temporary: Path) -> Held:
    """Measure the resources of this process."""
    gc.collect()
    here = psutil.Process()
    return Held(
        memory=here.memory_info().rss / 1e6,
        handles=here.num_fds(),
        threads=here.num_threads(),
        children=len(here.children(recursive=True)),
        temporary=len([*temporary.rglob("*")]),
    )


def growth(rounds: Sequence[Held]) -> list[str]:
    """Describe every resource that grows after the warm-up rounds; empty if none does."""
    counted = rounds[int(len(rounds) * WARM) :]
    third = max(1, len(counted) // 3)
    found = []
    for field in fields(Held):
        values = [getattr(held, field.name) for held in counted]
        first, last = statistics.median(values[:third]), statistics.median(values[-third:])
        if last - first > (GROWTH if field.name == "memory" else 0):
            found.append(f"{field.name}: {first:,.1f} in the first rounds, {last:,.1f} in the last")
    return found


@contextmanager
def stopped(log: Path, number: int) -> Iterator[None]:
    """Send this process a signal as soon as a training has logged its first step."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.002):
            if read_log(log):
                os.kill(os.getpid(), number)
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def one_round(folder: Path, number: int) -> str:
    """All commands in a folder of their own, which is then removed; what went wrong, if anything."""
    folder.mkdir()
    os.chdir(folder)
    if code := faults.first_failure(BEFORE):
        return f"exit code {code} before the training"
    with stopped(Path(RUN, "log.jsonl"), number):
        code = faults.first_failure([TRAIN])
    if code != 128 + number:
        return f"exit code {code} of a training that was stopped by signal {number}"
    missing = left_out()
    if code := faults.first_failure([command for command in AFTER if command not in missing]):
        return f"exit code {code} after the training"
    half = [path.name for path in folder.rglob("*") if path.name.endswith((".partial", ".work"))]
    return f"half-written: {', '.join(half)}" if half else ""


def soak(minutes: float, place: Path) -> int:
    """Go round until the time is over; 1 when something grew or failed."""
    temporary, rounds = place / "temporary", list[Held]()
    temporary.mkdir()
    tempfile.tempdir = os.environ["TMPDIR"] = str(temporary)
    for command, missing in left_out().items():
        print(f"left out, {' and '.join(missing)} not installed: {command}")
    print(f"{'round':>8}{'minutes':>9}{'MB':>9}{'handles':>9}{'threads':>9}{'children':>9}{'files':>9}")
    began = told = time.monotonic()
    while not rounds or time.monotonic() - began < minutes * 60:
        outputs = place / "round"
        with quiet(place / "said"):
            wrong = one_round(outputs, (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)[len(rounds) % 3])
        if wrong:
            print(f"round {len(rounds) + 1}: {wrong}\n{(place / 'said').read_text()}")
            return 1
        rounds.append(held(temporary))
        os.chdir(place)
        shutil.rmtree(outputs)
        now = time.monotonic()
        if len(rounds) in {1, 2} or now - told > minutes * 4 or now - began >= minutes * 60:
            memory, *counts = astuple(rounds[-1])
            print(f"{len(rounds):8}{(now - began) / 60:9.1f}{memory:9.1f}" + "".join(f"{count:9}" for count in counts))
            sys.stdout.flush()
            told = now
    grown = growth(rounds)
    print(*grown or ["no growth"], sep="\n")
    return bool(grown)


@contextmanager
def quiet(said: Path) -> Iterator[None]:
    """Redirect all output of this process to a file."""
    kept = [os.dup(stream) for stream in (1, 2)]
    with said.open("w") as place:
        for stream in (1, 2):
            os.dup2(place.fileno(), stream)
    try:
        yield
    finally:
        for printing in (sys.stdout, sys.stderr):
            printing.flush()
        for stream, copy in enumerate(kept, 1):
            os.dup2(copy, stream)
            os.close(copy)


if __name__ == "__main__":
    asking = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asking.add_argument("--minutes", type=float, default=20)
    asked = asking.parse_args()
    place = Path(tempfile.mkdtemp())
    # Runs after the clean-up of multiprocessing, whose temporary folder is inside this one.
    util.Finalize(None, shutil.rmtree, args=[place], exitpriority=-200)
    sys.exit(soak(asked.minutes, place))
