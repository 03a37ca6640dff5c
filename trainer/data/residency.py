"""Choose where training clips are held: in GPU memory, in host memory, or streamed from the store."""

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
from trainer.runtime.memory import available_memory, format_bytes

Residency = Literal["auto", "gpu", "host", "stream"]
GPU_SHARE = 0.4
"""Share of a GPU's free memory for clips. The rest is for activations, which are allocated later."""
HOST_SHARE = 0.7
"""Share of the host's available memory for clips."""
MIN_STREAM_BUFFER = 1024
"""Smallest shuffle buffer that is chosen automatically, in clips; see docs/training/running.md for its effect."""
COORDINATES, FLOAT_BYTES = 3, 4
HOST = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFeed:
    """The clips of a training set, and the order in which they are seen."""

    clips: Clips
    order: ShuffleOrder
    description: str
    """Which residency was chosen and why, for the log."""


def open_feed(
    store: Store,
    rows: NDArray[np.int64],
    config: PretrainConfig,
    device: torch.device,
    asked: Residency = "auto",
    workers: int = 1,
    on_progress: Callable[[int], None] = lambda clips: None,
) -> DataFeed:
    """Load or open the clips of a training set. The batches are the same with any residency.

    Args:
        store: store of the clips.
        rows: (N,) store rows of the training set.
        config: T, M, batch size, seed and size of the shuffle buffer.
        device: training device.
        asked: requested residency; `auto` takes the first of gpu, host and stream that the clips fit in.
        workers: threads that prepare batches in advance; with 0, each batch is prepared on request.
        on_progress: called with the number of clips loaded since the last call.

    Raises:
        ConfigError: the requested residency is impossible, or the clips do not fit.
        ArtifactError: the store is damaged.
    """
    order = ShuffleOrder(store.blocks(rows), config.stream_buffer, config.seed)
    streamed = StreamedClips(store, rows, order, config.frames, config.bodies, config.batch_size, device, workers)
    chosen, reason = _choose_residency(asked, device, streamed)
    clips: Clips = streamed
    if chosen != "stream":
        location = device if chosen == "gpu" else HOST
        tensor = load_clips(store, rows, config.frames, config.bodies, location, on_progress)
        resident = chosen == "gpu" or device == HOST
        clips = ResidentClips(tensor) if resident else HostClips(tensor, device, workers)
    description = f"{len(rows)} clips, residency {chosen}: {reason}"
    if chosen == "stream" and config.stream_buffer < len(rows):
        description += f"; shuffled through a buffer of {config.stream_buffer:,} clips"
    return DataFeed(clips=clips, order=order, description=description)


def fit_stream_buffer(
    store: Store,
    rows: NDArray[np.int64],
    config: PretrainConfig,
    device: torch.device,
    asked: Residency = "auto",
    workers: int = 1,
) -> PretrainConfig:
    """Return the configuration of a new run, with a smaller shuffle buffer if a stream would not fit in the memory.

    The buffer determines the order of the clips, so the caller stores it in the run. It stays where the clips can be
    held in another way.

    Args:
        store: as in `open_feed`, like the other arguments.
        rows: store rows of the training set.
        config: the requested configuration.
        device: training device.
        asked: requested residency.
        workers: threads that read ahead.
    """
    if asked not in {"auto", "stream"}:
        return config
    clip = FLOAT_BYTES * COORDINATES * config.frames * len(store.layout.joints) * config.bodies
    if asked == "auto" and any(len(rows) * clip <= available_memory(place) * share for place, share in _places(device)):
        return config
    blocks, buffer = store.blocks(rows), config.stream_buffer
    while buffer > MIN_STREAM_BUFFER:
        order = ShuffleOrder(blocks, buffer, config.seed)
        streamed = StreamedClips(store, rows, order, config.frames, config.bodies, config.batch_size, device, workers)
        if streamed.max_bytes <= available_memory(HOST) * HOST_SHARE:
            break
        buffer //= 2
    return config if buffer == config.stream_buffer else config.model_copy(update={"stream_buffer": buffer})


def _places(device: torch.device) -> list[tuple[torch.device, float]]:
    """Where all clips could be held, with the share of the memory for them."""
    return [(HOST, HOST_SHARE), *([(device, GPU_SHARE)] if device.type == "cuda" else [])]


def _choose_residency(asked: Residency, device: torch.device, streamed: StreamedClips) -> tuple[Residency, str]:
    """Return the residency for the clips, and the reason for the log."""
    if asked == "gpu" and device.type != "cuda":
        raise ConfigError(f"--residency gpu: training runs on {device}; use host or stream, or --device cuda")
    total, reasons = streamed.total_bytes, list[str]()
    options: list[tuple[Residency, torch.device, int, float]] = [
        ("gpu", device, total, GPU_SHARE),
        ("host", HOST, total, HOST_SHARE),
        ("stream", HOST, streamed.max_bytes, HOST_SHARE),
    ]
    for name, location, needed, share in options:
        if (name == "gpu" and device.type != "cuda") or asked not in {"auto", name}:
            continue
        free = available_memory(location)
        usage = f"{format_bytes(needed)} of {format_bytes(free)} free {'on the GPU' if name == 'gpu' else 'in memory'}"
        if needed <= free * (share if asked == "auto" else 1):  # an explicit choice may use all of it
            return name, "; ".join([*reasons, f"takes {usage}"])
        reasons.append(f"{name} would take {usage}")
    raise ConfigError(
        f"--residency {asked}: the clips do not fit: {'; '.join(reasons)}; "
        "--residency stream with a smaller --set stream_buffer=N needs less"
    )
