"""Short forms of kill_points, power_cuts, full_disks and two_writers, for some of the cases."""

import sys

from tests.proofs import fault_cases, full_disks, kill_points, power_cuts, two_writers

HEADS = ("steps", "killed", "states", "failed", "exit 5", "pairs", "one stopped", "absent", "old", "new", "BAD")
CASES = ("ingest --force over another store", "build-splits over another store's", "export npz", "pretrain", "eval")

if __name__ == "__main__":
    asked = fault_cases.parser(__doc__).parse_args(["--cases", *CASES])
    asked.steps, asked.times, asked.drawn, asked.every, asked.every_step, asked.pairs = 2, 1, 0, [], False, 1
    ways = (kill_points.kill, power_cuts.cut, full_disks.fail, two_writers.race)
    sys.exit(fault_cases.prove(asked, HEADS, *ways))
