"""Make the golden artifacts of a format version: one of each kind, and what they are to answer for ever.

    PYTHONPATH=. python tests/golden/make_v1.py

Run once for each format version, when that version is settled; it refuses to write over what is there, since a golden
artifact that is made again proves nothing of old ones. The next version gets a script and a folder of its own, and
tests/pipeline/artifacts/test_format_versions.py keeps reading this one.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.artifacts import manifest, schemas
from pipeline.ingest.ingest import ingest
from pipeline.ingest.request import IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.store.build_splits import build_splits
from pipeline.store.splits import load_split, load_subset
from pipeline.store.store import Store
from pipeline.synth.ntu import write_ntu
from trainer.config.evaluation import compose_eval
from trainer.config.presets import compose_pretrain, load_preset
from trainer.data.loader import load_clips
from trainer.evaluation import features
from trainer.evaluation.evaluate import EvaluateRequest, evaluate
from trainer.pretrain.pretrain import PretrainRequest, pretrain
from trainer.runs.classifier import load_classifier
from trainer.runs.run import RESULTS_FOLDER, Run, load_encoder, named_checkpoint, newest_checkpoint

HERE = Path(__file__).parent / "v1"
CPU = torch.device("cpu")
CLIPS, BROKEN, FRACTION = 6, 1, 0.5
SHOWN = (0, 5)
"""Clips whose bytes, features and scores are stored: a training clip and a test clip."""
TINY = (
    "frames=16",
    "epochs=2",
    "batch_size=2",
    "validate_every=1",
    "encoder.hidden_channels=2",
    "encoder.hidden_dim=8",
    "encoder.feature_dim=4",
    "encoder.temporal_kernel=3",
    "method.mix.frames=[1, 3]",
    "method.mix.repeats=2",
)


def main() -> None:
    if HERE.exists():
        raise SystemExit(f"{HERE} already exists; golden artifacts are made only once")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "v1"
        made.mkdir()
        # Use relative paths: an evaluation records the path of its run as given.
        with contextlib.chdir(made):
            make(Path(folder) / "raw")
        shutil.copytree(made, HERE)


def make(raw: Path) -> None:
    """Write everything into the current folder."""
    write_ntu("ntu60", raw, clips=CLIPS, seed=1, broken=BROKEN)
    output, run_folder = Path("processed/s.zarr"), Path("runs/r")
    ingest(IngestRequest(dataset="ntu60", roots=(raw,), output=output, recipe=load_recipe("clean"), workers=1))
    store = Store(output)
    built = build_splits(store, ["xsub"], [FRACTION])
    (split,), (subset,) = built.splits, built.subsets
    config = compose_pretrain(load_preset("quick"), None, TINY)
    run = pretrain(
        PretrainRequest(store=store, split=split, preset="quick", config=config, output=run_folder, device=CPU)
    ).run
    evaluate(
        EvaluateRequest(
            run=run,
            store=store,
            split=split,
            protocols=("linear",),
            device=CPU,
            config=compose_eval(["linear.epochs=40"]),
            batch_norm="trained",
            baselines=False,
        )
    )
    for path in [*Path().rglob("*.lock"), *Path().rglob("LATEST.json"), *run_folder.glob("eval/linear-*.[!c]*")]:
        path.unlink()
    answers = expected(store, split.path, subset.path, run)
    Path("expected.json").write_text(json.dumps(answers, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def expected(store: Store, split_path: Path, subset_path: Path, run: Run) -> dict[str, Any]:
    """Return the expected contents and results of the artifacts."""
    split = load_split(split_path, store)
    subset = load_subset(subset_path, split)
    newest, _, _ = newest_checkpoint(run)
    best, meta, _ = named_checkpoint(run, "best")
    encoder, _ = load_encoder(run, CPU, fast=False)
    kept = load_classifier(run, "linear", CPU, fast=False)
    clips = load_clips(store, np.array(SHOWN), run.config.frames, run.config.bodies)
    described = features.extract(encoder, clips)
    folder = next((run.path / RESULTS_FOLDER).glob("linear*.classifier"))
    return {
        "digests": {
            "store": store.digest,
            "split": split.digest,
            "subset": subset.digest,
            "run": run.digest,
            "checkpoint": manifest.open_folder(newest, schemas.CHECKPOINT)["digest"],
            "best": manifest.open_folder(best, schemas.CHECKPOINT)["digest"],
            "classifier": manifest.open_folder(folder, schemas.CLASSIFIER)["digest"],
        },
        "names": store.names,
        "labels": store.columns["label"].tolist(),
        "quarantine": [bad["name"] for bad in store.quarantine],
        "train": split.train.tolist(),
        "test": split.test.tolist(),
        "labelled": subset.rows.tolist(),
        "steps": run.total_steps,
        "best_step": meta["step"],
        "classes": list(kept.classes),
        "class_names": list(kept.names),
        "clips": [
            {
                "row": row,
                "shape": list(store.shape(row)),
                "sha256": hashlib.sha256(store.clip(row).tobytes()).hexdigest(),
                "features": rounded(described[index]),
                "scores": rounded(kept.scores(features.extract(kept.encoder, clips[index : index + 1]))[0]),
            }
            for index, row in enumerate(SHOWN)
        ],
    }


def rounded(values: torch.Tensor) -> list[float]:
    """Round to six digits, because machines differ in the seventh."""
    return [float(f"{value:.6g}") for value in values.tolist()]


if __name__ == "__main__":
    main()
