"""Where a training set's clips lie while it trains: on the GPU, in the host's memory, or in the store."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.store.store import Store
from trainer.config.pretrain import PretrainConfig
from trainer.data.loader import Clips, HostClips, ResidentClips, load_clips
from trainer.data.shuffle import ShuffleOrder
from trainer.data.streaming import StreamedClips
from trainer.runtime.memory import available_memory

Residency = Literal["auto", "gpu", "host", "stream"]
GPU_SHARE = 0.4
"""Of a GPU's free memory, for clips; the rest is for activations, which are not there yet when clips are loaded."""
HOST_SHARE = 0.7
"""Of the host's available memory."""
HOST = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFeed:
    """A training set where it lies, and the order in which it is seen."""

    clips: Clips
    order: ShuffleOrder
    description: str
    """What was taken and why, in words."""


def open_feed(
    store: Store,
    rows: NDArray[np.int64],
    config: PretrainConfig,
    device: torch.device,
    asked: Residency = "auto",
    workers: int = 1,
    done: Callable[[int], None] = lambda clips: None,
) -> DataFeed:
    """Bring a training set to where it is to lie. What is seen, and when, is the same wherever that is.

    Args:
        store: where the clips are.
        rows: (N,) of the training set.
        config: its T, M, batch size, seed and buffer.
        device: that trains.
        asked: where they are to lie; `auto` takes the first of gpu, host and stream that they fit in.
        workers: threads that prepare batches ahead of the step; with none each is prepared when it is asked for.
        done: is told of clips that have been loaded.

    Raises:
        ConfigError: what was asked for is impossible, or does not fit.
        ArtifactError: the store is damaged.
    """
    order = ShuffleOrder(store.blocks(rows), config.stream_buffer, config.seed)
    streamed = StreamedClips(store, rows, order, config.frames, config.bodies, config.batch_size, device, workers)
    taken, why = _choose(asked, device, streamed)
    clips: Clips = streamed
    if taken != "stream":
        where = device if taken == "gpu" else HOST
        whole = load_clips(store, rows, config.frames, config.bodies, where, done)
        resident = taken == "gpu" or device == HOST
        clips = ResidentClips(whole) if resident else HostClips(whole, device, workers)
    return DataFeed(clips=clips, order=order, description=f"{len(rows)} clips, residency {taken}: {why}")


def _choose(asked: Residency, device: torch.device, streamed: StreamedClips) -> tuple[Residency, str]:
    """Where clips are to lie, and why there, in words."""
    if asked == "gpu" and device.type != "cuda":
        raise ConfigError(f"--residency gpu: the training runs on {device}; use host or stream, or --device cuda")
    whole, reasons = streamed.bytes_whole, list[str]()
    places: list[tuple[Residency, torch.device, int, float]] = [
        ("gpu", device, whole, GPU_SHARE),
        ("host", HOST, whole, HOST_SHARE),
        ("stream", HOST, streamed.bytes, HOST_SHARE),
    ]
    for name, where, needed, share in places:
        if (name == "gpu" and device.type != "cuda") or asked not in {"auto", name}:
            continue
        free = available_memory(where)
        what = f"{_size(needed)} of {_size(free)} free {'on the GPU' if name == 'gpu' else 'in memory'}"
        if needed <= free * (share if asked == "auto" else 1):  # who names a place says how near the edge
            return name, "; ".join([*reasons, f"takes {what}"])
        reasons.append(f"{name} would take {what}")
    raise ConfigError(
        f"--residency {asked}: the clips do not fit: {'; '.join(reasons)}; a smaller --set stream_buffer=N with "
        "--residency stream takes less"
    )


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
