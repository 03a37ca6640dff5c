"""Build the HTML report on a run: results, training curves, per-class accuracy, feature map, provenance."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from pipeline.errors import ArtifactError, NotFinite
from pipeline.files.text_paths import request_with_text_paths
from pipeline.report.report import Block, Film, Report, Section, Text
from trainer.evaluation import frozen_protocols, results
from trainer.evaluation.request import SCRATCH
from trainer.evaluation.results import HEADLINE_PROTOCOLS, Result
from trainer.models.size_estimate import parameter_count
from trainer.report import feature_blocks, feature_map, result_tables, training_history
from trainer.report.feature_blocks import FeatureSamples
from trainer.runs import log
from trainer.runs.run import LOG_FILE, CheckpointName, Run, find_run_split, find_run_store, load_encoder
from trainer.runtime.device import choose_device


@request_with_text_paths
@dataclass(frozen=True, kw_only=True, slots=True)
class RunReportRequest:
    """The run to report on, with options."""

    run: Run
    device: torch.device = field(default_factory=choose_device)
    store: Path | None = None
    """The new path of the run's store, if it was moved, or another store."""
    checkpoint: CheckpointName = "last"
    """The checkpoint whose features are shown."""
    fast: bool = True
    """Use the faster implementation of the encoder (trainer/models/fast/), equal except for rounding."""


BASELINE_NAMES = {
    frozen_protocols.RANDOM_ENCODER: "an untrained encoder",
    SCRATCH: "training from scratch",
    frozen_protocols.RAW_COORDINATES: "a nearest neighbour on raw coordinates",
}
"""How a sentence calls the baselines."""
Progress = Callable[[float, float, str], None]
"""Called with the amount done, the total amount, and a description."""


def build_run_report(request: RunReportRequest, progress: Progress = lambda done, total, doing: None) -> Report:
    """Build the report. Without the run's store, the sections that need it say so.

    Raises:
        ArtifactError: the store that was named does not match the run.
    """
    run = request.run
    readable, skipped = results.read_results(run)
    found, older = results.newest_results(readable)
    samples, reason = _extract_samples(request, progress)
    film = Film(layout=run.layout)
    missing: list[Block] = [Text(text=reason, warns=True)]
    feature_map_blocks = feature_blocks.map_blocks(samples) if samples else missing
    neighbour_blocks = feature_blocks.neighbour_blocks(samples, film) if samples else missing
    sections: list[tuple[str, str, list[Block]]] = [
        ("results", "Results", result_tables.results_blocks(run, found, skipped, older)),
        ("training", "Training", training_history.training_blocks(run)),
        ("classes", "Confusion matrix and accuracy per class", result_tables.class_blocks(found)),
        ("map", "Feature map", feature_map_blocks),
        ("neighbours", "Nearest neighbours", neighbour_blocks),
        ("published", "Compared with the paper", result_tables.published_blocks(run, found)),
        ("configuration", "Configuration", training_history.configuration_blocks(run)),
        ("lineage", "Provenance", training_history.lineage_blocks(run)),
    ]
    return Report(
        title=run.path.name,
        answer=verdict(found),
        tiles=_tiles(run, found),
        about=_description(run),
        sections=[Section(name=name, title=title, blocks=blocks) for name, title, blocks in sections],
        film=film,
    )


def _extract_samples(request: RunReportRequest, progress: Progress) -> tuple[FeatureSamples | None, str]:
    """Extract the features to show, or return the reason why they cannot be shown."""
    run = request.run
    try:
        store = find_run_store(run, request.store)
        split = find_run_split(run, store, None)
        encoder, facts = load_encoder(run, request.device, request.checkpoint, fast=request.fast)
    except NotFinite as error:
        return None, f"Not shown: {error}."
    except ArtifactError as error:
        if request.store is not None:
            raise
        command = f"skelepipe report {run.path} --store STORE"
        return None, f"Not shown: {error}. With the run's store, `{command}` shows this section."
    sides = (split.train, feature_map.MAX_BANK_CLIPS), (split.test, feature_map.MAX_MAPPED_CLIPS)
    chosen = [feature_map.sample_rows(store, rows, max_rows) for rows, max_rows in sides]
    total, done = sum(map(len, chosen)), 0

    def count_clips(clips: int) -> None:
        nonlocal done
        done += clips
        next_stage = "; map of the features" if done == total else ""
        progress(done, total, f"features of {done:,} of {total:,} clips{next_stage}")

    try:
        bank, test = (
            feature_map.extract_sample(run, store, encoder, rows, len(side), count_clips)
            for rows, (side, _) in zip(chosen, sides, strict=True)
        )
    except NotFinite as error:
        return None, f"Not shown: {error}."
    return FeatureSamples(store=store, step=facts["step"], bank=bank, test=test), ""


def _main_result(found: list[Result]) -> Result | None:
    """Return the most important evaluation on the run's own data, or any."""
    own = [result for result in found if not result.lineage.transfer and result.fused is None]
    ranked = [result for name in HEADLINE_PROTOCOLS for result in own if result.short_name == name] or own or found
    return ranked[0] if ranked else None


def verdict(found: list[Result]) -> str:
    """Compare the most important evaluation with its baselines in a sentence."""
    result = _main_result(found)
    if result is None:
        return "Not evaluated yet"
    (_, first), *_ = result.rows.items()
    gains = {name: first.top1 - result.rows[row].top1 for row, name in BASELINE_NAMES.items() if row in result.rows}
    compared = [f"{abs(gain):.1f} points {'below' if gain < 0 else 'above'} {name}" for name, gain in gains.items()]
    split = result.lineage.split
    clips = f"{split.test:,} test clips of {result.lineage.store.name} {split.name}"
    name = "kNN" if result.short_name == "knn" else result.short_name.capitalize()
    head = f"{name} top-1 {first.top1:.1f} %"
    return f"{head}: {', '.join(compared)} ({clips})" if compared else f"{head} ({clips})"


def _tiles(run: Run, found: list[Result]) -> list[tuple[str, str]]:
    """Return the key numbers: the most important evaluation, its baselines, and the training."""
    result = _main_result(found)
    tiles = []
    if result is not None:
        (_, first), *_ = result.rows.items()
        tiles.append((f"{result.short_name}, pre-trained", f"{first.top1:.1f} %"))
        tiles += [
            (
                f"{result.short_name}, {row}" if row != frozen_protocols.RAW_COORDINATES else row,
                f"{result.rows[row].top1:.1f} %",
            )
            for row in BASELINE_NAMES
            if row in result.rows
        ]
    tiles.append(("training steps", f"{run.total_steps:,}"))
    seconds = 0.0 if run.imported else log.seconds_of_training(run.path / LOG_FILE)
    return [*tiles, *([("training time", training_history.format_time(seconds))] if seconds else [])]


def _description(run: Run) -> str:
    config, store, split = run.config, run.lineage["store"], run.lineage["split"]
    data = f"{store['name']} {split['name']}" if store["name"] else "unknown data"
    about = f"{config.method.name}, {config.stream} stream, preset {run.preset}, seed {config.seed}, on {data}"
    parameters = f"{config.encoder.name} with {parameter_count(run.layout, config.encoder):,} parameters"
    keys = () if run.imported else ("device", "commit")
    logged = {key: ", then ".join(log.logged_texts(run.path / LOG_FILE, key)) for key in keys}
    versions = ", ".join(f"{name} {version}" for name, version in (run.lineage.get("versions") or {}).items())
    commit = f"commit {logged['commit']}" if logged.get("commit") else ""
    return "; ".join(filter(None, [about, parameters, logged.get("device"), str(run.path), versions, commit]))
