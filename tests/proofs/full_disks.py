"""Fail each call that changes the file system, one after the other, in every command that writes.

From that call on the disk is full, or read-only, or a single call fails with an I/O error. The command must then exit
with code 5 and one line that names the path (for a full disk also the free and the needed space), or it must have
finished its work. The checks are in fault_cases.py. Prints a table; exits 1 when anything fails.
"""

import argparse
import errno
import sys

from pipeline.errors import OutputFailed
from tests.proofs import fault_cases, faults
from tests.proofs.fault_cases import Trial

FAILURES = {"full": f"{errno.ENOSPC}+", "broken once": f"{errno.EIO}", "read-only": f"{errno.EROFS}+"}
HEADS = ("steps", "failed", "exit 5", "exit 0", "space named", "absent", "old", "new", "BAD")


def fail(trial: Trial, asked: argparse.Namespace) -> None:
    """Fail calls of a case in each way."""
    for way, do in FAILURES.items():
        for at in faults.spread(trial.steps, some(way, trial, asked)):
            trial.fresh()
            outcome = faults.run(trial.case.commands, trial.folder, at=at, do=do)
            trial.found["failed"] += 1
            trial.found[f"exit {outcome.code}"] += 1
            trial.found["space named"] += "needs about" in outcome.said
            trouble = []
            if outcome.code not in {0, OutputFailed.exit_code}:
                trouble.append(f"exit {outcome.code}: {outcome.said.strip()}")
            elif outcome.code:
                trouble = untold(way, outcome.said)
            trial.judge(f"{way} at step {at}", must_be_new=outcome.code == 0, trouble=trouble)


def some(way: str, trial: Trial, asked: argparse.Namespace) -> int:
    """Return the number of steps to fail, 0 for all: `--every` applies to all cases except variants of `ingest`."""
    return 0 if way in asked.every and trial.case.name not in fault_cases.ABOUT_INGEST else asked.steps


def untold(way: str, said: str) -> list[str]:
    """List what is missing from the message of a failed write."""
    lines = [line for line in said.splitlines() if line.startswith("Error: ")]
    if "Traceback" in said or len(lines) != 1:
        return [f"not one line: {said.strip()}"]
    wanted = {"full": "No space left on device (", "broken once": "Input/output error", "read-only": "Read-only"}[way]
    lacking = [part for part in (wanted, "cannot be written: ") if part not in lines[0]]
    lacking += ["MB free"] if way == "full" and "MB free" not in lines[0] else []
    return [f"the message lacks {', '.join(lacking)}: {lines[0]}"] if lacking else []


if __name__ == "__main__":
    asking = fault_cases.parser(__doc__)
    asking.add_argument("--steps", type=int, default=0, help="number of steps to fail in each way and case; 0: all")
    asking.add_argument(
        "--every", nargs="*", default=[], choices=FAILURES, help="ways of failure that are tested at every step"
    )
    sys.exit(fault_cases.prove(asking.parse_args(), HEADS, fail))
