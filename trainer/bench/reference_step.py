"""A training step as the code bases of the field write it, in our words: what `skelepipe bench train` compares with.

SkeleMixCLR's step (Chen et al. 2022): five passes one after the other, (N, C, T, V) throughout, joints mixed by an
einsum with the whole adjacency, torch's own batch norm and dropout, the queue copied, and the logarithm of a softmax.
It computes what `trainer.methods` does, and takes its weights.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.methods.method import Method
from trainer.methods.skelemix import MixedClips
from trainer.models.encoder import Encoder
from trainer.models.stgcn_block import Block


class ReferenceBlock(nn.Module):
    """A graph convolution and a convolution along time, with the names of `trainer.block.Block`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, dropout: float, residual: bool) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(inputs, 3 * outputs, 1)
        self.edge_importance = nn.Parameter(torch.empty(0))
        self.spatial_norm = nn.BatchNorm2d(outputs)
        self.temporal = nn.Conv2d(outputs, outputs, (kernel, 1), (stride, 1), (kernel // 2, 0))
        self.temporal_norm = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout, inplace=True)
        self.relu = nn.ReLU(inplace=True)
        self.residual = residual
        self.shortcut: nn.Module = nn.Identity()
        if residual and (inputs != outputs or stride != 1):
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, (stride, 1)), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """(N*M, C, T, V) to (N*M, C', T', V)."""
        past = self.shortcut(x) if self.residual else 0
        y = self.spatial(x)
        count, channels, frames, joints = y.shape
        y = y.view(count, 3, channels // 3, frames, joints)
        y = torch.einsum("nkctv,kvw->nctw", y, adjacency * self.edge_importance).contiguous()
        y = self.dropout(self.temporal_norm(self.temporal(self.relu(self.spatial_norm(y)))))
        result: Tensor = self.relu(y + past)
        return result


class ReferenceEncoder(nn.Module):
    """ST-GCN with a head, of the size and with the weights of a `trainer.encoder.Encoder`."""

    def __init__(self, like: Encoder) -> None:
        super().__init__()
        config = like.config
        self.register_buffer("adjacency", torch.empty_like(like.adjacency))
        self.input_norm = nn.BatchNorm1d(3 * like.adjacency.shape[1])
        self.blocks = nn.ModuleList()
        for block in like.blocks:
            assert isinstance(block, Block)
            inputs, outputs, stride = block.spatial.in_channels, block.temporal.out_channels, block.temporal.stride[0]
            mine = ReferenceBlock(
                inputs, outputs, config.temporal_kernel, stride, block.dropout.p, block.shortcut is not None
            )
            mine.edge_importance = nn.Parameter(torch.empty_like(block.edge_importance))
            self.blocks.append(mine)
        wide, narrow = config.hidden_dim, config.feature_dim
        self.head = nn.Sequential(nn.Linear(wide, wide), nn.BatchNorm1d(wide), nn.ReLU(), nn.Linear(wide, narrow))
        self.load_state_dict(like.state_dict())

    def feature_map(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) to (N, M, D, T', V)."""
        samples, channels, frames, joints, bodies = x.shape
        x = x.permute(0, 4, 3, 1, 2).contiguous().view(samples * bodies, joints * channels, frames)
        x = self.input_norm(x).view(samples, bodies, joints, channels, frames)
        x = x.permute(0, 1, 3, 4, 2).contiguous().view(samples * bodies, channels, frames, joints)
        for block in self.blocks:
            x = block(x, self.adjacency)
        return x.view(samples, bodies, *x.shape[1:])

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) to vectors (N, D) of length one."""
        return functional.normalize(self.head(self.feature_map(x).mean(dim=(1, 3, 4))), dim=1)

    def halves(self, x: Tensor, mask: Tensor) -> list[Tensor]:
        """The vectors of what was pasted, where mask (T', V) says, and of the rest."""
        features, vectors = self.feature_map(x), []
        for part in (mask, ~mask):
            pooled = (features * part).sum(dim=(1, 3, 4)) / (part.sum() * features.shape[1])
            vectors.append(functional.normalize(self.head(pooled), dim=1))
        return vectors


class ReferenceStep:
    """SkeleMixCLR+ on two such encoders.

    Args:
        like: whose weights, queue, momentum and temperature these are; it is left as it is.
    """

    def __init__(self, like: Method) -> None:
        self.query, self.key = ReferenceEncoder(like.pair.query), ReferenceEncoder(like.pair.key)
        self.key.requires_grad_(False)
        self.queue, self.pointer = like.pair.queue.clone(), 0
        self.momentum, self.temperature = like.pair.momentum, like.config.temperature

    def to(self, device: torch.device) -> Self:
        """All of it elsewhere."""
        self.query.to(device)
        self.key.to(device)
        self.queue = self.queue.to(device)
        return self

    def loss(self, query: Tensor, key: Tensor, mixes: Sequence[MixedClips]) -> Tensor:
        """The loss of a batch, views (N, C, T, V, M); key encoder and queue move on."""
        plain = self.query(query)
        halves = [self.query.halves(mixed.clips, mixed.mask) for mixed in mixes]
        with torch.no_grad():
            for slow, fast in zip(self.key.parameters(), self.query.parameters(), strict=True):
                slow.data = slow.data * self.momentum + fast.data * (1.0 - self.momentum)
            keys = self.key(key)
        total = self._contrast(plain, keys, None)
        for mixed, (pasted, rest) in zip(mixes, halves, strict=True):
            total = total + self._contrast(pasted, keys[mixed.partner], rest) / 2
            total = total + self._contrast(rest, keys, pasted) / 2
        self.queue[:, self.pointer : self.pointer + len(keys)] = keys.T
        self.pointer = (self.pointer + len(keys)) % self.queue.shape[1]
        return total

    def _contrast(self, vectors: Tensor, keys: Tensor, other: Tensor | None) -> Tensor:
        logits = [torch.einsum("nc,nc->n", vectors, keys)[:, None]]
        logits.append(torch.einsum("nc,ck->nk", vectors, self.queue.clone().detach()))
        if other is not None:
            logits.append(torch.einsum("nc,nc->n", vectors, other.detach())[:, None])
        chances = functional.softmax(torch.cat(logits, dim=1) / self.temperature, dim=1)
        return -torch.log(chances[:, 0]).mean()
