"""Benchmark of loading for `skelepipe bench load`: clips and augmented views, compared with a reference feeder."""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.ingest.ingest import ingest
from pipeline.ingest.request import IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.store.store import Store
from pipeline.synth.ntu import write_ntu
from trainer.bench.synthetic_store import repeat_store
from trainer.bench.timing import Progress, Row, Variant, time_interleaved
from trainer.bench.train import SMALL, make_run
from trainer.config.method import AugmentConfig
from trainer.config.pretrain import PretrainConfig
from trainer.data import augment, counter_rng
from trainer.data.loader import Clips, HostClips, ResidentClips, load_clips
from trainer.data.shuffle import ShuffleOrder, plan_batches
from trainer.data.streaming import StreamedClips
from trainer.pretrain.step import train_step
from trainer.runs.run import build_run_method

BATCH, CLIPS, BUFFER = 128, 4096, 1024
WAIT_BATCH, WAIT_STEPS = 16, 6
"""Batch size and steps of the trainings that measure how long a step waits for its batch; the first is not counted."""


def bench_load(rounds: int, progress: Progress, device: torch.device, *, small: bool = False) -> list[Row]:
    """Measure two views of every clip of a synthetic store for each residency, and how long training steps wait."""
    with tempfile.TemporaryDirectory() as name:
        progress("writing a synthetic store")
        store = make_store(Path(name), 256 if small else CLIPS)
        rows = bench_views(store, rounds, progress, device, small=small)
        return rows + bench_waiting(store, rounds, progress, device, small)


def make_store(folder: Path, clips: int) -> Store:
    """Write a store of `clips` synthetic NTU-60 clips, some of two people."""
    write_ntu("ntu60", folder / "raw", clips=min(clips, 240), seed=1)
    request = IngestRequest(
        dataset="ntu60", roots=(folder / "raw",), output=folder / "few.zarr", recipe=load_recipe("clean")
    )
    ingest(request)
    return repeat_store(Store(folder / "few.zarr"), folder / "many.zarr", clips)


def bench_views(store: Store, rounds: int, progress: Progress, device: torch.device, *, small: bool) -> list[Row]:
    """Measure samples per second, two views each, of one epoch with each residency."""
    config = PretrainConfig(frames=64)
    batch = 32 if small else BATCH
    feeds, order = residencies(store, config, batch, device, 64 if small else BUFFER)
    whole = load_clips(store, np.arange(len(store)), config.frames, 2)
    few = min(len(store), 8 * batch)
    variants = [
        Variant("reference code", f"{few} clips, T 64", "samples/s", few, lambda: reference_feeder(whole.numpy(), few))
    ]
    count = len(store) // batch * batch
    size = f"{count} clips, T 64"

    def feed(clips: Clips) -> None:
        make_views(clips, order, config.augment, batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for name, clips in feeds.items():
        variants.append(Variant(name, size, "samples/s", count, lambda clips=clips: feed(clips)))  # type: ignore[misc]
    return time_interleaved(variants, rounds, progress)


def residencies(
    store: Store, config: PretrainConfig, batch: int, device: torch.device, buffer: int
) -> tuple[dict[str, Clips], ShuffleOrder]:
    """Return the clips of a store for each residency, and their common order."""
    rows = np.arange(len(store))
    order = ShuffleOrder(store.blocks(rows), buffer, seed=0)
    whole = load_clips(store, rows, config.frames, config.bodies)
    feeds: dict[str, Clips] = {
        f"resident on the {'GPU' if device.type == 'cuda' else 'host'}": ResidentClips(whole.to(device)),
        "gathered ahead on the host": HostClips(whole, device, 1),
    }
    for workers in (0, 1):
        feeds[f"streamed, {workers} workers"] = StreamedClips(
            store, rows, order, config.frames, config.bodies, batch, device, workers
        )
    return feeds, order


def make_views(clips: Clips, order: ShuffleOrder, config: AugmentConfig, batch: int) -> None:
    """Make two views of every clip of an epoch."""
    for _, epoch, places, shown in clips.iterate(plan_batches(order, batch, 0, len(order.blocks) // batch)):
        for view in range(2):
            samples = torch.from_numpy(places).to(shown.device)
            augment.random_view(shown, counter_rng.uniform(0, epoch, samples, view, augment.DRAWS_PER_VIEW), config)


def bench_waiting(store: Store, rounds: int, progress: Progress, device: torch.device, small: bool) -> list[Row]:
    """Measure the percentage of a training's time in which steps wait for a batch (full width, fast, float32)."""
    config = SMALL if small else PretrainConfig()
    config = config.model_copy(update={"batch_size": WAIT_BATCH})
    feeds, order = residencies(store, config, WAIT_BATCH, device, 64 if small else BUFFER)
    run = make_run(config)
    method = build_run_method(run)
    method.pair.to(device).train()
    optimiser = torch.optim.SGD(method.pair.query.parameters(), lr=1e-4)

    def wait_percentage(clips: Clips) -> float:
        waited, start = 0.0, 0.0
        epoch_batches = clips.iterate(plan_batches(order, WAIT_BATCH, 0, WAIT_STEPS))
        for number in range(WAIT_STEPS):
            request_time = time.perf_counter()
            step, epoch, rows, batch = next(epoch_batches)
            if number:
                waited += time.perf_counter() - request_time
            else:
                start = time.perf_counter()
            float(train_step(method, optimiser, batch, rows, step, epoch, run)["total"])
        seconds = time.perf_counter() - start
        epoch_batches.close()
        return 100 * waited / seconds

    size = f"B {WAIT_BATCH}, {WAIT_STEPS - 1} steps"
    variants = [
        Variant(f"wait for data, {name}", size, "% of the time", None, lambda clips=clips: wait_percentage(clips))  # type: ignore[misc]
        for name, clips in feeds.items()
    ]
    return time_interleaved(variants, rounds, progress, ratios=False)


def reference_feeder(clips: NDArray[np.float32], count: int) -> None:
    """Make views as the feeder of CrosSCLR, AimCLR and SkeleMixCLR does (rewritten): arrays and views in numpy."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(clips))[:count]
    for start in range(0, count, BATCH):
        samples = [reference_views(clips[row], rng) for row in order[start : start + BATCH]]
        for view in range(2):
            torch.from_numpy(np.stack([sample[view] for sample in samples]))


def reference_views(clip: NDArray[np.float32], rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Two views of (C, T, V, M) by `temperal_crop` (ratio 6) and `shear` (0.5) as in feeder/tools.py of that code."""
    found = []
    for _ in range(2):
        length = clip.shape[1]
        reach = length // 6
        first = rng.integers(0, 2 * reach + 1)
        long = np.concatenate((np.flip(clip[:, :reach], 1), clip, np.flip(clip[:, -reach:], 1)), 1)
        cropped = long[:, first : first + length]
        a, b = rng.uniform(-0.5, 0.5, (2, 3))
        matrix = np.array([[1, a[0], b[0]], [a[1], 1, b[1]], [a[2], b[2], 1]]).transpose()
        found.append(np.dot(cropped.transpose([1, 2, 3, 0]), matrix).transpose(3, 0, 1, 2))
    return found
