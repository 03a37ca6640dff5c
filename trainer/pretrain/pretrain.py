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

from pipeline.artifacts.latest import record_latest
from pipeline.errors import ArtifactError
from pipeline.files.locks import sole_writer
from pipeline.store.splits import Split
from pipeline.store.store import Store
from trainer.config.pretrain import PretrainConfig
from trainer.data.holdout import HoldoutSplit, split_holdout
from trainer.data.residency import DataFeed, Residency, open_feed
from trainer.data.shuffle import plan_batches
from trainer.methods.method import Method
from trainer.models.fast import cpu_ops
from trainer.pretrain.checkpointing import Checkpointer, NotFinite
from trainer.pretrain.open_run import open_run
from trainer.pretrain.optimiser import build_optimiser, learning_rate
from trainer.pretrain.step import replayed, require_clips_for_all, train_step
from trainer.pretrain.validation import HoldoutValidation
from trainer.runs import checkpoint
from trainer.runs.log import RunLog
from trainer.runs.run import LOG_FILE, Run, load_run, method_of_run, newest_checkpoint
from trainer.runtime import distributed
from trainer.runtime.device import choose_device, describe_device
from trainer.runtime.signals import Interrupted, StopFlag, catch_stop_signals

CHECKPOINT_SECONDS = 120.0
"""A kill costs at most so much work; saving takes some milliseconds, so once in two minutes is free."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainRequest:
    """What the user asks of a pre-training."""

    store: Store
    split: Split
    preset: str
    config: PretrainConfig
    output: Path
    device: torch.device = field(default_factory=choose_device)
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
    """Encode by trainer/models/fast/cpu.py, or by trainer/models/fast/gpu.py, where a process that is alone also repeats a step's passes
    as one CUDA graph; off, by the encoder's plain equations. They differ by rounding, and by what dropout takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainProgress:
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
class PretrainResult:
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


def pretrain(
    request: PretrainRequest,
    progress: Callable[[PretrainProgress], None] = lambda tick: None,
    say: Callable[[str], None] = lambda line: None,
) -> PretrainResult:
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
    with distributed.process_group(request.device), ExitStack() as held:

        def first() -> Run:
            require_clips_for_all(request.config)
            held.enter_context(sole_writer(request.output))
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
            record_latest(run.path.parent, "run", run.path.name)
            return run

        run = distributed.run_on_rank_zero(first) or load_run(request.output)
        try:
            return _train(request, run, progress, say)
        except (Interrupted, NotFinite) as error:
            if distributed.rank() == 0:
                raise
            raise distributed.ReportedByRankZero(error.exit_code) from error


def _train(
    request: PretrainRequest, run: Run, progress: Callable[[PretrainProgress], None], say: Callable[[str], None]
) -> PretrainResult:
    method = method_of_run(run, fast=request.fast)
    pair = method.pair.to(request.device).train()
    optimiser = build_optimiser(pair.query.parameters(), run.config)
    first, skipped, best = 0, list[str](), None
    if checkpoint.listed(run.checkpoints):
        newest, meta, skipped = newest_checkpoint(run)
        checkpoint.load_model(newest, pair)
        checkpoint.load_optimiser(newest, optimiser)
        first, best = meta["step"], meta.get("best")
        if distributed.rank() == 0:
            checkpoint.tidy(run.checkpoints, newest)
    if not distributed.same_on_all_ranks(f"{run.digest} {first}"):
        raise ArtifactError(f"{run.path}: the processes do not see the same run; it must lie where all of them read")
    division = split_holdout(request.store, request.split, run.config)
    saving = Checkpointer(run, pair, optimiser, first, best, CHECKPOINT_SECONDS)
    started, losses = time.perf_counter(), list[float]()
    if first < run.total_steps:
        with ExitStack() as held:
            stop = held.enter_context(catch_stop_signals())
            log = held.enter_context(RunLog(run.path / LOG_FILE, first)) if distributed.rank() == 0 else None
            saving.log = log
            held.enter_context(saving.last_step_kept())
            feed = _batches(request, run, division.train_rows, saving, stop)
            say(feed.description)
            if division.column:
                named = ", ".join(map(str, division.values))
                say(f"held out: {division.column} {named}, {len(division.held_out_rows)} clips")
            if request.fast and request.device.type == "cpu":
                precision = torch.bfloat16 if run.config.precision == "bf16" else torch.float32
                seconds = cpu_ops.compile_kernels(precision, dropout=run.config.encoder.dropout > 0)
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
    where = describe_device(request.device)
    seconds, per_epoch = time.perf_counter() - started, len(division.train_rows) // run.config.batch_size
    return PretrainResult(
        outcome="up to date" if not losses else "resumed" if first else "trained",
        run=run,
        device=f"{distributed.world_size()} x {where}" if distributed.world_size() > 1 else where,
        steps=len(losses),
        seconds=seconds,
        samples_per_second=len(losses) * run.config.batch_size / seconds if losses else 0.0,
        first_loss=statistics.fmean(losses[:per_epoch]) if losses else None,
        last_loss=statistics.fmean(losses[-per_epoch:]) if losses else None,
        best=saving.best,
        skipped=skipped,
    )


def _batches(
    request: PretrainRequest, run: Run, rows: NDArray[np.int64], saving: Checkpointer, stop: StopFlag
) -> DataFeed:
    """The training clips where they are to lie; a signal that comes meanwhile is obeyed by all ranks."""

    def alone(_: int = 0) -> None:
        if distributed.world_size() == 1 and stop.number is not None:
            raise saving.interrupted(stop.number)

    found = open_feed(request.store, rows, run.config, request.device, request.residency, request.workers, alone)
    if number := distributed.all_reduce_max(stop.number or 0):
        raise saving.interrupted(number)
    return found


def _steps(
    method: Method,
    optimiser: torch.optim.Optimizer,
    feed: DataFeed,
    request: PretrainRequest,
    run: Run,
    division: HoldoutSplit,
    first: int,
    saving: Checkpointer,
    stop: StopFlag,
) -> Iterator[PretrainProgress]:
    """The loop: every step from `first` on, with a look at the held-out clips and a checkpoint where it is time.

    Raises:
        Interrupted: a signal came; the checkpoint is written.
        NotFinite: the loss is no number any more.
    """
    config, rows = run.config, division.train_rows
    watch = HoldoutValidation(request.store, division, config) if config.validate_every else None
    per_epoch = len(rows) // config.batch_size
    one_gpu = request.device.type == "cuda" and distributed.world_size() == 1
    replay = replayed(method, optimiser, config) if request.fast and one_gpu else None
    started = time.perf_counter()
    planned = plan_batches(feed.order, config.batch_size, first, run.total_steps)
    for step, epoch, chosen, batch in feed.clips.iterate(planned):
        rate = learning_rate(config, step / per_epoch)
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
        yield PretrainProgress(
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
