"""Build the HTML report on a run: results, training curves, per-class accuracy, feature map, provenance."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from pipeline.errors import ArtifactError, NotFinite
from pipeline.report.report import Block, Film, Report, Section, Text
from trainer.evaluation import frozen_protocols, results
from trainer.evaluation.results import HEADLINE_PROTOCOLS, Result
from trainer.report import feature_blocks, feature_map, result_tables, training_history
from trainer.report.feature_blocks import FeatureSamples
from trainer.runs.run import CheckpointName, Run, find_run_split, find_run_store, load_encoder
from trainer.runtime.device import choose_device


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
        ("published", "Compared with the paper", result_tables.published_blocks(run, found)),
        ("training", "Training", training_history.training_blocks(run)),
        ("classes", "Per class", result_tables.class_blocks(found)),
        ("map", "Feature map", feature_map_blocks),
        ("neighbours", "Nearest neighbours", neighbour_blocks),
        ("configuration", "Configuration", training_history.configuration_blocks(run)),
        ("lineage", "Provenance", training_history.lineage_blocks(run)),
    ]
    return Report(
        title=run.path.name,
        answer=_headline(found),
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


def _headline(found: list[Result]) -> str:
    """Summarise the most important evaluation and its baselines in a sentence."""
    own = [result for result in found if not result.lineage.transfer and result.fused is None]
    ranked = [result for name in HEADLINE_PROTOCOLS for result in own if result.short_name == name] or own or found
    if not ranked:
        return "Not evaluated yet"
    result = ranked[0]
    (_, first), *others = result.rows.items()
    interval = f" [{first.interval95[0]:.1f}, {first.interval95[1]:.1f}]" if first.interval95 else ""
    parts = [f"{first.top1:.1f} % {result.short_name}{interval}"]
    parts += [f"{name.removeprefix(f'{frozen_protocols.PRETRAINED}, ')} {row.top1:.1f} %" for name, row in others]
    split = result.lineage.split
    return f"{', '.join(parts)}; on {split.test:,} test clips of {result.lineage.store.name} {split.name}"


def _description(run: Run) -> str:
    config, store, split = run.config, run.lineage["store"], run.lineage["split"]
    data = f"{store['name']} {split['name']}" if store["name"] else "unknown data"
    return f"{config.method.name}, {config.stream} stream, preset {run.preset}, on {data}; {run.path}"
