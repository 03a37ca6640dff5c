"""Run the suites of `skelepipe bench`: measure ingest, loading, training and evaluation on this machine."""

import importlib.metadata
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import torch

from trainer.bench import evaluate, load, timing, train
from trainer.bench import ingest as ingest_suite
from trainer.bench.timing import Progress, Row
from trainer.runtime.device import describe_device


def run_suites(
    suites: Sequence[str],
    device: torch.device,
    *,
    rounds: int = 3,
    batch: int | None = None,
    small: bool = False,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Measure some of ingest, load, train and eval.

    Args:
        suites: names, in the order to run them.
        device: for training and encoding; an ingest runs on the CPU.
        rounds: how often each variant is measured.
        batch: batch size of a full-width step; None: depends on the device.
        small: use tiny sizes, to test the command.
        progress: called with a description of the current measurement.

    Returns:
        machine, rounds, small, and as `parts` the rows of each suite: `trainer.bench.timing.Row` as plain data.
    """
    found: dict[str, list[Row]] = {}
    for suite in suites:
        if suite == "ingest":
            found[suite] = ingest_suite.bench_ingest(rounds, progress, small=small)
        elif suite == "load":
            found[suite] = load.bench_load(rounds, progress, device, small=small)
        elif suite == "train":
            found[suite] = train.bench_train(rounds, progress, device, small=small, batch=batch)
        else:
            found[suite] = evaluate.bench_evaluate(rounds, progress, device, small=small)
    machine = {
        **timing.describe_machine(),
        "device": describe_device(device),
        "torch": torch.__version__,
        "skelepipe": importlib.metadata.version("skelepipe"),
        "date": datetime.now(UTC).date().isoformat(),
    }
    rows = {suite: [asdict(row) for row in rows] for suite, rows in found.items()}
    return {"machine": machine, "rounds": rounds, "small": small, "parts": rows}
