"""Which way of taking a training step is fastest on a GPU, and whether it computes the same.

Run: python benchmarks/gpu_ways.py [--seconds 150] [--out ways.json]. Full width, bf16 and float32. Each way takes turns
with the plain one; `loss apart` is the largest relative difference of its loss to the plain one's over three steps on
the same draws with dropout 0, taken at the first batch size. `--device cpu --small` rehearses it; the figures of that
mean nothing.
"""

import argparse
import gc
import json
import statistics
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from ways import WAYS, Training, Way

from trainer.bench.timing import git_commit
from trainer.config.presets import compose_pretrain, load_preset
from trainer.config.pretrain import PretrainConfig
from trainer.doctor.processor import processor_name
from trainer.runtime.device import describe, pick

TINY = ("frames=16", "batch_size=6", "method.mix.frames=[1, 3]", "encoder.hidden_channels=2", "encoder.hidden_dim=8")
CHECKED_STEPS = 3
ROUND_SECONDS = 0.25
HEAD = ("way", "batch", "precision", "samples/s", "of plain", "peak GB", "first s", "loss apart", "status")


class Comparison:
    """The ways at one batch size and precision, against the plain one."""

    def __init__(
        self, config: PretrainConfig, device: torch.device, rounds: int, deadline: float, *, checked: bool
    ) -> None:
        self.config, self.device, self.rounds, self.deadline = config, device, rounds, deadline
        self.checked = checked
        self.plain: Training | None = None
        self.plain_losses: list[float] | None = None

    def unmeasured(self, name: str) -> dict[str, Any]:
        """A row before anything is found."""
        batch, precision = self.config.batch_size, self.config.precision
        return {"way": name, "batch": batch, "precision": precision, "status": "not measured"}

    def row(self, name: str, way: Way) -> dict[str, Any]:
        """What is found of a way; never an exception."""
        found = self.unmeasured(name)
        if way.needs_gpu and self.device.type != "cuda":
            return found | {"status": "needs a GPU"}
        if time.monotonic() > self.deadline:
            return found
        try:
            found |= self._speed(name, way)
            found["status"] = "measured"
            _forget()
            if self.checked and time.monotonic() < self.deadline:
                found["loss_apart"] = self._loss_apart(way)
        except Exception as error:
            found["status"] = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        _forget()
        return found

    def _speed(self, name: str, way: Way) -> dict[str, Any]:
        began = time.perf_counter()
        _reset_peak(self.device)
        training = Training(self.config, self.device)
        way.apply(training)
        training.step()
        first = time.perf_counter() - began
        training.step()
        steps = min(8, max(1, round(ROUND_SECONDS / _seconds(training, 1, self.device))))
        peak, own, others = _peak(self.device), [], []
        for _ in range(self.rounds):
            if self.plain is not None:
                others.append(_seconds(self.plain, steps, self.device))
            _reset_peak(self.device)
            own.append(_seconds(training, steps, self.device))
            peak = max(peak, _peak(self.device))
        if name == "plain":
            self.plain, others = training, own
        rate, median = self.config.batch_size / statistics.median(own), statistics.median
        return {
            "samples_per_second": round(rate, 1),
            "of_plain": round(median(others) / median(own), 3) if others else None,
            "spread": [round(self.config.batch_size / seconds, 1) for seconds in (max(own), min(own))],
            "peak_gb": round(peak / 1e9, 2) if self.device.type == "cuda" else None,
            "first_step_seconds": round(first, 1),
        }

    def _loss_apart(self, way: Way) -> float | None:
        without = self.config.encoder.model_copy(update={"dropout": 0.0})
        training = Training(self.config.model_copy(update={"encoder": without}), self.device)
        way.apply(training)
        losses = [training.step() for _ in range(CHECKED_STEPS)]
        if self.plain_losses is None:
            if self.plain is None:
                return None
            self.plain_losses = losses  # the plain one is the first
        return max(abs(a - b) / abs(b) for a, b in zip(losses, self.plain_losses, strict=True))


def in_turn(cases: list[tuple[int, str]], names: list[str]) -> list[tuple[tuple[int, str], str]]:
    """Cases (batch, precision) and ways, what matters most first: the time may run out.

    Quick ways at the first batch size and the plain one at all, compiling in the first precision, quick ways elsewhere,
    compiling elsewhere.
    """

    def rank(one: tuple[tuple[int, str], str]) -> int:
        case, name = one
        if WAYS[name].compiles:
            return 1 if case == cases[0] else 3
        return 0 if name == "plain" or case[0] == cases[0][0] else 2

    every = product(cases, dict.fromkeys(("plain", *names)))
    return sorted(((case, name) for case, name in every if case[1] in WAYS[name].precisions), key=rank)


def _seconds(training: Training, steps: int, device: torch.device) -> float:
    """Seconds of one of so many steps: between CUDA events, on a CPU between clock readings."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(steps):
            training.step()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3 / steps
    began = time.perf_counter()
    for _ in range(steps):
        training.step()
    return (time.perf_counter() - began) / steps


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def _forget() -> None:
    """Let go of a training that is done with, whose parts hold one another."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    keys = ("way", "batch", "precision", "samples_per_second", "of_plain", "peak_gb", "first_step_seconds")
    cells = [row.get(key) for key in keys]
    apart = row.get("loss_apart")
    cells += [None if apart is None else f"{apart:.1e}", row["status"][:60]]
    return f"| {' | '.join('-' if cell is None else str(cell) for cell in cells)} |"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--device", default="cuda")
    options.add_argument("--seconds", type=float, default=150, help="after which no further way is begun")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--batches", type=int, nargs="+", default=[128, 1024])
    options.add_argument("--only", nargs="+", choices=WAYS, help="beside the plain one")
    options.add_argument("--out", type=Path, default=Path("ways.json"))
    options.add_argument("--small", action="store_true", help="tiny sizes: the path and not the figures")
    given = options.parse_args()
    deadline = time.monotonic() + given.seconds
    device = pick(given.device)
    about = {
        "device": describe(device),
        "processor": processor_name(),
        "torch": torch.__version__,
        "commit": git_commit(),
        "small": given.small,
    }
    print(" ".join(f"{key}={value}" for key, value in about.items()), flush=True)
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}", flush=True)
    base = compose_pretrain(load_preset("quick"), None, TINY) if given.small else PretrainConfig()
    batches = [base.batch_size] if given.small else given.batches
    comparisons = {
        (batch, precision): Comparison(
            base.model_copy(update={"batch_size": batch, "precision": precision}),
            device,
            given.rounds,
            deadline,
            checked=batch == batches[0],
        )
        for batch, precision in product(batches, ("bf16", "fp32"))
    }
    planned = in_turn(list(comparisons), given.only or list(WAYS))
    rows = [comparisons[case].unmeasured(name) for case, name in planned]
    for place, (case, name) in enumerate(planned):
        rows[place] = comparisons[case].row(name, WAYS[name])
        print(line(rows[place]), flush=True)
        given.out.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
