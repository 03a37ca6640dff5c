"""Reference implementation of a training step, with which `skelepipe bench train` compares.

The step of SkeleMixCLR (Chen et al. 2022), rewritten: five forward passes one after the other, the layout (N, C, T, V)
throughout, an einsum with the whole adjacency, torch's batch norm and dropout, a copy of the queue, and the logarithm
of a softmax. It computes the same as `trainer.methods`, and copies its weights.
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
    """A graph and a temporal convolution, with parameters named as in `trainer.models.stgcn_block.Block`."""

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
    """ST-GCN with a head, with the size and weights of a `trainer.models.encoder.Encoder`."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        config = encoder.config
        self.register_buffer("adjacency", torch.empty_like(encoder.adjacency))
        self.input_norm = nn.BatchNorm1d(3 * encoder.adjacency.shape[1])
        self.blocks = nn.ModuleList()
        for block in encoder.blocks:
            assert isinstance(block, Block)
            inputs, outputs, stride = block.spatial.in_channels, block.temporal.out_channels, block.temporal.stride[0]
            mine = ReferenceBlock(
                inputs, outputs, config.temporal_kernel, stride, block.dropout.p, block.shortcut is not None
            )
            mine.edge_importance = nn.Parameter(torch.empty_like(block.edge_importance))
            self.blocks.append(mine)
        wide, narrow = config.hidden_dim, config.feature_dim
        self.head = nn.Sequential(nn.Linear(wide, wide), nn.BatchNorm1d(wide), nn.ReLU(), nn.Linear(wide, narrow))
        self.load_state_dict(encoder.state_dict())

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
        """(N, C, T, V, M) to vectors (N, D) of length 1."""
        return functional.normalize(self.head(self.feature_map(x).mean(dim=(1, 3, 4))), dim=1)

    def encode_masked_halves(self, x: Tensor, mask: Tensor) -> list[Tensor]:
        """Return the vectors of the pasted cells, where mask (T', V) is true, and of the other cells."""
        features, vectors = self.feature_map(x), []
        for part in (mask, ~mask):
            pooled = (features * part).sum(dim=(1, 3, 4)) / (part.sum() * features.shape[1])
            vectors.append(functional.normalize(self.head(pooled), dim=1))
        return vectors


class ReferenceStep:
    """SkeleMixCLR+ with two reference encoders.

    Args:
        method: whose weights, queue, momentum and temperature are copied; it is not changed.
    """

    def __init__(self, method: Method) -> None:
        self.query, self.key = ReferenceEncoder(method.pair.query), ReferenceEncoder(method.pair.key)
        self.key.requires_grad_(False)
        self.queue, self.pointer = method.pair.queue.clone(), 0
        self.momentum, self.temperature = method.pair.momentum, method.config.temperature

    def to(self, device: torch.device) -> Self:
        """Move everything to a device."""
        self.query.to(device)
        self.key.to(device)
        self.queue = self.queue.to(device)
        return self

    def loss(self, query: Tensor, key: Tensor, mixes: Sequence[MixedClips]) -> Tensor:
        """Return the loss of a batch of views (N, C, T, V, M), and update key encoder and queue."""
        plain = self.query(query)
        halves = [self.query.encode_masked_halves(mixed.clips, mixed.mask) for mixed in mixes]
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
        probabilities = functional.softmax(torch.cat(logits, dim=1) / self.temperature, dim=1)
        return -torch.log(probabilities[:, 0]).mean()
