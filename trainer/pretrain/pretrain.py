"""Pre-train an encoder (`skelepipe pretrain`): the training loop, checkpoints, log and progress, for any method."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.artifacts.latest import record_latest
from pipeline.errors import ArtifactError, NotFinite
from pipeline.files.locks import sole_writer
from pipeline.files.text_paths import request_with_text_paths
from pipeline.store.splits import Split
from pipeline.store.store import Store
from trainer.config.pretrain import PretrainConfig
from trainer.data.holdout import HoldoutSplit, rare_bodies_notes, split_holdout
from trainer.data.residency import DataFeed, Residency, open_feed
from trainer.data.shuffle import plan_batches
from trainer.methods.method import Method
from trainer.models.fast import cpu_ops
from trainer.pretrain.checkpointing import Checkpointer
from trainer.pretrain.open_run import open_run
from trainer.pretrain.optimiser import build_optimiser, learning_rate
from trainer.pretrain.step import capture_step, require_clips_for_all, train_step
from trainer.pretrain.validation import HoldoutValidation
from trainer.runs import checkpoint
from trainer.runs.folder_watch import watch_folder
from trainer.runs.log import RunLog, describe_damaged_lines, seconds_of_training
from trainer.runs.requirements import require_disk
from trainer.runs.run import LOG_FILE, Run, build_run_method, load_run, newest_checkpoint, require_fit
from trainer.runs.source_commit import source_commit
from trainer.runtime import distributed
from trainer.runtime.device import choose_device, describe_device
from trainer.runtime.signals import Interrupted, StopFlag, catch_stop_signals

CHECKPOINT_SECONDS = 120.0
"""Time between checkpoints, and so the most work a kill can cost. Saving takes some milliseconds."""


@request_with_text_paths
@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainRequest:
    """What to train."""

    store: Store
    split: Split
    preset: str
    config: PretrainConfig
    output: Path
    device: torch.device = field(default_factory=choose_device)
    any_recipe: bool = False
    """Train even if the configuration names another recipe than the store's."""
    force: bool = False
    """Replace a run that does not match the request; a run that matches is resumed in any case."""
    extend: bool = False
    """Train a run longer that matches the request except for a smaller number of epochs."""
    residency: Residency = "auto"
    """Where the clips are kept; affects only speed and memory."""
    workers: int = 1
    """Threads that prefetch batches; affects only speed and memory."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Origins of configuration values that are not defaults, to be recorded in the run."""
    fast: bool = True
    """Use the fast implementation of the encoder (models/fast/) and, in a single process with a GPU, a CUDA graph.

    Results differ from the plain implementation by rounding and by the elements that dropout selects.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainProgress:
    """The state of a training after a step."""

    step: int
    total_steps: int
    epoch: int
    epochs: int
    batch_size: int
    learning_rate: float
    loss: dict[str, float]
    held_out_knn: float | None
    """Top-1 accuracy in per cent of the held-out clips, if it was computed after this step."""
    samples_per_second: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainResult:
    """What a training did."""

    outcome: str
    """`trained`, `resumed` or `up to date`."""
    run: Run
    device: str
    steps: int
    """Steps of this call."""
    seconds: float
    samples_per_second: float
    first_loss: float | None
    """Mean total loss of the first epoch of this call; `last_loss` likewise for the last epoch."""
    last_loss: float | None
    best: dict[str, Any] | None
    """Step, epoch (from 0) and held-out kNN accuracy of the best checkpoint, if the run validates."""
    skipped: list[str]
    """Damaged checkpoints that were skipped, with reasons."""


def pretrain(
    request: PretrainRequest,
    progress: Callable[[PretrainProgress], None] = lambda state: None,
    notify: Callable[[str], None] = lambda message: None,
) -> PretrainResult:
    """Train an encoder from the start, or resume the same run from its newest intact checkpoint.

    Args:
        request: what to train.
        progress: called after every step, on rank 0.
        notify: called with messages about automatic choices, such as where the clips are kept.

    Raises:
        OutputExists: the output is a run that does not match the request, and `force` is off.
        OutputLocked: another process is training in the output folder.
        OutputFailed: the disk reports an error, or the run folder was removed, moved or replaced during training.
        ArtifactError: the store does not fit the configuration.
        ConfigError: no region can be mixed, or the batch is larger than the training set.
        Interrupted: this or another rank received a signal; the checkpoint is written.
        NotFinite: the loss became NaN or infinite.
        PeerLost: another rank is gone; the checkpoint of the last complete step is written.
        ReportedByRankZero: rank 0 has raised one of these errors.
    """
    with distributed.process_group(request.device), ExitStack() as stack:

        def open_locked() -> Run:
            require_clips_for_all(request.config)
            stack.enter_context(sole_writer(request.output))
            run = open_run(
                request.store,
                request.split,
                request.preset,
                request.config,
                request.output,
                device=request.device,
                residency=request.residency,
                workers=request.workers,
                any_recipe=request.any_recipe,
                force=request.force,
                extend=request.extend,
                origins=request.origins,
            )
            for note in rare_bodies_notes(request.store, request.split, request.config, run.config):
                notify(note)
            record_latest(run.path.parent, "run", run.path.name)
            return run

        run = distributed.run_on_rank_zero(open_locked) or load_run(request.output)
        try:
            return _train(request, run, progress, notify)
        except (Interrupted, NotFinite) as error:
            if distributed.rank() == 0:
                raise
            raise distributed.ReportedByRankZero(error.exit_code) from error


def _train(
    request: PretrainRequest, run: Run, progress: Callable[[PretrainProgress], None], notify: Callable[[str], None]
) -> PretrainResult:
    resumed = newest_checkpoint(run) if checkpoint.list_checkpoints(run.checkpoints) else None
    if resumed:
        require_fit(run, resumed[0])
    method = build_run_method(run, fast=request.fast)
    pair = method.pair.to(request.device).train()
    optimiser = build_optimiser(pair.query.parameters(), run.config)
    first_step, skipped, best = 0, list[str](), None
    if resumed:
        newest, meta, skipped = resumed
        checkpoint.load_model(newest, pair)
        checkpoint.load_optimiser(newest, optimiser)
        first_step, best = meta["step"], meta.get("best")
        if distributed.rank() == 0:
            checkpoint.remove_old(run.checkpoints, newest)
    if not distributed.same_on_all_ranks(f"{run.digest} {first_step}"):
        raise ArtifactError(
            f"{run.path}: the processes do not see the same run; put it in a folder that all of them share"
        )
    holdout = split_holdout(request.store, request.split, run.config)
    checkpointer = Checkpointer(run, pair, optimiser, first_step, best, CHECKPOINT_SECONDS)
    device = describe_device(request.device)
    device = f"{distributed.world_size()} x {device}" if distributed.world_size() > 1 else device
    started, losses = time.perf_counter(), list[float]()
    if first_step < run.total_steps:
        if distributed.rank() == 0:
            require_disk(run.path, run.layout, run.config)
            if damaged := describe_damaged_lines(run.path / LOG_FILE):
                notify(damaged)
        with ExitStack() as stack:
            stop = stack.enter_context(catch_stop_signals())
            watch = stack.enter_context(watch_folder(run)) if distributed.rank() == 0 else None
            log = stack.enter_context(RunLog(run.path / LOG_FILE, first_step)) if distributed.rank() == 0 else None
            checkpointer.log = log
            checkpointer.watch = watch
            stack.enter_context(checkpointer.save_if_peer_lost())
            feed = _open_feed(request, run, holdout.train_rows, checkpointer, stop)
            notify(feed.description)
            if not first_step:
                notify(f"the loss rises at first, until the queue has its {run.config.pair.queue_size:,} negatives")
            if holdout.column:
                values = ", ".join(map(str, holdout.values))
                notify(f"held out for validation: {holdout.column} {values}, {len(holdout.held_out_rows)} clips")
            if request.fast and not pair.query.has_fast_feature_map:
                notify(f"encoder {run.config.encoder.name} has no fast implementation: the plain one is used")
            elif request.fast and request.device.type == "cpu":
                precision = torch.bfloat16 if run.config.precision == "bf16" else torch.float32
                seconds = cpu_ops.compile_kernels(precision, dropout=run.config.encoder.dropout > 0)
                if seconds:
                    notify(f"compiled CPU kernels in {seconds:.0f} s; they are cached on this machine")
            earlier = seconds_of_training(run.path / LOG_FILE)
            started = time.perf_counter()
            for state in _steps(method, optimiser, feed, request, run, holdout, first_step, checkpointer, stop):
                losses.append(state.loss["total"])
                if log is None:
                    continue
                log.write(
                    step=state.step - 1,
                    epoch=state.epoch,
                    lr=state.learning_rate,
                    **state.loss,
                    **({} if state.held_out_knn is None else {"held_out_knn": state.held_out_knn}),
                    samples_per_second=state.samples_per_second,
                    seconds=round(earlier + time.perf_counter() - started, 2),
                    **({"device": device, "commit": source_commit()} if len(losses) == 1 else {}),
                )
                progress(state)
    seconds, per_epoch = time.perf_counter() - started, len(holdout.train_rows) // run.config.batch_size
    return PretrainResult(
        outcome="up to date" if not losses else "resumed" if first_step else "trained",
        run=run,
        device=device,
        steps=len(losses),
        seconds=seconds,
        samples_per_second=len(losses) * run.config.batch_size / seconds if losses else 0.0,
        first_loss=statistics.fmean(losses[:per_epoch]) if losses else None,
        last_loss=statistics.fmean(losses[-per_epoch:]) if losses else None,
        best=checkpointer.best,
        skipped=skipped,
    )


def _open_feed(
    request: PretrainRequest, run: Run, rows: NDArray[np.int64], checkpointer: Checkpointer, stop: StopFlag
) -> DataFeed:
    """Load or stream the training clips. All ranks stop if one of them receives a signal meanwhile."""

    def stop_if_alone(_: int = 0) -> None:
        if distributed.world_size() == 1 and stop.number is not None:
            raise checkpointer.interrupted(stop.number)

    feed = open_feed(request.store, rows, run.config, request.device, request.residency, request.workers, stop_if_alone)
    if number := distributed.all_reduce_max(stop.number or 0):
        raise checkpointer.interrupted(number)
    return feed


def _steps(
    method: Method,
    optimiser: torch.optim.Optimizer,
    feed: DataFeed,
    request: PretrainRequest,
    run: Run,
    holdout: HoldoutSplit,
    first_step: int,
    checkpointer: Checkpointer,
    stop: StopFlag,
) -> Iterator[PretrainProgress]:
    """Run every step from `first_step` on, with validation and checkpoints.

    Raises:
        Interrupted: a rank received a signal; the checkpoint is written.
        NotFinite: the loss became NaN or infinite.
    """
    config, rows = run.config, holdout.train_rows
    validation = HoldoutValidation(request.store, holdout, config) if config.validate_every else None
    per_epoch = len(rows) // config.batch_size
    one_gpu = request.device.type == "cuda" and distributed.world_size() == 1
    cuda_graph = capture_step(method, optimiser, config) if request.fast and one_gpu else None
    started = time.perf_counter()
    planned = plan_batches(feed.order, config.batch_size, first_step, run.total_steps)
    for step, epoch, chosen, batch in feed.clips.iterate(planned):
        rate = learning_rate(config, step / per_epoch)
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = train_step(method, optimiser, batch, rows[chosen], step, epoch, run, cuda_graph)
        # One transfer from the device: each one waits for the end of the step.
        values = dict(zip(loss, torch.stack(list(loss.values())).tolist(), strict=True))
        done, now = step + 1, time.perf_counter()
        names = partial(_names, request.store, rows[chosen])
        if not math.isfinite(values["total"]):
            raise NotFinite(
                f"{run.path}: the loss is {values['total']} at step {step}; samples of its batch: {names()}"
            )
        score = None
        if validation and (done % (config.validate_every * per_epoch) == 0 or done == run.total_steps):
            score = validation.score(method.pair.query)
            checkpointer.record_score(done, score)
        yield PretrainProgress(
            step=done,
            total_steps=run.total_steps,
            epoch=epoch,
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=rate,
            loss=values,
            held_out_knn=score,
            samples_per_second=round((done - first_step) * config.batch_size / (now - started), 1),
        )
        checkpointer.after_step(done, stop.number or 0, names)


def _names(store: Store, rows: NDArray[np.int64]) -> str:
    """The names of some clips, for the message of an error."""
    return ", ".join(store.names[row] for row in rows)
