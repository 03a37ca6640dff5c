"""Check a run's configuration against its checkpoint's tensors and the memory, before anything is built."""

from pathlib import Path

import torch

from pipeline.errors import ArtifactError
from pipeline.skeleton.layout import Layout
from trainer.config.pretrain import PretrainConfig
from trainer.models.size_estimate import QUERY, encoder_specs, pair_specs, pass_size
from trainer.runs.safetensors_file import require_tensors
from trainer.runtime.memory import available_memory, format_bytes

ENCODED_CLIPS = 32
"""Clips that a CPU encodes at a time."""


def require_pair_tensors(path: Path, layout: Layout, config: PretrainConfig, remedy: str, *, holds: str) -> None:
    """Check that a file has the tensors of a configuration.

    Args:
        path: the file.
        layout: the run's skeleton.
        config: the run's configuration.
        remedy: for the message: what to do.
        holds: `pair`, or `encoder` for imported weights without key encoder and queue.

    Raises:
        ArtifactError: a tensor is missing, unknown, or has another shape or type.
    """
    encoder = config.encoder
    expected = {QUERY + name: spec for name, spec in encoder_specs(layout, encoder).items()}
    require_tensors(path, pair_specs(layout, encoder, config.pair) if holds == "pair" else expected, remedy)


def require_memory_to_encode(run_file: Path, layout: Layout, config: PretrainConfig) -> None:
    """Check that the host's memory is enough to encode some clips with the configured number of frames.

    Raises:
        ArtifactError: it is not.
    """
    needed = ENCODED_CLIPS * pass_size(layout, config.encoder, config.frames, config.bodies).encoding
    if needed > (available := available_memory(torch.device("cpu"))):
        raise ArtifactError(
            f"{run_file}: clips of {config.frames:,} frames need at least {format_bytes(needed)} of memory to be "
            f"encoded, {format_bytes(available)} are available; use a machine with more memory"
        )
