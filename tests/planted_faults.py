"""Take away what the promises rest on, one thing after the other: each prover must notice. Exits 1 if one does not."""

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import fault_cases
import faults
import full_disks
import kill_points
import power_cuts
import torch
import two_writers
from fault_cases import Disturb, Trial, World

from pipeline import publish


@contextlib.contextmanager
def nothing(*_: Any, **__: Any) -> Iterator[None]:
    yield


@contextlib.contextmanager
def in_place(path: Path, **_: Any) -> Iterator[Path]:
    yield path


PLANTS: tuple[tuple[str, str, Callable[..., Any], str, Disturb], ...] = (
    ("names are not synced", "sync_folder", lambda folder: None, "export npz", power_cuts.cut),
    ("contents are not synced", "sync_tree", lambda folder: None, "export stgcn", power_cuts.cut),
    ("files are written in place", "whole_file", in_place, "export npz over another", kill_points.kill),
    ("what killed writers leave stays", "forget_partials", lambda *_: None, "export npz", kill_points.kill),
    ("the disk's refusals are not told", "disk_errors", nothing, "export npz", full_disks.fail),
    ("nobody holds a lock", "sole_writer", nothing, "ingest", two_writers.race),
)
"""What is taken away, how `publish` calls it, what stands in its place, the case that shows it, and who must notice."""


def main() -> int:
    asked = argparse.Namespace(steps=6, times=0, drawn=0, every=[], every_step=False, pairs=3, seed=0)
    faults.start()
    torch.set_num_threads(1)
    unnoticed = 0
    with tempfile.TemporaryDirectory(dir=faults.MEMORY) as place:
        world = World(Path(place))
        for what, name, instead, wanted, disturb in PLANTS:
            trial = Trial(world, next(case for case in fault_cases.CASES if case.name == wanted))
            with patch.object(publish, name, instead):
                if disturb is power_cuts.cut:  # which looks at the record of an undisturbed run
                    trial = Trial(world, trial.case)
                disturb(trial, asked)
            print(f"{what}: {'noticed' if trial.found['BAD'] else 'NOT NOTICED'}", flush=True)
            unnoticed += not trial.found["BAD"]
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
