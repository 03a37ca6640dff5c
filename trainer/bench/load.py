"""How fast clips and their views reach a training step, beside the peers' way. For `skelepipe bench load`."""

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
from trainer.bench.synthetic_store import repeated
from trainer.bench.timing import Progress, Row, Way, time_interleaved
from trainer.bench.train import SMALL, run_of
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
"""Of the trainings that say how long a step waits for its batch; the first step is not counted."""


def bench_load(rounds: int, progress: Progress, device: torch.device, *, small: bool = False) -> list[Row]:
    """Time two views of every clip of a synthetic store, wherever the clips lie, and how long a training waits."""
    with tempfile.TemporaryDirectory() as name:
        progress("writing a synthetic store")
        store = make_store(Path(name), 256 if small else CLIPS)
        return feeding(store, rounds, progress, device, small=small) + waiting(store, rounds, progress, device, small)


def make_store(folder: Path, clips: int) -> Store:
    """A store of `clips` synthetic NTU-60 clips, some of them of two people."""
    write_ntu("ntu60", folder / "raw", clips=min(clips, 240), seed=1)
    request = IngestRequest(
        dataset="ntu60", roots=(folder / "raw",), output=folder / "few.zarr", recipe=load_recipe("clean")
    )
    ingest(request)
    return repeated(Store(folder / "few.zarr"), folder / "many.zarr", clips)


def feeding(store: Store, rounds: int, progress: Progress, device: torch.device, *, small: bool) -> list[Row]:
    """Samples a second, two views each, of one epoch in each residency."""
    config = PretrainConfig(frames=64)
    batch = 32 if small else BATCH
    feeds, order = residencies(store, config, batch, device, 64 if small else BUFFER)
    whole = load_clips(store, np.arange(len(store)), config.frames, 2)
    few = min(len(store), 8 * batch)
    ways = [Way("the peers' way", f"{few} clips, T 64", "samples/s", few, lambda: peers(whole.numpy(), few))]
    count = len(store) // batch * batch
    size = f"{count} clips, T 64"

    def feed(clips: Clips) -> None:
        views(clips, order, config.augment, batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for name, clips in feeds.items():
        ways.append(Way(name, size, "samples/s", count, lambda clips=clips: feed(clips)))  # type: ignore[misc]
    return time_interleaved(ways, rounds, progress)


def residencies(
    store: Store, config: PretrainConfig, batch: int, device: torch.device, buffer: int
) -> tuple[dict[str, Clips], ShuffleOrder]:
    """The clips of a store in each of the places where a training has them, and the order that all of those follow."""
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


def views(clips: Clips, order: ShuffleOrder, config: AugmentConfig, batch: int) -> None:
    """Two views of every clip of an epoch."""
    for _, epoch, places, shown in clips.iterate(plan_batches(order, batch, 0, len(order.blocks) // batch)):
        for view in range(2):
            samples = torch.from_numpy(places).to(shown.device)
            augment.random_view(shown, counter_rng.uniform(0, epoch, samples, view, augment.DRAWS_PER_VIEW), config)


def waiting(store: Store, rounds: int, progress: Progress, device: torch.device, small: bool) -> list[Row]:
    """Per cent of a training's time in which a step waits for its batch, at full width, fast, in float32."""
    config = SMALL if small else PretrainConfig()
    config = config.model_copy(update={"batch_size": WAIT_BATCH})
    feeds, order = residencies(store, config, WAIT_BATCH, device, 64 if small else BUFFER)
    run = run_of(config)
    method = build_run_method(run)
    method.pair.to(device).train()
    optimiser = torch.optim.SGD(method.pair.query.parameters(), lr=1e-4)

    def share(clips: Clips) -> float:
        waited, began = 0.0, 0.0
        followed = clips.iterate(plan_batches(order, WAIT_BATCH, 0, WAIT_STEPS))
        for number in range(WAIT_STEPS):
            asked = time.perf_counter()
            step, epoch, places, shown = next(followed)
            if number:
                waited += time.perf_counter() - asked
            else:
                began = time.perf_counter()
            float(train_step(method, optimiser, shown, places, step, epoch, run)["total"])
        took = time.perf_counter() - began
        followed.close()
        return 100 * waited / took

    size = f"B {WAIT_BATCH}, {WAIT_STEPS - 1} steps"
    ways = [
        Way(f"wait for data, {name}", size, "% of the time", None, lambda clips=clips: share(clips))  # type: ignore[misc]
        for name, clips in feeds.items()
    ]
    return time_interleaved(ways, rounds, progress, ratios=False)


def peers(clips: NDArray[np.float32], count: int) -> None:
    """The feeder of CrosSCLR, AimCLR and SkeleMixCLR in our words: arrays in memory, each view made in numpy."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(clips))[:count]
    for at in range(0, count, BATCH):
        samples = [peer_views(clips[place], rng) for place in order[at : at + BATCH]]
        for view in range(2):
            torch.from_numpy(np.stack([sample[view] for sample in samples]))


def peer_views(clip: NDArray[np.float32], rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Two views of (C, T, V, M) by `temperal_crop` (ratio 6) and `shear` (0.5) of the peers' feeder/tools.py."""
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
