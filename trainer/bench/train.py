"""How fast a training step is, at full width and in preset quick, beside the peers'. For `skelepipe bench train`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pipeline.skeleton.layout import KINECT_V2
from trainer.bench.reference_step import ReferenceStep
from trainer.bench.timing import Progress, Row, Way, time_interleaved
from trainer.config.presets import compose_pretrain, load_preset
from trainer.config.pretrain import PretrainConfig
from trainer.data import augment, counter_rng
from trainer.methods import skelemix
from trainer.pretrain.optimiser import build_optimiser
from trainer.pretrain.step import capture_step, train_step
from trainer.runs.run import Run, build_run_method

SMALL = PretrainConfig(
    frames=16,
    bodies=1,
    method={"mix": {"frames": (1, 3)}},  # type: ignore[arg-type]
    pair={"queue_size": 64},  # type: ignore[arg-type]
    encoder={"hidden_channels": 2, "hidden_dim": 8, "feature_dim": 4},  # type: ignore[arg-type]
)
BATCHES = {"cpu": (32,), "cuda": (128, 1024)}
WAYS = (("plain", "fp32"), ("fast", "fp32"), ("plain", "bf16"), ("fast", "bf16"))


def bench_train(
    rounds: int, progress: Progress, device: torch.device, *, small: bool = False, batch: int | None = None
) -> list[Row]:
    """Time whole steps (draws, augmentation, mixing, all passes, backward, optimiser) on clips that lie on the device.

    The ways of one size are held against the first of that size; on a GPU each also states the memory it takes.
    """
    rows = []
    for clips in (batch,) if batch else BATCHES[device.type]:
        config = (SMALL if small else PretrainConfig()).model_copy(update={"batch_size": 4 if small else clips})
        ways = [peers_way(config, device), *(way(config, device, *which) for which in WAYS)]
        rows += time_interleaved(ways, rounds, progress)
        rows += peak_memory(ways, device)
    quick = compose_pretrain(load_preset("quick")).fitted(1188, bodies=1)  # as on 1,188 clips of one person
    quick = SMALL.model_copy(update={"batch_size": 6}) if small else quick
    return rows + time_interleaved([way(quick, device, *which) for which in WAYS], rounds, progress)


def way(config: PretrainConfig, device: torch.device, how: str, precision: str) -> Way:
    """Our own step, as a training runs it."""
    config = config.model_copy(update={"precision": precision})
    run = run_of(config)
    method = build_run_method(run, fast=how == "fast")
    pair = method.pair.to(device).train()
    optimiser = build_optimiser(pair.query.parameters(), config)
    replay = capture_step(method, optimiser, config) if how == "fast" and device.type == "cuda" else None
    clips, rows, done = _clips(config, device), np.arange(config.batch_size), iter(range(10**9))

    def step() -> None:
        train_step(method, optimiser, clips, rows, next(done), 0, run, replay)

    return Way(f"{how}, {precision}", _size(config), "samples/s", config.batch_size, timed(step, device))


def peers_way(config: PretrainConfig, device: torch.device) -> Way:
    """The step of `trainer.peers_step`, on our views and mixtures."""
    run = run_of(config)
    method = build_run_method(run)
    peers = ReferenceStep(method).to(device)
    optimiser = build_optimiser(peers.query.parameters(), config)
    clips, samples, done = _clips(config, device), torch.arange(config.batch_size, device=device), iter(range(10**9))
    frames_out = method.pair.query.frames_out(config.frames)

    def step() -> None:
        number = next(done)
        query, key = (
            augment.random_view(
                clips, counter_rng.uniform(config.seed, 0, samples, view, augment.DRAWS_PER_VIEW), config.augment
            )
            for view in range(2)
        )
        regions = [
            skelemix.draw_region(
                KINECT_V2, config.method.mix, len(clips), frames_out, counter_rng.generator(0, number, repeat)
            )
            for repeat in range(method.repeats)
        ]
        optimiser.zero_grad()
        torch.autograd.backward(peers.loss(query, key, method.mixes(query, regions)))
        optimiser.step()

    return Way("the peers' way, fp32", _size(config), "samples/s", config.batch_size, timed(step, device))


def timed(work: Callable[[], None], device: torch.device) -> Callable[[], float | None]:
    """Work that answers its seconds: on a GPU those between two of its events, elsewhere the clock says it.

    What it raises: MemoryError, when the GPU's is too small.
    """
    if device.type != "cuda":
        return work

    def between_events() -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # of torch
        start.record()
        try:
            work()
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from None
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    return between_events


def peak_memory(ways: list[Way], device: torch.device) -> list[Row]:
    """The most that a step of each way takes on a GPU beyond the weights, queues and clips that lie there before it."""
    if device.type != "cuda":
        return []

    def most(way: Way) -> float:
        torch.cuda.empty_cache()  # of a way that did not fit
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        way.work()
        return (torch.cuda.max_memory_allocated(device) - held) / 1e9

    measured = [Way(f"memory of {way.what}", way.size, "GB", None, lambda way=way: most(way)) for way in ways]  # type: ignore[misc]
    return time_interleaved(measured, 1, lambda line: None, ratios=False)


def run_of(config: PretrainConfig) -> Run:
    """A run that lies nowhere, for steps that are only timed."""
    return Run(path=Path(), preset="", config=config, layout=KINECT_V2, lineage={}, total_steps=10**9, digest="")


def _clips(config: PretrainConfig, device: torch.device) -> torch.Tensor:
    shape = (config.batch_size, 3, config.frames, len(KINECT_V2.joints), config.bodies)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)


def _size(config: PretrainConfig) -> str:
    return f"B {config.batch_size}, C {config.encoder.hidden_channels}, T {config.frames}, M {config.bodies}"
