"""A query encoder, its slowly following key encoder, and the queue of past keys (MoCo, He et al. 2020)."""

import copy
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from trainer.encoder import Encoder


class PairConfig(BaseModel):
    """How the key encoder follows and how much is remembered; the defaults are SkeleMixCLR's released configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    momentum: float = Field(default=0.999, ge=0.0, le=1.0)
    """How much of itself the key encoder keeps at each update."""
    queue_size: int = Field(default=32768, ge=1)
    """K, the keys remembered as negatives."""
    start: Literal["copy", "apart"] = "copy"
    """The key encoder's start weights: the query's, or others. In the reference code they are others, by accident:
    `weights_init` runs over both encoders after the copy."""


class MomentumPair(nn.Module):
    """Two encoders and a queue.

    Args:
        encoder: becomes the query encoder, and is the one trained.
        config: momentum, queue, and how the key encoder starts: apart, it takes weights from torch's global generator.
        generator: draws the queue's first content.
    """

    queue: Tensor
    """(D, K), columns of length one: noise at first, then the latest K keys."""
    pointer: Tensor
    """() int64: the column that the next key takes."""

    def __init__(self, encoder: Encoder, config: PairConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.query = encoder
        self.key = copy.deepcopy(encoder).requires_grad_(False)
        if config.start == "apart":
            self.key.start()
        self.momentum = config.momentum
        noise = torch.randn(encoder.config.feature_dim, config.queue_size, generator=generator)
        self.register_buffer("queue", functional.normalize(noise, dim=0))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def follow(self) -> None:
        """Move the key encoder's parameters towards the query's; its batch-norm statistics are its own."""
        for key, query in zip(self.key.parameters(), self.query.parameters(), strict=True):
            key.lerp_(query, 1.0 - self.momentum)

    @torch.no_grad()
    def keys(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) to keys (N, D) of length one, without gradient."""
        return unit(self.key(x))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Let keys (N, D) take the place of the oldest N, around the queue's end; of more than K the last K stay."""
        size = self.queue.shape[1]
        latest = keys[-size:]
        first = self.pointer + len(keys) - len(latest)
        columns = (first + torch.arange(len(latest), device=keys.device)) % size
        self.queue.index_copy_(1, columns, latest.T)
        self.pointer.add_(len(keys)).remainder_(size)


def unit(vectors: Tensor) -> Tensor:
    """(N, D) scaled to length one, in float32 at least: half a float leaves a cosine only two digits."""
    return functional.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=1)
