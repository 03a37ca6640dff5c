"""A frozen encoder's answer to a set of clips, computed once; and batch-norm statistics taken afresh."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import ArtifactError
from pipeline.store.batches import fill_batch
from pipeline.store.store import Store
from trainer.config.evaluation import FeatureLayer
from trainer.config.pretrain import PretrainConfig
from trainer.data.loader import group_by_block
from trainer.data.streams import derive_stream
from trainer.models.encoder import Encoder
from trainer.runs.run import Run

BATCH = 256
"""Clips of which batch-norm statistics are taken at a time, and that a GPU encodes at a time."""
CPU_BATCH = 32
"""Clips that a CPU encodes at a time: activations of more do not stay in its caches (benchmarks/NOTES.md)."""


def batch_clips(device: torch.device) -> int:
    """Clips to encode at a time."""
    return CPU_BATCH if device.type == "cpu" else BATCH


@torch.no_grad()
def extract(encoder: Encoder, clips: Tensor, layer: FeatureLayer = "backbone") -> Tensor:
    """Features of clips (N, C, T, V, M), each on its own: (N, D) float32 on the CPU.

    The encoder is put into evaluation mode: no dropout, running batch-norm statistics. `backbone` is the pooled feature
    map before the projection head, `head` what comes out of it (not normalised).
    """
    encoder.eval()
    device = next(encoder.parameters()).device
    parts = []
    for block in torch.split(clips, batch_clips(device)):
        pooled = encoder.backbone(block.to(device))
        parts.append((encoder.head(pooled) if layer == "head" else pooled).float().cpu())
    return torch.cat(parts)


def extract_positions(encoder: Encoder, positions: Tensor, run: Run, layer: FeatureLayer = "backbone") -> Tensor:
    """Features (N, D) of positions (N, 3, T, V, M) in metres, shown to the encoder as its run's stream."""
    return extract(encoder, derive_stream(positions, run.config.stream, run.layout), layer)


def extract_rows(
    encoder: Encoder,
    store: Store,
    rows: NDArray[np.int64],
    config: PretrainConfig,
    done: Callable[[int], None] = lambda clips: None,
) -> Tensor:
    """Backbone features (N, D) of a store's clips in the order of `rows`, read a block at a time: never all in memory.

    Args:
        encoder: as `extract` takes it.
        store: where the clips lie.
        rows: (N,).
        config: of the encoder's run: T, M and stream.
        done: told of so many more clips.

    Raises:
        ArtifactError: the store is damaged.
    """
    blocks, found = group_by_block(store.blocks(rows)), list[Tensor]()
    for places in blocks:
        clips = np.empty((len(places), 3, config.frames, len(store.layout.joints), config.bodies), np.float32)
        fill_batch(store, rows[places], clips, np.arange(len(places)))
        found.append(extract(encoder, derive_stream(torch.from_numpy(clips), config.stream, store.layout)))
        done(len(places))
    return torch.cat(found)[torch.from_numpy(np.argsort(np.concatenate(blocks)))]


@torch.no_grad()
def recalibrate(encoder: Encoder, clips: Tensor, batch: int = BATCH) -> None:
    """Take an encoder's batch-norm statistics from `clips` (N, C, T, V, M) alone: one pass, dropout off.

    Every clip counts the same, whatever block it falls into. Blocks are of equal size but for one clip and drawn at
    random (always alike): a store's neighbours share a subject and a camera, and the variance within a block of them
    would lack what lies between subjects.

    Pre-training leaves statistics that are mostly of mixed clips (three passes of four); a fresh encoder's are 0 and 1.

    Raises:
        ArtifactError: a single clip has no variance.
    """
    if len(clips) < 2:
        raise ArtifactError(f"batch-norm statistics need at least 2 training clips, found {len(clips)}")
    device = next(encoder.parameters()).device
    norms = [module for module in encoder.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    encoder.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    seen = 0
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(0))
    for chosen in order.tensor_split(max(1, len(clips) // batch)):  # no block of one, which has no variance
        seen += len(chosen)
        for norm in norms:
            norm.momentum = len(chosen) / seen  # makes of the running average the plain one
        encoder.head(encoder.backbone(clips[chosen].to(device)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    encoder.eval()
