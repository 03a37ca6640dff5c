"""Measure whether denoising helps learning: one small pre-training per recipe on damaged recordings.

Run: python -m benchmarks.accuracy.denoising_and_learning DATA --out FOLDER [--epochs 20] [--seeds 0 1 2] [--recipes
clean mine.toml]

DATA is a copy of UI-PRMD as a folder data set (2,000 clips of ten people, ten movements). Every second clip, of one
person, is damaged by all faults of corruptions.py at the moderate level and written as NTU `.skeleton` text (subject
as performer, movement as class). Each recipe builds its own store from these files; the reference row is `clean` on
the undamaged clips. Subjects 1 2 4 5 8 9 train, 3 6 7 10 test (NTU RGB+D 60's cross-subject rule). Everything after
the store is the same for all recipes: preset `quick` with the given method and length, and linear evaluation after
the last epoch. Only the first body is encoded, because there is one person: a second body is false, and raw
coordinates of every other code base score higher without it. A clip that a recipe refuses is missing from training or
test, and is counted.

Finished results are in FOLDER/results.json. They are skipped if the bytes of the store are the same, so the benchmark
can be stopped and run again. The table is printed from this file.
"""

import argparse
import json
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy.corruptions import FAULTS, LEVELS, SEED, Scene, corrupted, load_people, record, scene
from pipeline.ingest.ingest import ingest
from pipeline.ingest.request import IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.skeleton.recording import Recording
from pipeline.sources.ntu.names import NtuName
from pipeline.store.build_splits import build_splits
from pipeline.store.splits import Split
from pipeline.store.store import Store
from pipeline.synth.sensor import SensorBody, skeleton_text
from trainer.bench.timing import git_commit
from trainer.config.presets import compose_pretrain, load_preset
from trainer.config.pretrain import PretrainConfig
from trainer.doctor.processor import processor_name
from trainer.evaluation.evaluate import EvaluateRequest, evaluate
from trainer.pretrain.pretrain import PretrainRequest, pretrain

REFERENCE = "clean, nothing damaged"
RECIPES = ("clean", "none", "skelemixclr", "ctrgcn", "agcn")
BASELINES = {"linear": "pre-trained", "recalibrated": "pre-trained, recalibrated", "random": "random encoder"}


def people(data: Path, every: int) -> Iterator[tuple[NtuName, Scene]]:
    """Every so-many-th clip as a scene of one person, named as NTU would."""
    clips = load_people(data, set(range(1, 11)))
    rng = np.random.default_rng([SEED, 2])
    for subject, name, label, replication, xyz in clips[::every]:
        poses = (clips[int(at)][4] for at in rng.integers(len(clips), size=8))
        others = [pose[len(pose) // 2] - pose[len(pose) // 2, 0] for pose in poses]
        yield NtuName(1, 1, subject, replication, label + 1), scene(name, [xyz], others)


def write(data: Path, every: int, fault: str, level: str, damaged: Path, undamaged: Path) -> None:
    """Both sets of `.skeleton` files, always the same bytes."""
    for folder in (damaged, undamaged):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for number, (name, clean) in enumerate(people(data, every)):
        (undamaged / f"{name}.skeleton").write_bytes(text(record(clean)))
        fresh = corrupted(lambda clean=clean: clean, fault, LEVELS.index(level), number)  # type: ignore[misc]
        (damaged / f"{name}.skeleton").write_bytes(text(record(fresh)))


def text(recording: Recording) -> bytes:
    """A recording as an NTU file, each body at its place in each frame."""
    bodies = []
    for slot in range(int(recording.slot.max()) + 1):
        rows = recording.slot == slot
        at = recording.frame[rows]
        body = SensorBody(
            body=np.zeros(recording.frames, np.int64),
            present=np.zeros(recording.frames, np.bool_),
            xyz=np.zeros((recording.frames, *recording.xyz.shape[1:])),
            tracking=np.zeros((recording.frames, recording.xyz.shape[1]), np.int8),
        )
        body.present[at] = True
        body.body[at] = recording.body[rows]
        body.xyz[at] = recording.xyz[rows]
        body.tracking[at] = recording.tracking[rows]
        bodies.append(body)
    return skeleton_text(bodies)


def store(raw: Path, recipe: str, output: Path) -> tuple[Store, Split, int]:
    """A recipe's store of some files, made anew, with its split; and how many files the recipe refuses."""
    request = IngestRequest(
        dataset="ntu60",
        roots=(raw,),
        output=output,
        recipe=load_recipe(recipe),
        keep_missing=True,
        workers=1,
        force=True,
    )
    report = ingest(request)
    made = Store(output)
    return made, build_splits(made, ["xsub"]).splits[0], len(report.quarantined)


def learn(made: Store, split: Split, config: PretrainConfig, folder: Path) -> dict[str, Any]:
    """Pre-train and evaluate: top-1 in per cent for every representation."""
    began = time.perf_counter()
    device = torch.device("cpu")
    trained = pretrain(
        PretrainRequest(
            store=made, split=split, preset="quick", config=config, output=folder, device=device, force=True
        )
    )
    seconds = time.perf_counter() - began
    rows = evaluate(EvaluateRequest(run=trained.run, store=made, split=split, protocols=("linear",), device=device))[
        "linear"
    ]["rows"]
    found = {short: rows[row]["top1"] for short, row in (BASELINES | {"raw": "raw coordinates"}).items()}
    return found | {"training seconds": round(seconds, 1), "seconds": round(time.perf_counter() - began, 1)}


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown: mean and range over the seeds."""
    lines = [
        "| recipe | clips train + test | refused | seeds | linear | recalibrated | random encoder | raw, 1-NN |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in results.items():
        seeds = list(row["seeds"].values())
        if seeds:
            shown = [spread([seed[key] for seed in seeds]) for key in (*BASELINES, "raw")]
            clips = f"{row['train']} + {row['test']}"
            lines.append(f"| {name} | {clips} | {row['refused']} | {len(seeds)} | {' | '.join(shown)} |")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """The mean, and the least and the greatest where they differ."""
    mean = f"{statistics.mean(values):.1f}"
    return mean if min(values) == max(values) else f"{mean} ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--fault", default="everything", choices=list(FAULTS))
    parser.add_argument("--level", default="moderate", choices=LEVELS)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), help="names, or paths of your own")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--method", default="skeletonclr", choices=["skeletonclr", "skelemixclr", "skelemixclr+"])
    parser.add_argument("--bodies", type=int, default=1, choices=[1, 2])
    parser.add_argument("--small", action="store_true", help="a tiny encoder and two recipes, to see it work")
    given = parser.parse_args()
    settings = [f"epochs={given.epochs}", f"method.name={given.method}", f"bodies={given.bodies}"]
    if given.small:
        given.recipes, given.seeds = given.recipes[:2], given.seeds[:1]
        settings += ["epochs=1", "batch_size=8", "encoder.hidden_channels=2", "encoder.hidden_dim=8"]
    about = {"settings": settings, "every": given.every, "set": f"{given.fault}, {given.level}"}

    kept = given.out / "results.json"
    there = json.loads(kept.read_text()) if kept.exists() else {"about": about, "rows": {}}
    if there["about"] != about:
        raise SystemExit(f"{kept}: was made with {there['about']}, asked is {about}; name another --out")
    results: dict[str, dict[str, Any]] = there["rows"]
    began = time.perf_counter()
    write(given.data, given.every, given.fault, given.level, given.out / "damaged", given.out / "undamaged")
    print(f"{processor_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}, commit {git_commit()}")
    print(f"{', '.join(settings)}; files written in {time.perf_counter() - began:.0f} s", flush=True)

    for row in [REFERENCE, *given.recipes]:
        recipe, raw = ("clean", "undamaged") if row == REFERENCE else (row, "damaged")
        folder = given.out / f"{raw}-{Path(recipe).stem}"
        made, split, refused = store(given.out / raw, recipe, folder.with_suffix(".zarr"))
        facts = {"store": made.digest, "train": len(split.train), "test": len(split.test), "refused": refused}
        if results.get(row, {}).get("store") != made.digest:
            results[row] = facts | {"seeds": {}}
        for seed in given.seeds:
            if str(seed) in results[row]["seeds"]:
                continue
            config = compose_pretrain(load_preset("quick"), settings=[*settings, f"seed={seed}"])
            found = learn(made, split, config, folder.with_name(f"{folder.name}-{seed}"))
            results[row]["seeds"][str(seed)] = found
            kept.write_text(json.dumps(there, indent=1))
            print(f"{row}, seed {seed}: {found}", flush=True)
    print(f"\n{table(results)}\n\n{(time.perf_counter() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
