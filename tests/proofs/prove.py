"""Run all proofs in full, two at a time, the longest first; write their tables to the terminal and to `proof/`.

Takes under an hour on two cores. Exits 1 when a proof fails.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TESTS = Path(__file__).parents[1]
PROOF = TESTS.parent / "proof"
AT_ONCE = 2
PROVERS: dict[str, list[str]] = {
    "kill_points": ["--times", "5"],
    "power_cuts": ["--every-step", "--steps", "12", "--drawn", "1"],
    "full_disks": ["--steps", "10", "--every", "full"],
    "resume_points": ["--kills", "100"],
    "same_bytes": [],
    "two_writers": ["--pairs", "10"],
    "bit_flips": ["--flips", "2400"],
    "planted_faults": [],
}


def run(name: str) -> bool:
    """Run one proof; return whether it succeeded."""
    began = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(TESTS.parent), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    with (PROOF / f"{name}.txt").open("w") as kept:
        done = subprocess.run(
            [sys.executable, "-m", f"tests.proofs.{name}", *PROVERS[name]],
            env=environment,
            stdout=kept,
            stderr=subprocess.STDOUT,
            check=False,
        )
    minutes = (time.monotonic() - began) / 60
    head = f"== {name} {' '.join(PROVERS[name])}: {'good' if done.returncode == 0 else 'FAILED'}, {minutes:.1f} min"
    print(head, (PROOF / f"{name}.txt").read_text(), sep="\n", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    PROOF.mkdir(exist_ok=True)
    with ThreadPoolExecutor(AT_ONCE) as lanes:
        good = [*lanes.map(run, PROVERS)]
    sys.exit(0 if all(good) else 1)
