"""Peak memory and time of every command that reads a whole store, on a store of NTU RGB+D 120's size.

Run: python -m benchmarks.speed.memory FOLDER [--clips N]

The store repeats 240 synthetic clips. FOLDER needs 25 GB; it is not removed.
"""

import argparse
import os
import sys
from pathlib import Path

from benchmarks.measure import ROOT, watch
from pipeline.store.store import Store
from trainer.bench.synthetic_store import repeat_store

NTU120_CLIPS = 113_945
RUN = (
    "pretrain big.zarr --preset quick --split xsub --out run --set epochs=1 batch_size=512 frames=16 bodies=2"
    " encoder.hidden_channels=1 encoder.hidden_dim=8 encoder.feature_dim=4 method.mix.frames=[1,3]"
)
COMMANDS = (
    "build-splits big.zarr",
    "inspect big.zarr",
    "verify big.zarr",
    "view big.zarr --html view.html --force",
    "report big.zarr --out store.html --force",
    "export big.zarr --format pyskl --out big.pkl --force",
    "export big.zarr --format hdf5 --out big.h5 --force",
    "export big.zarr --format npz --out big.npz --force",
    RUN,
    "embed run --store big.zarr --out features.npz --force",
    "eval run --protocol knn --no-baselines --batch-norm trained",
    "report run --out run.html --force",
)


def main() -> None:
    """Write the store, run each command, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=NTU120_CLIPS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(options.folder)
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    skelepipe = [sys.executable, "-m", "cli"]
    if not Path("big.zarr").exists():
        watch([*skelepipe, "synth", "ntu120", "raw", "--clips", "240"], environment)
        watch([*skelepipe, "ingest", "ntu120", "raw", "--out", "small.zarr"], environment)
        repeat_store(Store(Path("small.zarr")), Path("big.zarr"), options.clips)
    print("| command | seconds | peak memory, MB |\n|---|---|---|")
    for command in COMMANDS:
        watched = watch([*skelepipe, *command.split()], environment)
        print(f"| `{command.partition(' --set')[0]}` | {watched.seconds:.1f} | {watched.peak / 1e6:.0f} |", flush=True)


if __name__ == "__main__":
    main()
