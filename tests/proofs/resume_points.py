"""Stop and resume a pre-training at every step, by signals and SIGKILL: it must equal an uninterrupted run.

The runs differ in residency and number of workers, also between the attempts at one run. Each must end with the
weights, momenta, queue, best checkpoint and log of an uninterrupted run, bit for bit (except the speed in the log).
Prints a table; exits 1 when anything differs.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from pipeline.artifacts.paths import CHECKPOINTS_FOLDER
from pipeline.ingest.ingest import ingest
from pipeline.ingest.request import IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.store import store as store_module
from pipeline.store.build_splits import build_splits
from pipeline.store.splits import find_split
from pipeline.store.store import Store
from pipeline.synth.ntu import write_ntu
from tests.proofs import faults
from trainer.bench.synthetic_store import repeat_store
from trainer.config.presets import compose_pretrain, load_preset
from trainer.pretrain import pretrain as pretrain_module
from trainer.pretrain.pretrain import PretrainProgress, PretrainRequest, pretrain
from trainer.runs import checkpoint
from trainer.runs.log import MEASURED, read_log
from trainer.runs.run import LOG_FILE, load_run, named_checkpoint
from trainer.runtime.device import choose_device
from trainer.runtime.signals import STOP_SIGNALS, Interrupted

ROOT = Path(__file__).parents[2]
SETTINGS = (
    *("frames=16", "epochs=3", "batch_size=12", "stream_buffer=24", "validate_every=1"),
    *("encoder.hidden_channels=2", "encoder.hidden_dim=8", "encoder.feature_dim=4", "encoder.dropout=0.2"),
    *("method.mix.frames=[1, 3]", "method.mix.repeats=2"),
)
"""A run of a few seconds. The buffer is smaller than the training set; dropout uses torch's random generator."""
WAYS = (("host", 0), ("host", 1), ("stream", 0), ("stream", 1), ("stream", 2))
IN_HAND = 2
"""Maximum steps from the last log line to the checkpoint: the current step, and one that ended meanwhile."""
LIMIT = 120.0
"""Seconds after which an attempt counts as hanging."""


def request(store: Path, output: Path, residency: str = "host", workers: int = 1) -> PretrainRequest:
    opened = Store(store)
    return PretrainRequest(
        store=opened,
        split=find_split(opened, "xsub"),
        preset="quick",
        config=compose_pretrain(load_preset("quick"), None, SETTINGS),
        output=output,
        device=choose_device("cpu"),
        residency=residency,  # type: ignore[arg-type]
        workers=workers,
    )


def train(store: Path, output: Path, residency: str, workers: int, signal_at: tuple[int, int] | None = None) -> None:
    """Train to the end, or send a signal to this process after a step."""

    def send(tick: PretrainProgress) -> None:
        if signal_at is not None and tick.step == signal_at[1]:
            os.kill(os.getpid(), signal_at[0])

    pretrain_module.CHECKPOINT_SECONDS = 0.05  # so that killed runs have checkpoints
    pretrain(request(store, output, residency, workers), send)


def outcome(output: Path) -> dict[str, Any]:
    """Return all that must be equal between two finished runs: state, log, best checkpoint."""
    run = load_run(output)
    found: dict[str, Any] = {}
    for which in ("last", "best"):
        path, meta, _ = named_checkpoint(run, which)  # type: ignore[arg-type]
        found[which] = meta
        for part in (checkpoint.MODEL, checkpoint.OPTIMISER):
            found |= {
                f"{which} {part} {name}": value.numpy().tobytes() for name, value in load_file(path / part).items()
            }
    log = read_log(output / LOG_FILE)
    found["log"] = [{key: value for key, value in line.items() if key not in MEASURED} for line in log]
    left = {path.name for path in output.rglob("*") if path.name.endswith(".partial")}
    return found | {"left": left}


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def make_store(folder: Path) -> Path:
    """Write a store of 144 clips; `small_blocks` reads it in blocks of about ten."""
    write_ntu("ntu60", folder / "raw", clips=48, seed=1)
    small = folder / "small.zarr"
    ingest(IngestRequest(dataset="ntu60", roots=(folder / "raw",), output=small, recipe=load_recipe("clean")))
    store = repeat_store(Store(small), folder / "large.zarr", 144)
    build_splits(store)
    return store.path


class Attempt:
    """A training process that is killed unless it ends before."""

    def __init__(self, store: Path, output: Path, way: tuple[str, int]) -> None:
        arguments = [sys.executable, __file__, "--attempt", store, output, way[0], str(way[1])]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            arguments, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self.output = output

    def begun(self) -> bool:
        """Wait until the training has logged a step; return False if it ended before."""
        log, before = self.output / LOG_FILE, len(read_log(self.output / LOG_FILE))
        until = time.monotonic() + LIMIT
        while self.process.poll() is None and time.monotonic() < until:
            if len(read_log(log)) != before:
                return True
            time.sleep(0.005)
        return False

    def logged(self) -> int:
        """Return the number of logged steps: all finished steps, or all but the last."""
        return len(read_log(self.output / LOG_FILE))

    def stop(self, number: int) -> int:
        """Send a signal, wait, and return the exit code. Raises TimeoutExpired if the process hangs."""
        self.process.send_signal(number)
        return self.process.wait(LIMIT)

    def error(self) -> str:
        return self.process.stderr.read().decode().strip().splitlines()[-1] if self.process.stderr else ""


def newest_step(output: Path) -> int:
    """Return the step of the newest intact checkpoint of a run, or 0."""
    folder = output / CHECKPOINTS_FOLDER
    return (
        int(checkpoint.read_meta(checkpoint.newest_intact(folder)[0])["step"])
        if checkpoint.list_checkpoints(folder)
        else 0
    )


def kills(store: Path, folder: Path, expected: dict[str, Any], count: int, seed: int) -> Counter[str]:
    """Train several runs, each stopped repeatedly at random times, with changing residency and workers."""
    found, chance = Counter[str](), random.Random(seed)
    while found["stopped"] < count:
        output = folder / f"run-{found['runs']}"
        found["runs"] += 1
        while True:
            way, number = chance.choice(WAYS), chance.choice((signal.SIGKILL, signal.SIGKILL, *STOP_SIGNALS))
            attempt = Attempt(store, output, way)
            late = chance.random() < 0.8  # otherwise during start-up and loading
            if late:
                attempt.begun()
            time.sleep(chance.uniform(0, 0.4 if late else 4))
            logged = attempt.logged()
            code = attempt.stop(number)
            name = signal.Signals(number).name
            if code == 0:
                break
            if code == 128 + number and logged:
                more = newest_step(output) - logged
                found["signals while it trained"] += 1
                found["with a checkpoint of the step in hand"] += 0 <= more <= IN_HAND
                if not 0 <= more <= IN_HAND:
                    found["BAD"] += 1
                    print(f"{way}, {name} after step {logged}: the checkpoint is {more} steps away")
            allowed = {-number, 128 + number} if number != signal.SIGKILL else {-number}
            found["stopped"] += 1
            found[name] += 1
            if code not in allowed:
                found["BAD"] += 1
                print(f"{way}, {name}: exit code {code}: {attempt.error()}")
        if wrong := differences(outcome(output), expected):
            found["BAD"] += 1
            print(f"{output.name}: differs in {', '.join(wrong[:5])}")
    return found


def signals(store: Path, folder: Path, expected: dict[str, Any], every: int) -> Counter[str]:
    """Stop a run by a signal after each `every`-th step and resume it with other residency and workers."""
    found, total = Counter[str](), expected["last"]["step"]
    for number, step in enumerate(range(1, total, every)):
        output = folder / f"signal-{step}"
        first, second = WAYS[number % len(WAYS)], WAYS[(number * 2 + 1) % len(WAYS)]
        try:
            train(store, output, *first, signal_at=(STOP_SIGNALS[number % 3], step))
            found["BAD"] += 1
        except Interrupted:
            found["stopped"] += 1
            found["with a checkpoint of that step"] += newest_step(output) == step
            if newest_step(output) != step:
                found["BAD"] += 1
        train(store, output, *second)
        if wrong := differences(outcome(output), expected):
            found["BAD"] += 1
            print(f"{first}, then {second}, stopped after step {step}: differs in {', '.join(wrong[:5])}")
        found["runs"] += 1
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="steps from one signal to the next")
    parser.add_argument("--kills", type=int, default=200, help="number of stops at random times")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--attempt", nargs=4, metavar=("STORE", "OUT", "RESIDENCY", "WORKERS"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    small_blocks()
    torch.set_num_threads(1)  # as in every attempt: the number of threads changes the order of summation
    if asked.attempt:
        store, output, residency, workers = asked.attempt
        try:
            train(Path(store), Path(output), residency, int(workers))
        except Interrupted as stop:
            return stop.exit_code
        return 0
    with tempfile.TemporaryDirectory(dir=faults.MEMORY) as name:
        folder = Path(name)
        store = make_store(folder)
        train(store, folder / "whole", "host", 0)
        expected, bad = outcome(folder / "whole"), 0
        print(json.dumps({"steps": expected["last"]["step"], "best": expected["best"]["best"]}))
        for what, found in (
            ("signal after a step", signals(store, folder, expected, asked.every)),
            ("stop at a random time", kills(store, folder, expected, asked.kills, asked.seed)),
        ):
            print(f"{what:24}", ", ".join(f"{count} {name}" for name, count in found.items()), flush=True)
            bad += found["BAD"]
    return 1 if bad else 0


def small_blocks() -> None:
    """Read stores in blocks of about ten clips, so that small stores have several blocks."""
    store_module.BLOCK_BODY_FRAMES = 1024


if __name__ == "__main__":
    sys.exit(main())
