"""Kill every command that writes at each step of its writing and at random times.

Each kill is a SIGKILL to the whole process group: before a change of the file system, in the middle of a write, or
after a random time. The checks are in fault_cases.py. Prints a table; exits 1 when anything fails.
"""

import argparse
import os
import random
import signal
import sys
import time
from pathlib import Path

from tests.proofs import fault_cases, faults
from tests.proofs.fault_cases import Trial

HEADS = ("steps", "killed", "ended before", "absent", "old", "new", "BAD")


def kill(trial: Trial, asked: argparse.Namespace) -> None:
    """Kill the commands of a case at single steps and at random times."""
    several = "two workers" in trial.case.name  # the order of records is not deterministic
    for at in faults.spread(trial.steps, asked.steps):
        torn = at % 2 and not several and trial.records[at - 1].what == faults.WRITE
        trial.fresh()
        do = "torn" if torn else "kill"
        code = faults.run(trial.case.commands, trial.folder, at=at, do=do).code
        count(trial, code)
        trial.judge(f"killed at step {at} ({do})", published(trial, at - 1))
    chance, took = random.Random(asked.seed), seconds(trial)
    for _ in range(asked.times):
        trial.fresh()
        when = chance.uniform(0, took)
        child, notes = faults.launch(trial.case.commands, trial.folder)
        time.sleep(when)
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:  # the process group does not exist yet
            os.kill(child, signal.SIGKILL)
        done = int.from_bytes((notes / "state").read_bytes()[:8], "little")
        count(trial, faults.ended(child))
        trial.judge(f"killed after {when:.4f} s", published(trial, done - 1))


def seconds(trial: Trial) -> float:
    """Return the duration of the undisturbed case."""
    trial.fresh()
    began = time.perf_counter()
    trial.again()
    return time.perf_counter() - began


def count(trial: Trial, code: int) -> None:
    trial.found["killed" if code == -signal.SIGKILL else "ended before"] += 1


def published(trial: Trial, steps: int) -> str:
    """Return the newest checkpoint that the undisturbed run had published after `steps` steps."""
    done = trial.records[: max(steps, 0)]
    renamed = [Path(record.second).name for record in done if record.what == faults.RENAME]
    return max((name for name in renamed if name.startswith("step-")), default="")


if __name__ == "__main__":
    asking = fault_cases.parser(__doc__)
    asking.add_argument("--steps", type=int, default=0, help="number of steps at which each case is killed; 0: all")
    asking.add_argument("--times", type=int, default=10, help="number of kills at random times for each case")
    sys.exit(fault_cases.prove(asking.parse_args(), HEADS, kill))
