"""Momentum contrast (MoCo, He et al. 2020): query encoder, key encoder and queue of past keys."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.config.model import PairConfig
from trainer.models.encoder import Encoder


class MomentumPair(nn.Module):
    """Query encoder, key encoder and queue of negative keys.

    Args:
        encoder: becomes the query encoder, which is trained.
        config: momentum, queue size and initialisation of the key encoder. With `start = apart`, its weights are drawn
            from torch's global generator.
        generator: draws the initial content of the queue.
    """

    queue: Tensor
    """(D, K), columns of length one: initially noise, then the latest K keys."""
    pointer: Tensor
    """() int64: the column of the next key."""

    def __init__(self, encoder: Encoder, config: PairConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.query = encoder
        self.key = copy.deepcopy(encoder).requires_grad_(False)
        if config.start == "apart":
            self.key.reset_parameters()
        self.momentum = config.momentum
        noise = torch.randn(encoder.config.feature_dim, config.queue_size, generator=generator)
        self.register_buffer("queue", functional.normalize(noise, dim=0))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update_key_encoder(self) -> None:
        """Move the key encoder's parameters towards the query encoder's. Batch-norm statistics are not shared."""
        for key, query in zip(self.key.parameters(), self.query.parameters(), strict=True):
            key.lerp_(query, 1.0 - self.momentum)

    @torch.no_grad()
    def keys(self, x: Tensor) -> Tensor:
        """Encode (N, C, T, V, M) to keys (N, D) of length one, without gradient."""
        return unit_length(self.key(x))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the N oldest keys of the circular queue by keys (N, D); of more than K, the last K are kept."""
        size = self.queue.shape[1]
        latest = keys[-size:]
        first = self.pointer + len(keys) - len(latest)
        columns = (first + torch.arange(len(latest), device=keys.device)) % size
        self.queue.index_copy_(1, columns, latest.T)
        self.pointer.add_(len(keys)).remainder_(size)


def unit_length(vectors: Tensor) -> Tensor:
    """Scale (N, D) to length one, in float32 at least: half precision leaves a cosine only two digits."""
    return functional.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=1)


def wrap_query_encoder(encoder: Encoder) -> nn.Module:
    """Wrap a query encoder so that its tensors have the same names as in a `MomentumPair`."""
    return nn.ModuleDict({"query": encoder})
