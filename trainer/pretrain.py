"""Pre-training: the loop, its checkpoints and its log. Reads top to bottom; nothing here knows what a method does."""

import importlib.metadata
import math
import os
import shutil
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline import latest, publish
from pipeline.errors import ArtifactError, OutputExists, SkelepipeError
from pipeline.splits import Split
from pipeline.store import Store
from trainer import checkpoint, monitor, residency, runs, schedule, skelemix
from trainer import device as devices
from trainer.config import PretrainConfig
from trainer.interrupt import Interrupted, StopFlag, stop_requests
from trainer.methods import Method
from trainer.monitor import Division, Monitor
from trainer.order import batches
from trainer.residency import Feed, Residency
from trainer.runlog import RunLog
from trainer.runs import Run
from trainer.step import train_step

CHECKPOINT_SECONDS = 120.0
"""A kill costs at most so much work; saving takes some milliseconds, so once in two minutes is free."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the user asks of a pre-training."""

    store: Store
    split: Split
    preset: str
    config: PretrainConfig
    output: Path
    device: torch.device
    any_recipe: bool = False
    """Train although the configuration names another recipe than the store's."""
    force: bool = False
    """Replace a run that was made from other input; one from the same input goes on all the same."""
    residency: Residency = "auto"
    """Where the clips lie; changes nothing but speed and memory."""
    workers: int = 1
    """Threads that prepare batches ahead of the step; change nothing but speed and memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """How far a training is; each tick replaces the one before."""

    step: int
    total_steps: int
    epoch: int
    epochs: int
    batch_size: int
    learning_rate: float
    loss: dict[str, float]
    held_out_knn: float | None
    """Top-1 per cent of the held-out clips, where it was taken."""
    samples_per_second: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a pre-training did."""

    outcome: str
    """`trained`, `resumed` or `up to date`."""
    run: Run
    device: str
    steps: int
    """Steps done now."""
    seconds: float
    samples_per_second: float
    first_loss: float | None
    """Mean total loss over the first and the last epoch of what was done now."""
    last_loss: float | None
    best: dict[str, Any] | None
    """Step, epoch (from 0) and held-out kNN accuracy of the best checkpoint, when the run looks for it."""
    skipped: list[str]


class NotFinite(SkelepipeError):
    """The loss became NaN or infinite; the text names the batch's samples."""


def fit(
    request: Request,
    progress: Callable[[Tick], None] = lambda tick: None,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Train an encoder, from the start or from the newest whole checkpoint of the same run.

    Args:
        request: what to train.
        progress: is told of every step.
        say: is told, in words, what was chosen.

    Raises:
        OutputExists: the output is another run and `force` is off.
        OutputLocked: another process trains there.
        OutputFailed: the disk refuses.
        ArtifactError: the store does not fit the configuration.
        ConfigError: nothing can be mixed, or the batch is larger than the training set.
        Interrupted: a signal came; the checkpoint is written.
        NotFinite: the loss is no number any more.
    """
    with publish.sole_writer(request.output):
        run = _open_run(request)
        latest.record(run.path.parent, "run", run.path.name)
        return _train(request, run, progress, say)


def _open_run(request: Request) -> Run:
    """The run at the output if it is the one asked for, else a new one."""
    store, split = request.store, request.split
    if request.config.recipe not in (None, store.facts["recipe"]["name"]) and not request.any_recipe:
        raise ArtifactError(
            f"{store.path}: was made by recipe {store.facts['recipe']['name']}, the configuration is for "
            f"{request.config.recipe}; ingest with --recipe {request.config.recipe}, or train on it with --any-recipe"
        )
    columns = store.columns
    division = monitor.divide(store, split, request.config)
    kept = division.kept
    config = request.config.fitted(len(kept), int(columns["bodies"][kept].max(initial=1)))
    if config.method.repeats:
        skelemix.check(store.layout, config.method.mix, config.batch_size)
    facts: dict[str, Any] = {
        "preset": request.preset,
        "config": config.model_dump(mode="json"),
        "layout": store.layout.to_json(),
        "total_steps": config.epochs * (len(kept) // config.batch_size),
    }
    made_from = {
        "store": {
            "name": store.name,
            "digest": store.digest,
            "dataset": store.facts["dataset"],
            "recipe": store.facts["recipe"],
        },
        "split": {"name": split.name, "digest": split.digest},
    }
    if division.column:
        made_from["split"]["held_out"] = division.to_json()
    if _holds_something(request.output):
        if not (request.force and runs.is_damaged(request.output)):
            there = runs.load(request.output)  # what is not a run is never replaced
            difference = _difference(there, facts["config"], made_from)
            if not difference:
                return there
            if not request.force:
                raise OutputExists(
                    f"{request.output}: is a run with another {difference}; "
                    "--force replaces it, another --out keeps both"
                )
        _remove(request.output)
    made_from["store"]["path"] = os.path.relpath(store.path, request.output)
    versions = {"skelepipe": importlib.metadata.version("skelepipe"), "torch": torch.__version__}
    return runs.create(request.output, **facts, lineage={**made_from, "versions": versions})


def _difference(run: Run, config: dict[str, Any], made_from: dict[str, Any]) -> str:
    """In what a run differs from the one asked for, in words; nothing when it is that run. A name is no difference."""
    for what in ("store", "split"):
        there, asked = run.lineage[what], made_from[what]
        if there["digest"] != asked["digest"]:
            return f"{what}: {_called(there)} there, {_called(asked)} asked"
    were, are = _flat(run.config.model_dump(mode="json")), _flat(config)
    for key in sorted(were.keys() | are.keys()):
        if were.get(key) != are.get(key):
            return f"config: {key} is {were.get(key)} there, {are.get(key)} asked"
    return ""


def _holds_something(folder: Path) -> bool:
    """Whether anything is there but what a killed process left half-written."""
    return folder.exists() and any(not path.name.endswith(".partial") for path in folder.iterdir())


def _called(artifact: dict[str, Any]) -> str:
    recipe = f", recipe {artifact['recipe']['name']}" if "recipe" in artifact else ""
    return f"{artifact['name']} ({artifact['digest'][:12]}{recipe})"


def _flat(nested: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Nested tables as `a.b`: value."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return flat


def _remove(folder: Path) -> None:
    """Take a run away in one move, so that a kill in between leaves no half of it."""
    aside = folder.with_name(f".{folder.name}.replaced")
    with publish.disk_errors(folder):
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        shutil.rmtree(aside)


def _train(request: Request, run: Run, progress: Callable[[Tick], None], say: Callable[[str], None]) -> Report:
    method = runs.start(run)
    pair = method.pair.to(request.device).train()
    optimiser = torch.optim.SGD(
        pair.query.parameters(),
        lr=run.config.learning_rate,
        momentum=run.config.optimiser_momentum,
        weight_decay=run.config.weight_decay,
    )
    first, skipped, best = 0, list[str](), None
    if checkpoint.listed(run.checkpoints):
        newest, meta, skipped = runs.newest_checkpoint(run)
        checkpoint.load_model(newest, pair)
        checkpoint.load_optimiser(newest, optimiser)
        first, best = meta["step"], meta.get("best")
    division = monitor.divide(request.store, request.split, run.config)
    rows = division.kept
    started, losses = time.perf_counter(), list[float]()
    if first < run.total_steps:
        with RunLog(run.path / runs.LOG, first) as log, stop_requests() as stop:
            feed = residency.feed(
                request.store, rows, run.config, request.device, request.residency, request.workers,
                lambda _: _stop_early(stop, run, first),
            )  # fmt: skip
            _stop_early(stop, run, first)
            say(feed.said)
            if division.column:
                named = ", ".join(map(str, division.values))
                say(f"held out: {division.column} {named}, {len(division.held_out)} clips")
            started = time.perf_counter()
            for tick in _steps(method, optimiser, feed, request, run, division, first, best, stop):
                losses.append(tick.loss["total"])
                log.write(
                    step=tick.step - 1,
                    epoch=tick.epoch,
                    lr=tick.learning_rate,
                    **tick.loss,
                    **({} if tick.held_out_knn is None else {"held_out_knn": tick.held_out_knn}),
                    samples_per_second=tick.samples_per_second,
                )
                progress(tick)
    seconds, per_epoch = time.perf_counter() - started, len(rows) // run.config.batch_size
    return Report(
        outcome="up to date" if not losses else "resumed" if first else "trained",
        run=run,
        device=devices.describe(request.device),
        steps=len(losses),
        seconds=seconds,
        samples_per_second=len(losses) * run.config.batch_size / seconds if losses else 0.0,
        first_loss=statistics.fmean(losses[:per_epoch]) if losses else None,
        last_loss=statistics.fmean(losses[-per_epoch:]) if losses else None,
        best=checkpoint.read_meta(checkpoint.newest(run.checkpoints)[0]).get("best"),
        skipped=skipped,
    )


def _steps(
    method: Method,
    optimiser: torch.optim.Optimizer,
    feed: Feed,
    request: Request,
    run: Run,
    division: Division,
    first: int,
    best: dict[str, Any] | None,
    stop: StopFlag,
) -> Iterator[Tick]:
    """The loop: every step from `first` on, with checkpoints at the end, now and then, and when a signal came.

    Raises:
        Interrupted: a signal came; the checkpoint is written.
        NotFinite: the loss is no number any more.
    """
    config, rows = run.config, division.kept
    watch = Monitor(request.store, division, config) if config.validate_every else None
    per_epoch = len(rows) // config.batch_size
    started = saved = time.perf_counter()
    chosen = np.empty(0, np.int64)

    def named() -> str:
        return ", ".join(request.store.names[row] for row in rows[chosen])

    planned = batches(feed.order, config.batch_size, first, run.total_steps)
    for step, epoch, chosen, batch in feed.clips.follow(planned):
        rate = schedule.learning_rate(config, step / per_epoch)
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = train_step(method, optimiser, batch, rows[chosen], step, epoch, run)
        values, done, now = {name: float(value) for name, value in loss.items()}, step + 1, time.perf_counter()
        if not math.isfinite(values["total"]):
            raise NotFinite(f"{run.path}: the loss is {values['total']} at step {step}; its batch: {named()}")
        score, is_best = None, False
        if watch and (done % (config.validate_every * per_epoch) == 0 or done == run.total_steps):
            score = watch.score(method.pair.query)
            is_best = best is None or score > best["held_out_knn"]
            best = {"step": done, "epoch": epoch, "held_out_knn": score} if is_best else best
        yield Tick(
            step=done,
            total_steps=run.total_steps,
            epoch=epoch,
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=rate,
            loss=values,
            held_out_knn=score,
            samples_per_second=round((done - first) * config.batch_size / (now - started), 1),
        )
        if stop.number is not None or is_best or done == run.total_steps or now - saved > CHECKPOINT_SECONDS:
            if broken := checkpoint.not_finite(method.pair, optimiser):
                raise NotFinite(f"{run.path}: {broken} is no number any more after step {step}; its batch: {named()}")
            meta = {"step": done, "epoch": epoch, "run": run.digest} | ({"best": best} if best else {})
            checkpoint.save(run.checkpoints, method.pair, optimiser, meta)
            saved = now
        if stop.number is not None and done < run.total_steps:
            raise _interrupted(stop.number, run, done)


def _stop_early(stop: StopFlag, run: Run, step: int) -> None:
    """Obey a signal that came before the first step."""
    if stop.number is not None:
        raise _interrupted(stop.number, run, step)


def _interrupted(number: int, run: Run, step: int) -> Interrupted:
    return Interrupted(
        f"{run.path}: stopped by {signal.Signals(number).name} at step {step} of {run.total_steps}; "
        "the same command goes on from there",
        number,
    )
