"""Check before a training that its steps can be counted, and that memory and disk are large enough for it."""

from collections.abc import Mapping
from pathlib import Path

import torch

from pipeline.errors import ConfigError
from pipeline.files.disk import require_free_space
from pipeline.skeleton.layout import Layout
from trainer.config.pretrain import MAX_STEPS, PretrainConfig
from trainer.methods.registry import METHODS
from trainer.models.encoder import COORDINATES
from trainer.models.size_estimate import encoder_specs, pair_specs, pass_size, total_bytes
from trainer.runtime import distributed
from trainer.runtime.memory import available_memory, format_bytes

FLOAT_BYTES = 4
HOST = torch.device("cpu")


def require_countable_steps(config: PretrainConfig, steps_per_epoch: int) -> None:
    """Check that the number of steps is not too large.

    Raises:
        ConfigError: it is.
    """
    if (steps := config.epochs * steps_per_epoch) > MAX_STEPS:
        raise ConfigError(
            f"epochs: {config.epochs:,} epochs of {steps_per_epoch:,} steps are {steps:,} steps, at most {MAX_STEPS:,} "
            f"are possible; use --set epochs=N with N up to {MAX_STEPS // steps_per_epoch}"
        )


def require_memory(layout: Layout, config: PretrainConfig, device: torch.device) -> None:
    """Check, before anything is allocated, that the memory is large enough for the model and for one step.

    The estimate is a lower bound: a training that passes may still need more. The clips of the training set are checked
    when they are loaded.

    Raises:
        ConfigError: it is not; the message has the parts with their settings.
    """
    parts = estimate_memory(layout, config)
    needed, available = sum(parts.values()), available_memory(device)
    if needed > available:
        listed = ", ".join(f"{format_bytes(size)} for {part}" for part, size in _largest_first(parts))
        where = "on the GPU" if device.type == "cuda" else "in memory"
        raise ConfigError(
            f"this training needs at least {format_bytes(needed)}, {format_bytes(available)} are free {where}: {listed}"
        )


def estimate_memory(layout: Layout, config: PretrainConfig) -> dict[str, int]:
    """Estimate from below the memory of a training without the clips of the training set: bytes of each part."""
    repeats = config.method.mix.repeats if METHODS[config.method.name].mixing else 0
    clips = max(1, config.batch_size // config.micro_batches // distributed.world_size())  # in a pass of this process
    per_clip = FLOAT_BYTES * COORDINATES * config.frames * len(layout.joints) * config.bodies
    passes = pass_size(layout, config.encoder, config.frames, config.bodies).training
    half = 2 if config.precision == "bf16" else 1
    queue = FLOAT_BYTES * config.encoder.feature_dim * config.pair.queue_size
    return {
        # Both encoders, gradients and momenta.
        "the model (encoder.*)": 4 * total_bytes(encoder_specs(layout, config.encoder)),
        "the queue (pair.queue_size)": 2 * queue,  # its noise, and the same of length one
        "similarities to the queue (pair.queue_size, batch_size)": (1 + 2 * repeats)
        * (FLOAT_BYTES * clips * config.pair.queue_size),
        "views and mixed clips (batch_size, frames, method.mix.repeats)": (2 + repeats) * config.batch_size * per_clip,
        "passes (batch_size or micro_batch, frames, encoder.*, method.mix.repeats)": (1 + repeats)
        * (clips * passes // half),
    }


def require_disk(output: Path, layout: Layout, config: PretrainConfig, *, freed: int = 0) -> None:
    """Check that the disk has room for one checkpoint.

    Args:
        output: the run's folder.
        layout: the skeleton.
        config: the run's configuration.
        freed: bytes of an old run that will be removed.

    Raises:
        OutputFailed: there is not.
    """
    momenta = total_bytes(encoder_specs(layout, config.encoder))
    checkpoint = total_bytes(pair_specs(layout, config.encoder, config.pair)) + momenta
    require_free_space(output, checkpoint - freed)


def _largest_first(parts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(parts.items(), key=lambda part: -part[1])
