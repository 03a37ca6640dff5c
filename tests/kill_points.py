"""Kill every command that writes at every step of its writing and at random times: what is left must be whole.

Each kill is a SIGKILL to the whole process group: before a change of the file system, in the middle of a write, or when
time has come. Afterwards each output must be absent, the old one or the complete new one, and each checkpoint that had
been published must still be there, whole; the same commands again must end in the bytes of an uninterrupted run, in
every file, and leave nothing beside them. Prints a table; exits 1 when anything fails.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import fault_cases
import faults
import torch
from fault_cases import RUN, Case, World

from pipeline.verify import CHECKPOINTS, verify

HEADS = ("steps", "killed", "ended before", "absent", "old", "new", "resumed", "BAD")


class Trial:
    """Kills of one case, each in a fresh copy of what stood there before."""

    def __init__(self, world: World, case: Case) -> None:
        self.world, self.case = world, case
        self.found: Counter[str] = Counter()
        self.folder = world.fresh(case)
        self.old = {name: faults.bytes_of(self.folder / name) for name in case.outputs if (self.folder / name).exists()}
        self.log = world.place / "log"
        began = time.perf_counter()
        outcome = faults.run(case.commands, self.folder, log=self.log)
        self.seconds = time.perf_counter() - began
        if outcome.code:
            raise SystemExit(f"{case}: does not even run undisturbed: {outcome.said}")
        self.steps = self.found["steps"] = outcome.steps
        self.records = faults.records(self.log)
        self.new = {name: faults.bytes_of(self.folder / name) for name in case.outputs}
        self.whole, self.there = faults.bytes_of(self.folder), names(self.folder)

    def kill_at_step(self, at: int, do: str = "kill") -> None:
        self.folder = self.world.fresh(self.case)
        outcome = faults.run(self.case.commands, self.folder, at=at, do=do)
        self.look(outcome.code, f"step {at} ({do})", self.published(at - 1))

    def kill_at_time(self, seconds: float) -> None:
        self.folder = self.world.fresh(self.case)
        child, notes = faults.launch(self.case.commands, self.folder)
        time.sleep(seconds)
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:  # it has no group yet
            os.kill(child, signal.SIGKILL)
        done = int.from_bytes((notes / "state").read_bytes()[:8], "little")
        self.look(faults.ended(child), f"{seconds:.4f} s", self.published(done - 1))

    def published(self, steps: int) -> str:
        """The newest checkpoint that the undisturbed run had published, in its first so many steps and for good."""
        renames = [record.second for record in self.records[: max(steps, 0)] if record.what == faults.RENAME]
        return max((Path(name).name for name in renames if Path(name).name.startswith("step-")), default="")

    def look(self, code: int, when: str, checkpoint: str) -> None:
        """What the kill has left, and what the same commands make of it."""
        trouble = []
        for name in self.case.outputs:
            path = self.folder / name
            found = faults.bytes_of(path) if path.exists() else None
            known = {"absent": None, "old": self.old.get(name), "new": self.new[name]}
            state = next((state for state, wanted in known.items() if found == wanted), "MIXED")
            self.found[state] += 1
            trouble += [f"{name} is {state}"] * (state == "MIXED")
        self.found["killed" if code == -signal.SIGKILL else "ended before"] += 1
        trouble += self.checkpoints(checkpoint)
        again = faults.run(self.case.commands, self.folder)
        refused = self.case.name == "synth" and again.code == 1 and "not an empty folder" in again.said
        if again.code and not refused:
            trouble.append(f"the next run failed: {again.said.strip()}")
        self.found["resumed"] += 1
        whole, there = faults.bytes_of(self.folder), names(self.folder)
        changed = sorted(name for name in whole.keys() & self.whole.keys() if whole[name] != self.whole[name])
        trouble += [f"other bytes in {', '.join(changed[:3])}"] if changed else []
        trouble += [f"left or lost: {', '.join(sorted(there ^ self.there)[:4])}"] if there != self.there else []
        if trouble:
            self.found["BAD"] += 1
            print(f"{self.case}, killed at {when}: {'; '.join(trouble)}", flush=True)

    def checkpoints(self, newest: str) -> list[str]:
        """What is wrong with the checkpoints of the case's own run: none may be damaged, and none be lost."""
        if self.case.outputs:
            return []
        there = sorted((self.folder / RUN / CHECKPOINTS).glob("step-*"))
        trouble = [f"{path.name}: {finding}" for path in there for finding in verify(path).findings]
        if newest and not (there and there[-1].name >= newest):
            trouble.append(f"{newest} is lost")
        return trouble


def names(folder: Path) -> set[str]:
    """Every file and folder that lies there."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def row(head: str, found: Mapping[str, int]) -> str:
    return f"{head:42}" + "".join(f"{found[name]:14,}" for name in HEADS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=0, help="kills at steps, for each case; 0: at every one")
    parser.add_argument("--times", type=int, default=10, help="kills at random times, for each case")
    parser.add_argument("--cases", nargs="+", default=[], help="only the cases whose names begin so")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    faults.start()
    torch.set_num_threads(1)
    print(f"{'case':42}" + "".join(f"{head:>14}" for head in HEADS), flush=True)
    total, chance = Counter[str](), random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name))
        for case in fault_cases.CASES:
            if asked.cases and not case.name.startswith(tuple(asked.cases)):
                continue
            faults.quiet(case.commands, world.fresh(case))
            trial = Trial(world, case)
            for at in faults.spread(trial.steps, asked.steps):
                writes = case.name != "ingest, two workers" and trial.records[at - 1].what == faults.WRITE
                trial.kill_at_step(at, "torn" if writes and at % 2 else "kill")
            for _ in range(asked.times):
                trial.kill_at_time(chance.uniform(0, trial.seconds))
            print(row(str(case), trial.found), flush=True)
            total += trial.found
    print(row("all", total))
    return 1 if total["BAD"] else 0


if __name__ == "__main__":
    sys.exit(main())
