"""`skelepipe bench`: every part of the work timed on this machine, beside how the peers do it."""

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
    parts: Sequence[str],
    device: torch.device,
    *,
    rounds: int = 3,
    batch: int | None = None,
    small: bool = False,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Time some of ingest, load, train and eval.

    Args:
        parts: in which order.
        device: that trains and encodes; an ingest runs on the CPU.
        rounds: how often each way is timed.
        batch: clips of a full-width step; by the kind of device when not given.
        small: tiny sizes, to try the way.
        progress: told what is being timed.

    Returns:
        machine, rounds, small, and for each part its rows, `pipeline.bench.Row` as plain data.
    """
    found: dict[str, list[Row]] = {}
    for part in parts:
        if part == "ingest":
            found[part] = ingest_suite.bench_ingest(rounds, progress, small=small)
        elif part == "load":
            found[part] = load.bench_load(rounds, progress, device, small=small)
        elif part == "train":
            found[part] = train.bench_train(rounds, progress, device, small=small, batch=batch)
        else:
            found[part] = evaluate.bench_evaluate(rounds, progress, device, small=small)
    machine = {
        **timing.describe_machine(),
        "device": describe_device(device),
        "torch": torch.__version__,
        "skelepipe": importlib.metadata.version("skelepipe"),
        "date": datetime.now(UTC).date().isoformat(),
    }
    rows = {part: [asdict(row) for row in several] for part, several in found.items()}
    return {"machine": machine, "rounds": rounds, "small": small, "parts": rows}
