"""Run the demo and every other command that writes twice and compare all files byte by byte.

The two runs use different folders, 1 and 2 workers, fresh processes and different hash seeds. In the log of a
training only the speed may differ. Prints a table; exits 1 when anything differs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.proofs import faults
from tests.proofs.fault_cases import EXPORTS
from trainer.pretrain import pretrain as pretrain_module
from trainer.terminal.demo import demo_commands

TESTS = Path(__file__).parents[1]
RUN = "runs/ntu60-xsub-demo"
AFTER = (
    "build-splits --label-fraction 0.1 0.5 --seed 0 1",
    f"eval {RUN} --protocol retrieval semi finetune --label-fraction 0.5 --set semi.epochs=1 finetune.epochs=1",
    f"embed {RUN} --store processed/ntu60.zarr --out features.npz",
    f"predict {RUN} raw --out labels.csv",
    f"export {RUN} --format onnx --classifier linear --out exports/classifier.onnx",
    *(f"export processed/ntu60.zarr --format {form} --out exports/{out}" for form, out in EXPORTS.items()),
)


def commands(clips: int, epochs: int, workers: int) -> Iterator[str]:
    """Yield all commands, with `--workers` where a command supports it."""
    for command in (*demo_commands(clips, epochs), *AFTER):
        yield f"{command} --workers {workers}" if command.startswith(("ingest", "pretrain")) else command


def way(folder: Path, clips: int, epochs: int, workers: int) -> int:
    """Run all commands in a folder; return the exit code of the first that fails, or 0."""
    os.chdir(folder)
    pretrain_module.CHECKPOINT_SECONDS = float("inf")  # timed checkpoints depend on the machine's speed
    return faults.first_failure([*commands(clips, epochs, workers)])


def compare(one: dict[str, str], two: dict[str, str]) -> list[str]:
    """List the files whose checksums differ."""
    return sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))


def prove(clips: int, epochs: int) -> int:
    with tempfile.TemporaryDirectory() as place:
        found = []
        for number, workers in enumerate((1, 2)):
            folder = Path(place) / f"folder{number}"
            folder.mkdir()
            asked = [f"--way={folder}", f"--workers={workers}", f"--clips={clips}", f"--epochs={epochs}"]
            environment = os.environ | {"PYTHONHASHSEED": str(number + 1), "PYTHONPATH": str(TESTS.parent)}
            done = subprocess.run(
                [sys.executable, "-m", "tests.proofs.same_bytes", *asked],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                print(f"with {workers} workers: exit code {done.returncode}\n{done.stdout}{done.stderr}")
                return 1
            found.append(faults.bytes_of(folder))
        print(f"{'folder':24}{'files':>8}{'differ':>8}")
        differ = compare(*found)
        for top in sorted({name.split("/")[0] for name in found[0] | found[1]}):
            counts = [sum(name.split("/")[0] == top for name in names) for names in (found[0], differ)]
            print(f"{top:24}" + "".join(f"{count:8,}" for count in counts))
        print(f"{'all':24}{len(found[0]):8,}{len(differ):8,}", *differ[:20], sep="\n")
        return 1 if differ else 0


if __name__ == "__main__":
    asking = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asking.add_argument("--clips", type=int, default=240)
    asking.add_argument("--epochs", type=int, default=40)
    asking.add_argument("--way", type=Path, help="only run the commands in this folder")
    asking.add_argument("--workers", type=int, default=1)
    asked = asking.parse_args()
    if asked.way:
        sys.exit(way(asked.way, asked.clips, asked.epochs, asked.workers))
    sys.exit(prove(asked.clips, asked.epochs))
