"""Time a short pre-training and its evaluation on a GPU, in float32 and in bf16, and compare their accuracy.

Run: python -m benchmarks.gpu.gpu_training [--out training.json]

Uses the command line. The data are processed/ui-prmd.zarr and its split xsub if they exist, otherwise synthetic NTU
RGB+D 60 recordings. Results are written after each precision, in case the time limit ends the run.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
REAL = ROOT / "processed" / "ui-prmd.zarr"
ITS_SPLIT = ROOT / "processed" / "splits" / "ui-prmd" / "xsub.json"
TRAINED = ("outcome", "steps", "seconds", "samples_per_second", "first_loss", "last_loss", "device")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--device", default="cuda")
    options.add_argument("--epochs", type=int, default=20)
    options.add_argument("--out", type=Path, default=Path("training.json"))
    options.add_argument(
        "--small", action="store_true", help="tiny sizes, to test the script; the figures mean nothing"
    )
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        real = REAL.exists() and ITS_SPLIT.exists() and not given.small
        store = REAL if real else synthetic(folder, clips=48 if given.small else 960)
        found: dict[str, Any] = {"data": "UI-PRMD" if real else "synthetic NTU-60", "epochs": given.epochs}
        for precision in ("fp32", "bf16"):
            found[precision] = trained(store, folder / precision, precision, given)
            print(f"{precision}: {found[precision]}", flush=True)
            given.out.write_text(json.dumps(found, indent=1) + "\n")


def synthetic(folder: Path, clips: int) -> Path:
    """A store of synthetic recordings, with its splits."""
    store = folder / "processed" / "ntu60.zarr"
    skelepipe("synth", "ntu60", folder / "raw", "--clips", clips)
    skelepipe("ingest", "ntu60", folder / "raw", "--out", store)
    skelepipe("build-splits", store)
    return store


def trained(store: Path, run: Path, precision: str, given: argparse.Namespace) -> dict[str, Any]:
    """What a pre-training said, and top-1 per cent of its encoder."""
    settings = [f"epochs={given.epochs}", f"precision={precision}"] + ["batch_size=12"] * given.small
    where = ["--device", given.device]
    said = skelepipe(
        "pretrain", store, "--split", "xsub", "--preset", "quick", "--set", *settings, *where, "--out", run
    )
    judged = skelepipe("eval", run, "--store", store, "--protocol", "knn", "linear", "--no-baselines", *where)
    rows = {protocol: result["rows"].items() for protocol, result in judged.items()}
    accuracy = {protocol: {name: round(row["top1"], 1) for name, row in each} for protocol, each in rows.items()}
    return {key: said[key] for key in TRAINED} | accuracy


def skelepipe(*words: object) -> Any:
    """What a command answers."""
    command = [sys.executable, "-m", "cli", *map(str, words), "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
