"""A frozen encoder's answer to a set of clips, computed once; and batch-norm statistics taken afresh."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from trainer.encoder import Encoder

BATCH = 256
Layer = Literal["backbone", "head"]


@torch.no_grad()
def extract(encoder: Encoder, clips: Tensor, layer: Layer = "backbone", batch: int = BATCH) -> Tensor:
    """Features of clips (N, C, T, V, M), each on its own: (N, D) float32 on the CPU.

    The encoder is put into evaluation mode: no dropout, running batch-norm statistics. `backbone` is the pooled feature
    map before the projection head, `head` what comes out of it (not normalised).
    """
    encoder.eval()
    parts = []
    for block in _blocks(encoder, clips, batch):
        pooled = encoder.backbone(block)
        parts.append((encoder.head(pooled) if layer == "head" else pooled).float().cpu())
    return torch.cat(parts)


@torch.no_grad()
def recalibrate(encoder: Encoder, clips: Tensor, batch: int = BATCH) -> None:
    """Take an encoder's batch-norm statistics from `clips` alone: the average over one pass, dropout off.

    Pre-training leaves statistics that are mostly of mixed clips (three passes of four); a fresh encoder's are 0 and 1.
    """
    norms = [module for module in encoder.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    encoder.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over all batches
        norm.train()
    for block in _blocks(encoder, clips, batch):
        encoder.head(encoder.backbone(block))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    encoder.eval()


def _blocks(encoder: Encoder, clips: Tensor, batch: int) -> Iterator[Tensor]:
    device = next(encoder.parameters()).device
    for block in clips.split(batch):
        yield block.to(device)
