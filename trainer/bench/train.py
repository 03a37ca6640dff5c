"""Benchmark of training steps for `skelepipe bench train`, compared with a reference implementation."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pipeline.skeleton.layout import KINECT_V2
from trainer.bench.reference_step import ReferenceStep
from trainer.bench.timing import Progress, Row, Variant, time_interleaved
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
BATCH_SIZES = {"cpu": (32,), "cuda": (128, 1024)}
VARIANTS = (("plain", "fp32"), ("fast", "fp32"), ("plain", "bf16"), ("fast", "bf16"))


def bench_train(
    rounds: int, progress: Progress, device: torch.device, *, small: bool = False, batch: int | None = None
) -> list[Row]:
    """Measure whole steps (random numbers, augmentation, mixing, all passes, backward, optimiser), clips on the device.

    Variants are compared with the first one of the same size. On a GPU, their memory is measured, too.
    """
    rows = []
    for clips in (batch,) if batch else BATCH_SIZES[device.type]:
        config = (SMALL if small else PretrainConfig()).model_copy(update={"batch_size": 4 if small else clips})
        variants = [reference_variant(config, device), *(our_variant(config, device, *names) for names in VARIANTS)]
        rows += time_interleaved(variants, rounds, progress)
        rows += peak_memory(variants, device)
    quick = compose_pretrain(load_preset("quick")).fitted(1188, bodies=1)  # as on 1,188 clips of one person
    quick = SMALL.model_copy(update={"batch_size": 6}) if small else quick
    return rows + time_interleaved([our_variant(quick, device, *names) for names in VARIANTS], rounds, progress)


def our_variant(config: PretrainConfig, device: torch.device, implementation: str, precision: str) -> Variant:
    """Return our step, as a training runs it."""
    config = config.model_copy(update={"precision": precision})
    run = make_run(config)
    method = build_run_method(run, fast=implementation == "fast")
    pair = method.pair.to(device).train()
    optimiser = build_optimiser(pair.query.parameters(), config)
    replay = capture_step(method, optimiser, config) if implementation == "fast" and device.type == "cuda" else None
    clips, rows, numbers = _clips(config, device), np.arange(config.batch_size), itertools.count()

    def step() -> None:
        train_step(method, optimiser, clips, rows, next(numbers), 0, run, replay)

    return Variant(
        f"{implementation}, {precision}", _size(config), "samples/s", config.batch_size, with_timer(step, device)
    )


def reference_variant(config: PretrainConfig, device: torch.device) -> Variant:
    """Return the step of `trainer.bench.reference_step`, on our views and mixed clips."""
    run = make_run(config)
    method = build_run_method(run)
    reference = ReferenceStep(method).to(device)
    optimiser = build_optimiser(reference.query.parameters(), config)
    clips, samples, numbers = _clips(config, device), torch.arange(config.batch_size, device=device), itertools.count()
    frames_out = method.pair.query.frames_out(config.frames)

    def step() -> None:
        number = next(numbers)
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
        torch.autograd.backward(reference.loss(query, key, method.mixes(query, regions)))
        optimiser.step()

    return Variant("reference code, fp32", _size(config), "samples/s", config.batch_size, with_timer(step, device))


def with_timer(work: Callable[[], None], device: torch.device) -> Callable[[], float | None]:
    """Make work return its seconds on a GPU, between two CUDA events; on a CPU the caller measures the time.

    The returned function raises MemoryError if the GPU memory is too small.
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


def peak_memory(variants: list[Variant], device: torch.device) -> list[Row]:
    """Measure the peak GPU memory of a step of each variant, beyond the weights, queues and clips held before it."""
    if device.type != "cuda":
        return []

    def peak(variant: Variant) -> float:
        torch.cuda.empty_cache()  # left by a variant that did not fit
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        variant.work()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e9

    measured = [
        Variant(f"memory of {variant.what}", variant.size, "GB", None, lambda variant=variant: peak(variant))  # type: ignore[misc]
        for variant in variants
    ]
    return time_interleaved(measured, 1, lambda line: None, ratios=False)


def make_run(config: PretrainConfig) -> Run:
    """Return a run without a folder, for steps that are only measured."""
    return Run(path=Path(), preset="", config=config, layout=KINECT_V2, lineage={}, total_steps=10**9, digest="")


def _clips(config: PretrainConfig, device: torch.device) -> torch.Tensor:
    shape = (config.batch_size, 3, config.frames, len(KINECT_V2.joints), config.bodies)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)


def _size(config: PretrainConfig) -> str:
    return f"B {config.batch_size}, C {config.encoder.hidden_channels}, T {config.frames}, M {config.bodies}"
