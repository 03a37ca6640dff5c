"""Timing of the plain training step, for the benchmarks: eager, float32, exactly what `skelepipe pretrain` runs."""

import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.layout import KINECT_V2
from trainer import runs
from trainer.config import PretrainConfig
from trainer.step import train_step

ROOT = Path(__file__).parents[1]


def seconds_of_steps(config: PretrainConfig, device: torch.device, steps: int, warmup: int) -> list[float]:
    """Seconds of each of `steps` steps on random clips of (C, T, V, M), `warmup` earlier ones left out.

    A step is draws, augmentation, mixing, all passes, backward and the optimiser, with clips resident on the device.
    On a GPU the times are between CUDA events, on a CPU between clock readings.
    """
    run = runs.Run(
        path=ROOT, preset="", config=config, layout=KINECT_V2, lineage={}, total_steps=steps + warmup, digest=""
    )
    method = runs.start(run)
    pair = method.pair.to(device).train()
    optimiser = torch.optim.SGD(
        pair.query.parameters(),
        lr=config.learning_rate,
        momentum=config.optimiser_momentum,
        weight_decay=config.weight_decay,
    )
    shape = (config.batch_size, 3, config.frames, len(KINECT_V2.joints), config.bodies)
    clips = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    rows = np.arange(config.batch_size)
    times = []
    for step in range(warmup + steps):
        took = _time(lambda step=step: train_step(method, optimiser, clips, rows, step, 0, run), device)
        if step >= warmup:
            times.append(took)
    return times


def _time(work: Any, device: torch.device) -> float:
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def processor() -> str:
    """The CPU's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def commit() -> str:
    """The tree's commit, with a plus sign when files were changed since; `unknown` outside a clone."""
    try:
        said = [
            subprocess.run(["git", *what], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
            for what in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        ]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said[0] + ("+" if said[1] else "")
