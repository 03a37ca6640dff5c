"""Commands that write files, on small data, and the checks after each fault.

After any fault, each output is absent, the complete old one or the complete new one; each published checkpoint is
whole; running the same commands again ends with the bytes of an undisturbed run in every file and leaves no other
files.
"""

import argparse
import gc
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.artifacts.paths import CHECKPOINTS_FOLDER
from pipeline.ingest import partitions
from pipeline.store.verify import verify
from pipeline.synth.synth import write
from tests.proofs import faults
from tests.proofs.faults import Outcome, Record
from tests.support import released_checkpoints
from trainer.pretrain import pretrain as pretrain_module

CLIPS, RECORDINGS = 16, 4
Tree = dict[str, bytes | None]
"""Path: content, or None for a folder."""
NARROW = "encoder.hidden_channels=2 encoder.hidden_dim=8 encoder.feature_dim=4 method.mix.repeats=1"
TRAIN = (
    f"pretrain processed/s.zarr --preset quick --set frames=8 epochs=2 batch_size=4 {NARROW} method.mix.frames=[1,2]"
)
RUN = "runs/s-xsub-quick"
EXPORTS = {"npz": "s.npz", "ctrgcn": "c.npz", "hdf5": "s.h5", "pyskl": "s.pkl", "stgcn": "st"}


@dataclass(frozen=True)
class Case:
    """Commands and their outputs."""

    name: str
    commands: Sequence[str]
    outputs: Sequence[str]
    """After a fault each output is absent, the old one or the complete new one."""
    before: Sequence[str] = ()
    """Commands that prepare the folder."""

    def __str__(self) -> str:
        return self.name


def _export(form: str) -> Case:
    return Case(
        f"export {form}",
        [f"export processed/s.zarr --format {form} --out {EXPORTS[form]} --force"],
        [EXPORTS[form]],
        SPLIT,
    )


STORE = ("ingest ntu60 raw --out processed/s.zarr",)
SPLIT = (*STORE, "build-splits processed/s.zarr --split xsub")
TRAINED = (*SPLIT, TRAIN)
EVALUATE = "eval runs/s-xsub-quick --protocol knn linear --set linear.epochs=2"
OTHER = ("ingest ntu60 raw --recipe none --out processed/s.zarr",)
SPLITS = [
    f"processed/splits/s/{name}{part}.json"
    for name in ("xsub", "xview")
    for part in ("", ".train-0.5.seed0", ".train-0.5.seed1")
]
FRACTIONS = "build-splits processed/s.zarr --label-fraction 0.5 --seed 0 1"

CASES = (
    Case("ingest", STORE, ["processed/s.zarr"]),
    Case("ingest, two workers", (f"{STORE[0]} --workers 2",), ["processed/s.zarr"]),
    Case("ingest --force over another store", (f"{STORE[0]} --force",), ["processed/s.zarr"], OTHER),
    Case(
        "two jobs and finalise",
        (*(f"{STORE[0]} --partition {k}/2" for k in (1, 2)), "finalise processed/s.zarr"),
        ["processed/s.zarr"],
    ),
    Case("build-splits", [FRACTIONS], SPLITS, STORE),
    Case(
        "build-splits over another store's",
        [FRACTIONS],
        SPLITS,
        (*OTHER, FRACTIONS, f"{STORE[0]} --force"),
    ),
    *(_export(form) for form in EXPORTS),
    Case(
        "export npz over another",
        ["export processed/s.zarr --format npz --out s.npz --force"],
        ["s.npz"],
        (*OTHER, "export processed/s.zarr --format npz --out s.npz", f"{STORE[0]} --force"),
    ),
    Case(
        "export stgcn over another",
        ["export processed/s.zarr --format stgcn --split xsub --out st --force"],
        ["st"],
        (*STORE, "export processed/s.zarr --format stgcn --split xview --out st", SPLIT[1]),
    ),
    Case("pretrain", [TRAIN], [], SPLIT),
    Case("pretrain --force over another run", [f"{TRAIN} seed=5 --force"], [], TRAINED),
    Case("eval", [EVALUATE], [f"{RUN}/eval/knn-*.json", f"{RUN}/eval/linear-????????.classifier"], TRAINED),
    Case("embed", [f"embed {RUN} --store processed/s.zarr --out f.npz --force"], ["f.npz"], TRAINED),
    Case("export onnx", [f"export {RUN} --format onnx --out e.onnx --force"], ["e.onnx"], TRAINED),
    Case("predict", [f"predict {RUN} raw --out p.csv --force"], ["p.csv"], (*TRAINED, EVALUATE)),
    Case(
        "report",
        [f"report {RUN}", "report processed/s.zarr --raw raw"],
        [f"{RUN}/report.html", "processed/s.report.html"],
        (*TRAINED, EVALUATE),
    ),
    Case("import-weights", ["import-weights w.pt --source skelemixclr --out runs/w"], ["runs/w"]),
    Case("synth", ["synth ntu60 more --clips 4"], ["more"]),
    Case("convert", ["convert kinect-v1 msr --out own"], ["own"], ["synth kinect-v1 msr --clips 4"]),
)


class World:
    """Prepared folders for all cases."""

    def __init__(self, place: Path) -> None:
        self.place = place
        partitions.MAX_RECORDINGS = RECORDINGS
        pretrain_module.CHECKPOINT_SECONDS = 0.0  # a checkpoint after every step
        self.raw, self.weights = place / "raw", place / "w.pt"
        write("ntu60", self.raw, clips=CLIPS, seed=3)
        released_checkpoints.Checkpoint("skelemixclr", ("joint",)).save(self.weights)
        self._made: dict[tuple[str, ...], Path] = {}

    def before(self, case: Case) -> Path:
        """Return the prepared folder of a case; cases with the same preparation share it."""
        wanted = tuple(case.before)
        if wanted not in self._made:
            folder = self.place / f"before-{len(self._made)}"
            folder.mkdir()
            shutil.copytree(self.raw, folder / "raw")
            shutil.copy2(self.weights, folder)
            faults.quiet(wanted, folder)
            self._made[wanted] = folder
        return self._made[wanted]

    def fresh(self, case: Case, name: str = "now") -> Path:
        """Replace the working folder with a new copy of the prepared folder."""
        folder = self.place / name
        shutil.rmtree(folder, ignore_errors=True)
        return Path(shutil.copytree(self.before(case), folder))


class Trial:
    """One case: run once undisturbed, then repeatedly with faults, each time from the start."""

    def __init__(self, world: World, case: Case) -> None:
        self.world, self.case = world, case
        self.found: Counter[str] = Counter()
        self.folder = world.fresh(case)
        faults.quiet(case.commands, self.folder)  # imports and compiles everything before processes are forked
        self.fresh()
        self.old = self._read_outputs()
        outcome = faults.run(case.commands, self.folder, log=world.place / "log", no_network=True)
        if outcome.code or outcome.network:
            raise SystemExit(f"{case}: used the network or failed without a fault: {outcome}")
        self.steps = self.found["steps"] = outcome.steps
        self.records: list[Record] = faults.records(world.place / "log")
        self.new = self._read_outputs()
        self.whole, self.there = faults.bytes_of(self.folder), names(self.folder)
        self.after: Tree = {path.relative_to(self.folder).as_posix(): _content(path) for path in self.folder.rglob("*")}

    def _read_outputs(self) -> dict[str, dict[str, str]]:
        """Checksums of the outputs, which are named by patterns."""
        paths = [path for pattern in self.case.outputs for path in self.folder.glob(pattern)]
        return {path.relative_to(self.folder).as_posix(): faults.bytes_of(path) for path in paths}

    def fresh(self) -> None:
        """Put everything back to where it was before."""
        self.world.fresh(self.case)

    def again(self) -> Outcome:
        """Run the case's commands in what there is."""
        return faults.run(self.case.commands, self.folder)

    def judge(self, when: str, checkpoint: str = "", *, must_be_new: bool = False, trouble: Sequence[str] = ()) -> None:
        """Look at what a disturbance has left, and at what the same commands make of it.

        Args:
            when: it came, in words.
            checkpoint: the newest that had been published for good; it, or a newer one, must be there.
            must_be_new: the commands had ended well: every output must be there.
            trouble: what is known to be wrong already.
        """
        trouble = [*trouble, *self._outputs(must_be_new), *self._checkpoints(checkpoint)]
        again = self.again()
        if again.code and not (self.case.name in ("synth", "convert") and "not an empty folder" in again.said):
            trouble.append(f"the next run failed: {again.said.strip()}")
        whole, there = faults.bytes_of(self.folder), names(self.folder)
        changed = sorted(name for name in whole.keys() & self.whole.keys() if whole[name] != self.whole[name])
        trouble += [f"different bytes in {', '.join(changed[:3])}"] if changed else []
        trouble += (
            [f"additional or missing: {', '.join(sorted(there ^ self.there)[:4])}"] if there != self.there else []
        )
        if trouble:
            self.found["BAD"] += 1
            print(f"{self.case}, {when}: {'; '.join(trouble)}", flush=True)

    def _outputs(self, must_be_new: bool) -> list[str]:
        trouble = []
        for name in self.new:
            path = self.folder / name
            found = faults.bytes_of(path) if path.exists() else None
            states = {"absent": None, "old": self.old.get(name), "new": self.new[name]}
            state = next((state for state, wanted in states.items() if found == wanted), "MIXED")
            self.found[state] += 1
            if state == "MIXED" or (must_be_new and state != "new"):
                trouble.append(f"{name} is {state}")
        return trouble

    def _checkpoints(self, newest: str) -> list[str]:
        """Check the checkpoints of the run: none may be damaged or lost."""
        if self.case.outputs:
            return []
        there = sorted((self.folder / RUN / CHECKPOINTS_FOLDER).glob("step-*"))
        trouble = [f"{path.name}: {finding}" for path in there for finding in verify(path).findings]
        if newest and not (there and there[-1].name >= newest):
            trouble.append(f"{newest} is lost")
        return trouble


def _content(path: Path) -> bytes | None:
    return None if path.is_dir() else path.read_bytes()


def names(folder: Path) -> set[str]:
    """Return the relative paths of all files and folders."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


Disturb = Callable[[Trial, argparse.Namespace], None]
ABOUT_INGEST = ("ingest, two workers", "ingest --force over another store", "two jobs and finalise")
"""Cases that are similar to `ingest`."""


def parser(about: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all proofs share."""
    asking = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    asking.add_argument("--cases", nargs="+", choices=[case.name for case in CASES], help="run only these cases")
    asking.add_argument("--seed", type=int, default=0)
    return asking


def prove(asked: argparse.Namespace, heads: Sequence[str], *disturbances: Disturb) -> int:
    """Run each case with faults and print a table of counts; return 1 if anything failed."""
    faults.start()
    torch.set_num_threads(1)
    print(f"{'case':42}" + "".join(f"{head:>14}" for head in heads), flush=True)
    total = Counter[str]()
    with tempfile.TemporaryDirectory(dir=faults.MEMORY) as place:
        world = World(Path(place))
        for case in CASES:
            if asked.cases and case.name not in asked.cases:
                continue
            trial = Trial(world, case)
            gc.collect()
            gc.freeze()  # garbage collection in forked processes would copy memory pages
            for disturb in disturbances:
                disturb(trial, asked)
            print(f"{case!s:42}" + "".join(f"{trial.found[head]:14,}" for head in heads), flush=True)
            total += trial.found
    print(f"{'all':42}" + "".join(f"{total[head]:14,}" for head in heads))
    return 1 if total["BAD"] else 0
