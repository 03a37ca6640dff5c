"""A run as a report: what it is worth, how it was trained, and what its features look like."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from pipeline.errors import ArtifactError
from pipeline.report.report import Block, Film, Report, Section, Text
from trainer.evaluation import frozen_protocols, results
from trainer.evaluation.results import HEADLINE_PROTOCOLS, Result
from trainer.report import feature_blocks, feature_map, result_tables, training_history
from trainer.report.feature_blocks import Shown
from trainer.runs.run import CheckpointName, Run, find_run_split, find_run_store, load_encoder
from trainer.runtime.device import choose_device


@dataclass(frozen=True, kw_only=True, slots=True)
class RunReportRequest:
    """What is reported on."""

    run: Run
    device: torch.device = field(default_factory=choose_device)
    store: Path | None = None
    """Where the run's store is now, when not where it was, or another one."""
    checkpoint: CheckpointName = "last"
    """Whose features are shown."""
    fast: bool = True
    """Encode in less time, equal but for rounding: by trainer/models/fast/cpu.py, on a GPU by trainer/models/fast/gpu.py."""


Progress = Callable[[float, float, str], None]
"""Told how much is done, of how much, and what."""


def build_run_report(request: RunReportRequest, progress: Progress = lambda done, total, doing: None) -> Report:
    """All that a page says of a run. What needs the store is left out, and said, when that is not there.

    Raises:
        ArtifactError: the store that was named does not fit the run.
    """
    run = request.run
    found, skipped = results.read_results(run)
    shown, why_not = _shown(request, progress)
    film = Film(layout=run.layout)
    missing: list[Block] = [Text(text=why_not, warns=True)]
    map_of, neighbours = feature_blocks.map_of, feature_blocks.neighbours
    parts: list[tuple[str, str, list[Block]]] = [
        ("results", "What it is worth", result_tables.table(run, found, skipped)),
        ("published", "Beside the published number", result_tables.published(run, found)),
        ("training", "Training", training_history.training(run)),
        ("classes", "Class by class", result_tables.classes(found)),
        ("map", "Map of the features", map_of(shown) if shown else missing),
        ("neighbours", "Nearest neighbours", neighbours(shown, film) if shown else missing),
        ("configuration", "Configuration", training_history.configuration(run)),
        ("lineage", "Where it comes from", training_history.lineage(run)),
    ]
    return Report(
        title=run.path.name,
        answer=_answer(found),
        about=_about(run),
        sections=[Section(name=name, title=title, blocks=blocks) for name, title, blocks in parts],
        film=film,
    )


def _shown(request: RunReportRequest, progress: Progress) -> tuple[Shown | None, str]:
    """The clips whose features are shown, or why there are none."""
    run = request.run
    try:
        store = find_run_store(run, request.store)
        split = find_run_split(run, store, None)
        encoder, facts = load_encoder(run, request.device, request.checkpoint, fast=request.fast)
    except ArtifactError as error:
        if request.store is not None:
            raise
        return None, f"Not shown: {error}. With the run's store, `skelepipe report {run.path} --store STORE` shows it."
    sides = (split.train, feature_map.BANK), (split.test, feature_map.MAPPED)
    chosen = [feature_map.draw(store, rows, most) for rows, most in sides]
    total, done = sum(map(len, chosen)), 0

    def tell(clips: int) -> None:
        nonlocal done
        done += clips
        then = "; map of the features" if done == total else ""
        progress(done, total, f"features of {done:,} of {total:,} clips{then}")

    bank, test = (
        feature_map.sample(run, store, encoder, rows, len(side), tell)
        for rows, (side, _) in zip(chosen, sides, strict=True)
    )
    return Shown(store=store, step=facts["step"], bank=bank, test=test), ""


def _answer(found: list[Result]) -> str:
    """The first evaluation, beside what it is to be held against, in a sentence."""
    own = [result for result in found if not result.lineage.transfer and result.fused is None]
    ranked = [result for name in HEADLINE_PROTOCOLS for result in own if result.name == name] or own or found
    if not ranked:
        return "Not evaluated yet"
    result = ranked[0]
    (_, first), *others = result.rows.items()
    interval = f" [{first.interval95[0]:.1f}, {first.interval95[1]:.1f}]" if first.interval95 else ""
    parts = [f"{first.top1:.1f} % {result.name}{interval}"]
    parts += [f"{name.removeprefix(f'{frozen_protocols.PRETRAINED}, ')} {row.top1:.1f} %" for name, row in others]
    split = result.lineage.split
    return f"{', '.join(parts)}; on {split.test:,} test clips of {result.lineage.store.name} {split.name}"


def _about(run: Run) -> str:
    config, store, split = run.config, run.lineage["store"], run.lineage["split"]
    on = f"{store['name']} {split['name']}" if store["name"] else "unknown data"
    return f"{config.method.name}, {config.stream} stream, preset {run.preset}, on {on}; {run.path}"
