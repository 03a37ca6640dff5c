"""Extract features with a frozen encoder, and recalibrate its batch-norm statistics."""

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
from trainer.data.stored_clips import Clips, read_batches, read_blocks
from trainer.data.streams import derive_stream
from trainer.models.encoder import Encoder
from trainer.runs.run import Run

MAX_BATCH_CLIPS = 256
"""Clips per batch when batch-norm statistics are recomputed, and when a GPU encodes."""
MAX_CPU_BATCH_CLIPS = 32
"""Clips per batch when a CPU encodes: activations of larger batches do not fit its caches (benchmarks/NOTES.md)."""


def batch_clips(device: torch.device) -> int:
    """Clips to encode per batch."""
    return MAX_CPU_BATCH_CLIPS if device.type == "cpu" else MAX_BATCH_CLIPS


@torch.no_grad()
def extract(encoder: Encoder, clips: Tensor, layer: FeatureLayer = "backbone") -> Tensor:
    """Extract features of clips (N, C, T, V, M), independently for each clip: (N, D) float32 on the CPU.

    Sets the encoder to evaluation mode: no dropout, running batch-norm statistics. `backbone` is the pooled feature
    map before the projection head, `head` the output of the head (not normalised).
    """
    encoder.eval()
    device = next(encoder.parameters()).device
    blocks = []
    for block in torch.split(clips, batch_clips(device)):
        pooled = encoder.backbone(block.to(device))
        blocks.append((encoder.head(pooled) if layer == "head" else pooled).float().cpu())
    return torch.cat(blocks)


def extract_blocks(
    encoder: Encoder, clips: Clips, to_input: Callable[[int, Tensor], Tensor], layer: FeatureLayer = "backbone"
) -> Tensor:
    """Extract features (N, D) of clips, one block of clips in memory at a time; the same bits as `extract` of all.

    Args:
        encoder: see `extract`.
        clips: (N, 3, T, V, M) positions in metres, in memory or in a store.
        to_input: converts a block of positions to the encoder's input; also given the position of its first clip.
        layer: see `extract`.
    """
    return torch.cat([extract(encoder, to_input(first, block), layer) for first, block in read_blocks(clips)])


def extract_positions(encoder: Encoder, positions: Tensor, run: Run, layer: FeatureLayer = "backbone") -> Tensor:
    """Extract features (N, D) of positions (N, 3, T, V, M) in metres, converted to the run's stream first."""
    return extract(encoder, derive_stream(positions, run.config.stream, run.layout), layer)


def extract_rows(
    encoder: Encoder,
    store: Store,
    rows: NDArray[np.int64],
    config: PretrainConfig,
    progress: Callable[[int], None] = lambda clips: None,
) -> Tensor:
    """Extract backbone features (N, D) of stored clips in the order of `rows`, one block of clips in memory at a time.

    Args:
        encoder: see `extract`.
        store: the store of the clips.
        rows: (N,) rows of the store.
        config: the configuration of the encoder's run: T, M and stream.
        progress: called after every block with its number of clips.

    Raises:
        ArtifactError: the store is damaged.
    """
    blocks, vectors = group_by_block(store.blocks(rows)), list[Tensor]()
    for positions in blocks:
        clips = np.empty((len(positions), 3, config.frames, len(store.layout.joints), config.bodies), np.float32)
        fill_batch(store, rows[positions], clips, np.arange(len(positions)))
        vectors.append(extract(encoder, derive_stream(torch.from_numpy(clips), config.stream, store.layout)))
        progress(len(positions))
    return torch.cat(vectors)[torch.from_numpy(np.argsort(np.concatenate(blocks)))]


@torch.no_grad()
def recalibrate(
    encoder: Encoder,
    clips: Clips,
    batch_clips: int = MAX_BATCH_CLIPS,
    to_input: Callable[[Tensor], Tensor] = lambda clips: clips,
) -> None:
    """Recompute an encoder's batch-norm statistics from `clips` (N, C, T, V, M), in one pass without dropout.

    `to_input` converts a batch of clips to the encoder's input.

    All clips have the same weight. Batch sizes differ by at most one clip. Batches are drawn at random (with a fixed
    seed), because neighbours in a store share a subject and a camera: the variance within a batch of neighbours would
    miss the variance between subjects.

    After pre-training the statistics come mostly from mixed clips (three passes of four); an untrained encoder has
    means 0 and variances 1.

    Raises:
        ArtifactError: there are fewer than 2 clips, so that there is no variance.
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
    batches = order.tensor_split(max(1, len(clips) // batch_clips))  # never 1 clip, which has no variance
    for chosen, batch in read_batches(clips, iter(batches)):
        seen += len(chosen)
        for norm in norms:
            norm.momentum = len(chosen) / seen  # turns the running average into the plain average
        encoder.head(encoder.backbone(to_input(batch).to(device)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    encoder.eval()
