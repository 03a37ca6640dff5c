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
from numpy.typing import NDArray
from torch import Tensor

from pipeline import latest, publish
from pipeline.errors import ArtifactError, OutputExists, SkelepipeError
from pipeline.splits import Split
from pipeline.store import Store
from trainer import augment, checkpoint, draws, loader, runs, skelemix
from trainer import device as devices
from trainer.config import PretrainConfig
from trainer.interrupt import Interrupted, StopFlag, stop_requests
from trainer.methods import Method
from trainer.runlog import RunLog
from trainer.runs import Run
from trainer.streams import derive

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
    skipped: list[str]


class NotFinite(SkelepipeError):
    """The loss became NaN or infinite; the text names the batch's samples."""


def fit(request: Request, progress: Callable[[Tick], None] = lambda tick: None) -> Report:
    """Train an encoder, from the start or from the newest whole checkpoint of the same run.

    Raises:
        OutputExists: the output is another run and `force` is off.
        OutputLocked: another process trains there.
        OutputFailed: the disk refuses.
        ArtifactError: the store does not fit the configuration.
        Interrupted: a signal came; the checkpoint is written.
        NotFinite: the loss is no number any more.
    """
    with publish.sole_writer(request.output):
        run = _open_run(request)
        latest.record(run.path.parent, "run", run.path.name)
        return _train(request, run, progress)


def _open_run(request: Request) -> Run:
    """The run at the output if it is the one asked for, else a new one."""
    store, split = request.store, request.split
    if request.config.recipe not in (None, store.facts["recipe"]["name"]) and not request.any_recipe:
        raise ArtifactError(
            f"{store.path}: was made by recipe {store.facts['recipe']['name']}, the configuration is for "
            f"{request.config.recipe}; ingest with --recipe {request.config.recipe}, or train on it with --any-recipe"
        )
    columns = store.columns
    config = request.config.fitted(len(split.train), int(columns["bodies"][split.train].max(initial=1)))
    facts: dict[str, Any] = {
        "preset": request.preset,
        "config": config.model_dump(mode="json"),
        "layout": store.layout.to_json(),
        "total_steps": config.epochs * (len(split.train) // config.batch_size),
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
    if run.imported:
        return f"origin: imported weights ({run.imported['file']}), with which pretrain cannot go on"
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


def _train(request: Request, run: Run, progress: Callable[[Tick], None]) -> Report:
    method = runs.start(run)
    pair = method.pair.to(request.device).train()
    optimiser = torch.optim.SGD(
        pair.query.parameters(),
        lr=run.config.learning_rate,
        momentum=run.config.optimiser_momentum,
        weight_decay=run.config.weight_decay,
    )
    first, skipped = 0, list[str]()
    if checkpoint.listed(run.checkpoints):
        newest, meta, skipped = runs.newest_checkpoint(run)
        checkpoint.load_model(newest, pair)
        checkpoint.load_optimiser(newest, optimiser)
        first = meta["step"]
    started, losses = time.perf_counter(), list[float]()
    if first < run.total_steps:
        rows = request.split.train
        clips = loader.load(request.store, rows, run.config.frames, run.config.bodies).to(request.device)
        started = time.perf_counter()
        with RunLog(run.path / runs.LOG, first) as log, stop_requests() as stop:
            for tick in _steps(method, optimiser, clips, request, run, first, stop):
                losses.append(tick.loss["total"])
                log.write(
                    step=tick.step - 1,
                    epoch=tick.epoch,
                    lr=tick.learning_rate,
                    **tick.loss,
                    samples_per_second=tick.samples_per_second,
                )
                progress(tick)
    seconds, per_epoch = time.perf_counter() - started, len(request.split.train) // run.config.batch_size
    return Report(
        outcome="up to date" if not losses else "resumed" if first else "trained",
        run=run,
        device=devices.describe(request.device),
        steps=len(losses),
        seconds=seconds,
        samples_per_second=len(losses) * run.config.batch_size / seconds if losses else 0.0,
        first_loss=statistics.fmean(losses[:per_epoch]) if losses else None,
        last_loss=statistics.fmean(losses[-per_epoch:]) if losses else None,
        skipped=skipped,
    )


def _steps(
    method: Method,
    optimiser: torch.optim.Optimizer,
    clips: Tensor,
    request: Request,
    run: Run,
    first: int,
    stop: StopFlag,
) -> Iterator[Tick]:
    """The loop: every step from `first` on, with checkpoints at the end, now and then, and when a signal came.

    Raises:
        Interrupted: a signal came; the checkpoint is written.
        NotFinite: the loss is no number any more.
    """
    config, rows = run.config, request.split.train
    per_epoch = len(clips) // config.batch_size
    started = saved = time.perf_counter()
    for step, epoch, chosen in loader.batches(len(clips), config.batch_size, config.seed, first, run.total_steps):
        rate = learning_rate(config, step / per_epoch)
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = train_step(method, optimiser, clips[chosen], rows[chosen], step, epoch, run)
        values, done, now = {name: float(value) for name, value in loss.items()}, step + 1, time.perf_counter()
        if not math.isfinite(values["total"]):
            names = ", ".join(request.store.names[row] for row in rows[chosen])
            raise NotFinite(f"{run.path}: the loss is {values['total']} at step {step}; its batch: {names}")
        yield Tick(
            step=done,
            total_steps=run.total_steps,
            epoch=epoch,
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=rate,
            loss=values,
            samples_per_second=round((done - first) * config.batch_size / (now - started), 1),
        )
        if stop.number is not None or done == run.total_steps or now - saved > CHECKPOINT_SECONDS:
            checkpoint.save(run.checkpoints, method.pair, optimiser, {"step": done, "epoch": epoch, "run": run.digest})
            saved = now
        if stop.number is not None and done < run.total_steps:
            name = signal.Signals(stop.number).name
            raise Interrupted(
                f"{run.path}: stopped by {name} at step {done} of {run.total_steps}; "
                "the same command goes on from there",
                stop.number,
            )


def train_step(
    method: Method,
    optimiser: torch.optim.Optimizer,
    clips: Tensor,
    rows: NDArray[np.int64],
    step: int,
    epoch: int,
    run: Run,
) -> dict[str, Tensor]:
    """One step on clips (N, C, T, V, M) of some store rows; its draws depend on seed, epoch, row and step alone."""
    config, layout = run.config, run.layout
    samples = torch.from_numpy(rows).to(clips.device)
    views = []
    for view in range(2):
        uniforms = draws.uniform(config.seed, epoch, samples, view, augment.COUNT)
        views.append(derive(augment.view(clips, uniforms, config.augment), config.stream, layout))
    frames_out = method.pair.query.frames_out(config.frames)
    regions = [
        skelemix.draw(layout, config.method.mix, len(clips), frames_out, draws.generator(config.seed, step, repeat))
        for repeat in range(config.method.repeats)
    ]
    draws.seed_torch(config.seed, step, 0)
    terms = method.step(views[0], views[1], regions)
    optimiser.zero_grad()
    terms.total.backward()
    optimiser.step()
    return {"total": terms.total.detach(), "instance": terms.instance.detach(), "mixed": terms.mixed.detach()}


def learning_rate(config: PretrainConfig, epoch: float) -> float:
    """The rate at a moment, in epochs from the start (fractions count)."""
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / config.epochs))
