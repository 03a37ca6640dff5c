"""Samples a second, two augmented views each, that reach a training step on this CPU: resident, streamed, as peers do.

Run: python benchmarks/bench_feed.py [--clips 8192] [--buffer 2048] [--rounds 5] [--workers 0 1 2] [--threads N].
A store of synthetic NTU-60 clips (T as recorded, room for two bodies) is made in a temporary folder and is in the page
cache; T 64, batch 128. Each round runs every way once, one after the other, so that ratios hold beside other load.

`peers` is the feeder of CrosSCLR, AimCLR and SkeleMixCLR re-created: an array of 64-frame clips in memory, and for
each sample and view a temporal crop and a shear in numpy, one process. With --memory it prints instead what a process
holds at most while it feeds one epoch, resident and streamed.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch

from pipeline.store.store import Store
from trainer.bench.load import make_store, peers
from trainer.bench.timing import git_commit
from trainer.config.pretrain import PretrainConfig
from trainer.data import augment, counter_rng
from trainer.data.loader import Clips, Resident, load_clips
from trainer.data.shuffle import ShuffleOrder, batches
from trainer.data.streaming import Streamed
from trainer.doctor.processor import processor_name

CPU = torch.device("cpu")
BATCH = 128


def ours(clips: Clips, order: ShuffleOrder, config: PretrainConfig) -> None:
    for _, epoch, places, batch in clips.follow(batches(order, BATCH, 0, len(order.blocks) // BATCH)):
        for view in range(2):
            uniforms = counter_rng.uniform(0, epoch, torch.from_numpy(places), view, augment.COUNT)
            augment.view(batch, uniforms, config.augment)


def feeds(store: Store, buffer: int, workers: int) -> tuple[Streamed, ShuffleOrder]:
    order = ShuffleOrder(store.blocks(np.arange(len(store))), buffer, seed=0)
    return Streamed(store, np.arange(len(store)), order, 64, 2, BATCH, CPU, workers), order


def rates(store: Store, given: argparse.Namespace) -> None:
    config, rows = PretrainConfig(batch_size=BATCH), np.arange(len(store))
    whole = load_clips(store, rows, 64, 2)
    few = min(len(store), 8 * BATCH)
    ways: dict[str, tuple[int, Callable[[], None]]] = {"peers": (few, lambda: peers(whole.numpy(), few))}
    full, order = len(store) // BATCH * BATCH, feeds(store, given.buffer, 0)[1]
    ways["resident"] = (full, lambda: ours(Resident(whole), order, config))
    for workers in given.workers:
        stream = feeds(store, given.buffer, workers)[0]
        ways[f"streamed, {workers} workers"] = (full, lambda stream=stream: ours(stream, order, config))
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(given.rounds + 1):  # the first warms up
        for name, (count, way) in ways.items():
            began = time.perf_counter()
            way()
            if number:
                found[name].append(count / (time.perf_counter() - began))
    print(f"{'':22}{'median samples/s':>18}{'range':>20}{'times peers':>13}")
    for name, each in found.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(each, found["peers"], strict=True))
        print(f"{name:22}{statistics.median(each):18,.0f}{f'{min(each):,.0f} to {max(each):,.0f}':>20}{ratio:13.1f}")


def most_memory(path: Path, buffer: int, residency: str) -> None:
    """Print how many bytes feeding an epoch adds to what this process holds, and how many were announced."""
    store = Store(path)
    stream, order = feeds(store, buffer, 2)
    config = PretrainConfig(batch_size=BATCH)
    load_clips(store, np.arange(2), 64, 2)  # with one view of anything, libraries and compiled code are there
    augment.view(torch.zeros(BATCH, 3, 64, 25, 2), torch.rand(BATCH, augment.COUNT), config.augment)
    before = peak_memory(start_again=True)  # compiling took some that it gave back
    clips = stream if residency == "streamed" else Resident(load_clips(store, np.arange(len(store)), 64, 2))
    ours(clips, order, config)
    print(peak_memory() - before, stream.bytes if residency == "streamed" else stream.bytes_whole)


def peak_memory(start_again: bool = False) -> int:
    """The most bytes this process has held, on Linux; `start_again` first forgets what it held before now."""
    if start_again:
        Path("/proc/self/clear_refs").write_text("5")
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def memory(store: Store, given: argparse.Namespace) -> None:
    print(f"{'':22}{'announced':>12}{'added at most':>15}")
    for residency in ("resident", "streamed"):
        command = [sys.executable, __file__, "--child", residency, str(store.path), "--buffer", str(given.buffer)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        held, announced = map(int, done.stdout.split())
        print(f"{residency:22}{announced / 1e6:9.0f} MB{held / 1e6:12.0f} MB")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clips", type=int, default=8192)
    options.add_argument("--buffer", type=int, default=2048)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch")
    options.add_argument("--memory", action="store_true")
    options.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    if given.child:
        most_memory(Path(given.child[1]), given.buffer, given.child[0])
        return
    print(f"{processor_name()}, {given.threads} threads, torch {torch.__version__}, commit {git_commit()}")
    print(f"{given.clips} clips, buffer {given.buffer}, T 64, two bodies, batch {BATCH}, {given.rounds} rounds\n")
    with tempfile.TemporaryDirectory() as name:
        store = make_store(Path(name), given.clips)
        (memory if given.memory else rates)(store, given)


if __name__ == "__main__":
    main()
