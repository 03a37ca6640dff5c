"""Pre-training: the loop, its checkpoints and its log. Reads top to bottom; nothing here knows what a method does."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import latest, publish
from pipeline.errors import ArtifactError
from pipeline.splits import Split
from pipeline.store import Store
from trainer import checkpoint, fast_ops, monitor, ranks, residency, runs, schedule
from trainer import device as devices
from trainer.config import PretrainConfig
from trainer.interrupt import Interrupted, StopFlag, stop_requests
from trainer.method import Method
from trainer.monitor import Division, Monitor
from trainer.opening import open_run
from trainer.order import batches
from trainer.residency import Feed, Residency
from trainer.runlog import RunLog
from trainer.runs import Run
from trainer.saving import NotFinite, Saving
from trainer.step import replayed, require_clips_for_all, train_step

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
    device: torch.device = field(default_factory=devices.pick)
    any_recipe: bool = False
    """Train although the configuration names another recipe than the store's."""
    force: bool = False
    """Replace a run that was made from other input; one from the same input goes on all the same."""
    residency: Residency = "auto"
    """Where the clips lie; changes nothing but speed and memory."""
    workers: int = 1
    """Threads that prepare batches ahead of the step; change nothing but speed and memory."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Where each value of the configuration that is no default comes from, for the record."""
    fast: bool = True
    """Encode by trainer/fast.py, or by trainer/fast_gpu.py, where a process that is alone also repeats a step's passes
    as one CUDA graph; off, by the encoder's plain equations. They differ by rounding, and by what dropout takes."""


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


def fit(
    request: Request,
    progress: Callable[[Tick], None] = lambda tick: None,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Train an encoder, from the start or from the newest whole checkpoint of the same run.

    Args:
        request: what to train.
        progress: told of every step, on rank 0.
        say: told what was chosen for the user.

    Raises:
        OutputExists: the output is another run and `force` is off.
        OutputLocked: another process trains there.
        OutputFailed: the disk refuses.
        ArtifactError: the store does not fit the configuration.
        ConfigError: nothing can be mixed, or the batch is larger than the training set.
        Interrupted: a signal came, here or to another rank; the checkpoint is written.
        NotFinite: the loss is no number any more.
        PeerLost: another rank is gone; the checkpoint of the last whole step is written.
        SaidElsewhere: rank 0 has said which of these it is.
    """
    with ranks.joined(request.device), ExitStack() as held:

        def first() -> Run:
            require_clips_for_all(request.config)
            held.enter_context(publish.sole_writer(request.output))
            run = open_run(
                request.store,
                request.split,
                request.preset,
                request.config,
                request.output,
                any_recipe=request.any_recipe,
                force=request.force,
                origins=request.origins,
            )
            latest.record(run.path.parent, "run", run.path.name)
            return run

        run = ranks.first_does(first) or runs.load(request.output)
        try:
            return _train(request, run, progress, say)
        except (Interrupted, NotFinite) as error:
            if ranks.rank() == 0:
                raise
            raise ranks.SaidElsewhere(error.exit_code) from error


def _train(request: Request, run: Run, progress: Callable[[Tick], None], say: Callable[[str], None]) -> Report:
    method = runs.start(run, fast=request.fast)
    pair = method.pair.to(request.device).train()
    optimiser = schedule.optimiser(pair.query.parameters(), run.config)
    first, skipped, best = 0, list[str](), None
    if checkpoint.listed(run.checkpoints):
        newest, meta, skipped = runs.newest_checkpoint(run)
        checkpoint.load_model(newest, pair)
        checkpoint.load_optimiser(newest, optimiser)
        first, best = meta["step"], meta.get("best")
        if ranks.rank() == 0:
            checkpoint.tidy(run.checkpoints, newest)
    if not ranks.alike(f"{run.digest} {first}"):
        raise ArtifactError(f"{run.path}: the processes do not see the same run; it must lie where all of them read")
    division = monitor.divide(request.store, request.split, run.config)
    saving = Saving(run, pair, optimiser, first, best, CHECKPOINT_SECONDS)
    started, losses = time.perf_counter(), list[float]()
    if first < run.total_steps:
        with ExitStack() as held:
            stop = held.enter_context(stop_requests())
            log = held.enter_context(RunLog(run.path / runs.LOG, first)) if ranks.rank() == 0 else None
            saving.log = log
            held.enter_context(saving.last_step_kept())
            feed = _feed(request, run, division.kept, saving, stop)
            say(feed.said)
            if division.column:
                named = ", ".join(map(str, division.values))
                say(f"held out: {division.column} {named}, {len(division.held_out)} clips")
            if request.fast and request.device.type == "cpu":
                precision = torch.bfloat16 if run.config.precision == "bf16" else torch.float32
                seconds = fast_ops.compile_kernels(precision, dropout=run.config.encoder.dropout > 0)
                if seconds:
                    say(f"kernels compiled in {seconds:.0f} s, once on this machine")
            started = time.perf_counter()
            for tick in _steps(method, optimiser, feed, request, run, division, first, saving, stop):
                losses.append(tick.loss["total"])
                if log is None:
                    continue
                log.write(
                    step=tick.step - 1,
                    epoch=tick.epoch,
                    lr=tick.learning_rate,
                    **tick.loss,
                    **({} if tick.held_out_knn is None else {"held_out_knn": tick.held_out_knn}),
                    samples_per_second=tick.samples_per_second,
                )
                progress(tick)
    where = devices.describe(request.device)
    seconds, per_epoch = time.perf_counter() - started, len(division.kept) // run.config.batch_size
    return Report(
        outcome="up to date" if not losses else "resumed" if first else "trained",
        run=run,
        device=f"{ranks.size()} x {where}" if ranks.size() > 1 else where,
        steps=len(losses),
        seconds=seconds,
        samples_per_second=len(losses) * run.config.batch_size / seconds if losses else 0.0,
        first_loss=statistics.fmean(losses[:per_epoch]) if losses else None,
        last_loss=statistics.fmean(losses[-per_epoch:]) if losses else None,
        best=saving.best,
        skipped=skipped,
    )


def _feed(request: Request, run: Run, rows: NDArray[np.int64], saving: Saving, stop: StopFlag) -> Feed:
    """The training clips where they are to lie; a signal that comes meanwhile is obeyed by all ranks."""

    def alone(_: int = 0) -> None:
        if ranks.size() == 1 and stop.number is not None:
            raise saving.interrupted(stop.number)

    found = residency.feed(request.store, rows, run.config, request.device, request.residency, request.workers, alone)
    if number := ranks.greatest(stop.number or 0):
        raise saving.interrupted(number)
    return found


def _steps(
    method: Method,
    optimiser: torch.optim.Optimizer,
    feed: Feed,
    request: Request,
    run: Run,
    division: Division,
    first: int,
    saving: Saving,
    stop: StopFlag,
) -> Iterator[Tick]:
    """The loop: every step from `first` on, with a look at the held-out clips and a checkpoint where it is time.

    Raises:
        Interrupted: a signal came; the checkpoint is written.
        NotFinite: the loss is no number any more.
    """
    config, rows = run.config, division.kept
    watch = Monitor(request.store, division, config) if config.validate_every else None
    per_epoch = len(rows) // config.batch_size
    one_gpu = request.device.type == "cuda" and ranks.size() == 1
    replay = replayed(method, optimiser, config) if request.fast and one_gpu else None
    started = time.perf_counter()
    planned = batches(feed.order, config.batch_size, first, run.total_steps)
    for step, epoch, chosen, batch in feed.clips.follow(planned):
        rate = schedule.learning_rate(config, step / per_epoch)
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = train_step(method, optimiser, batch, rows[chosen], step, epoch, run, replay)
        values, done, now = {name: float(value) for name, value in loss.items()}, step + 1, time.perf_counter()
        names = ", ".join(request.store.names[row] for row in rows[chosen])
        if not math.isfinite(values["total"]):
            raise NotFinite(f"{run.path}: the loss is {values['total']} at step {step}; its batch: {names}")
        score = None
        if watch and (done % (config.validate_every * per_epoch) == 0 or done == run.total_steps):
            score = watch.score(method.pair.query)
            saving.scored(done, score)
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
        saving.step_done(done, stop.number or 0, names)
