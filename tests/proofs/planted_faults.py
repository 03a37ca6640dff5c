"""Disable each safety mechanism in turn: the proof that depends on it must fail. Exits 1 if one does not."""

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from pipeline.files import atomic, disk, locks
from tests.proofs import fault_cases, faults, full_disks, kill_points, power_cuts, two_writers
from tests.proofs.fault_cases import Disturb, Trial, World


@contextlib.contextmanager
def nothing(*_: Any, **__: Any) -> Iterator[None]:
    yield


@contextlib.contextmanager
def in_place(path: Path, **_: Any) -> Iterator[Path]:
    yield path


PLANTS: tuple[tuple[str, Callable[..., Any], Callable[..., Any], str, Disturb], ...] = (
    ("folders are not synced", disk.sync_folder, lambda folder: None, "export npz", power_cuts.cut),
    ("file contents are not synced", disk.sync_tree, lambda folder: None, "export stgcn", power_cuts.cut),
    ("files are written in place", atomic.atomic_path, in_place, "export npz over another", kill_points.kill),
    (
        "partial files of killed writers are not removed",
        atomic.remove_partials,
        lambda *_: None,
        "export npz",
        kill_points.kill,
    ),
    ("disk errors are not reported", disk.disk_errors, nothing, "export npz", full_disks.fail),
    ("outputs are not locked", locks.sole_writer, nothing, "ingest", two_writers.race),
)
"""Fault, disabled function, replacement, case, and the proof that must detect the fault."""


@contextlib.contextmanager
def replaced(original: Callable[..., Any], instead: Callable[..., Any]) -> Iterator[None]:
    """Replace a function in every module of the project that has imported it."""
    with contextlib.ExitStack() as patches:
        for module in list(sys.modules.values()):
            if module.__name__.startswith(("pipeline.", "trainer.")):
                for name in [name for name, value in vars(module).items() if value is original]:
                    patches.enter_context(patch.object(module, name, instead))
        yield


def main() -> int:
    asked = argparse.Namespace(steps=6, times=0, drawn=0, every=[], every_step=False, pairs=3, seed=0)
    faults.start()
    torch.set_num_threads(1)
    unnoticed = 0
    with tempfile.TemporaryDirectory(dir=faults.MEMORY) as place:
        world = World(Path(place))
        for what, original, instead, wanted, disturb in PLANTS:
            trial = Trial(world, next(case for case in fault_cases.CASES if case.name == wanted))
            with replaced(original, instead):
                if disturb is power_cuts.cut:  # it replays the record of an undisturbed run
                    trial = Trial(world, trial.case)
                disturb(trial, asked)
            print(f"{what}: {'noticed' if trial.found['BAD'] else 'NOT NOTICED'}", flush=True)
            unnoticed += not trial.found["BAD"]
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
