"""Start every command that writes twice at once on the same output: one works, the other exits with code 6.

Both may succeed if the second started after the first had ended, or if the command waits for its turn (`eval`). The
output is then the complete new one, and no other files remain. Prints a table; exits 1 when anything fails.
"""

import argparse
import random
import shutil
import sys
import time
from collections.abc import Callable

from pipeline.errors import OutputLocked
from tests.proofs import fault_cases, faults
from tests.proofs.fault_cases import Trial, names

HEADS = ("pairs", "one stopped", "both ended", "new", "BAD")
LOCKED = OutputLocked.exit_code
GATE = 0.2
"""Seconds until both processes start; both are forked by then."""


def waiting(until: float) -> Callable[[], None]:
    """Return a function that waits until a time of the monotonic clock, which all processes share."""

    def wait() -> None:
        time.sleep(max(0.0, until - time.monotonic()))

    return wait


def race(trial: Trial, asked: argparse.Namespace) -> None:
    """Run a case twice at the same time, `--pairs` times."""
    chance = random.Random(asked.seed)
    for number in range(asked.pairs):
        trial.fresh()
        start = time.monotonic() + GATE
        late = start + chance.choice([0, 0, 0.001, 0.01])
        first, notes = faults.launch(trial.case.commands, trial.folder, before=waiting(start))
        second, more = faults.launch(trial.case.commands, trial.folder, before=waiting(late))
        codes = sorted(faults.ended(child) for child in (first, second))
        said = [(folder / "stderr").read_text() for folder in (notes, more)]
        for folder in (notes, more):
            shutil.rmtree(folder)
        trial.found["pairs"] += 1
        trial.found["one stopped"] += codes == [0, LOCKED]
        trial.found["both ended"] += codes == [0, 0]
        trouble = []
        refused = trial.case.name in ("synth", "convert") and codes == [
            0,
            1,
        ]  # an existing data set is not overwritten
        if codes not in ([0, 0], [0, LOCKED]) and not refused:
            trouble.append(f"exit codes {codes}: {said}")
        if LOCKED in codes and not any("another process is" in told or "still running" in told for told in said):
            trouble.append(f"the message does not name the reason: {said}")
        if faults.bytes_of(trial.folder) != trial.whole or names(trial.folder) != trial.there:
            trouble.append(f"different, additional or missing files: {sorted(names(trial.folder) ^ trial.there)[:4]}")
        trial.judge(f"pair {number}", must_be_new=True, trouble=trouble)


if __name__ == "__main__":
    asking = fault_cases.parser(__doc__)
    asking.add_argument("--pairs", type=int, default=50, help="number of pairs for each case")
    sys.exit(fault_cases.prove(asking.parse_args(), HEADS, race))
