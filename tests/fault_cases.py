"""What is killed, starved of disk and cut from power: every command that writes, on small data, each in its own folder."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import faults
import released

from pipeline import partitions
from pipeline.synth import write
from trainer import pretrain

CLIPS, RECORDINGS = 16, 4
NARROW = "encoder.hidden_channels=2 encoder.hidden_dim=8 encoder.feature_dim=4 method.mix.repeats=1"
TRAIN = (
    f"pretrain processed/s.zarr --preset quick --set frames=8 epochs=2 batch_size=4 {NARROW} method.mix.frames=[1,2]"
)
RUN = "runs/s-xsub-quick"
EXPORTS = {"npz": "s.npz", "ctrgcn": "c.npz", "hdf5": "s.h5", "pyskl": "s.pkl", "stgcn": "st"}


@dataclass(frozen=True)
class Case:
    """Commands, and what they make."""

    name: str
    commands: Sequence[str]
    outputs: Sequence[str]
    """Each of them is absent, the old or the complete new one, whatever happens."""
    before: Sequence[str] = ()
    """Commands that make what is there before."""

    def __str__(self) -> str:
        return self.name


def _export(form: str) -> Case:
    return Case(
        f"export {form}", [f"export processed/s.zarr --format {form} --out {EXPORTS[form]}"], [EXPORTS[form]], SPLIT
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
        ["export processed/s.zarr --format npz --out s.npz"],
        ["s.npz"],
        (*OTHER, "export processed/s.zarr --format npz --out s.npz", f"{STORE[0]} --force"),
    ),
    Case(
        "export stgcn over another",
        ["export processed/s.zarr --format stgcn --split xsub --out st"],
        ["st"],
        (*STORE, "export processed/s.zarr --format stgcn --split xview --out st", SPLIT[1]),
    ),
    Case("pretrain", [TRAIN], [], SPLIT),
    Case("pretrain --force over another run", [f"{TRAIN} seed=5 --force"], [], TRAINED),
    Case("eval", [EVALUATE], [f"{RUN}/eval/knn.json", f"{RUN}/eval/linear.classifier"], TRAINED),
    Case("embed", [f"embed {RUN} --store processed/s.zarr --out f.npz"], ["f.npz"], TRAINED),
    Case("predict", [f"predict {RUN} raw --out p.csv"], ["p.csv"], (*TRAINED, EVALUATE)),
    Case("import-weights", ["import-weights w.pt --source skelemixclr --out runs/w"], ["runs/w"]),
    Case("synth", ["synth ntu60 more --clips 4"], ["more"]),
)


class World:
    """Folders that look as they do before each case, and as they do after it undisturbed."""

    def __init__(self, place: Path) -> None:
        self.place = place
        partitions.RECORDINGS = RECORDINGS
        pretrain.CHECKPOINT_SECONDS = 0.0  # one after every step
        self.raw, self.weights = place / "raw", place / "w.pt"
        write("ntu60", self.raw, clips=CLIPS, seed=3)
        released.Checkpoint("skelemixclr", ("joint",)).save(self.weights)
        self._made: dict[tuple[str, ...], Path] = {}

    def before(self, case: Case) -> Path:
        """A folder as it is before a case; made once for all that want the same."""
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
        """A copy of that, in place of the last one."""
        folder = self.place / name
        shutil.rmtree(folder, ignore_errors=True)
        return Path(shutil.copytree(self.before(case), folder))
