"""The encoder's feature map on a CPU in less time: the same numbers, but for rounding, as its blocks' own `forward`.

What differs is the order of work, each explained where it is done: tensors lie as (T, B, V, C), so that a frame is one
stretch of memory and a convolution along time a product of matrices; joints are mixed along the skeleton's few edges
before channels are; batch norm, dropout, the shortcut and ReLU are one pass over memory; time is convolved by
frequencies. What each is worth: benchmarks/NOTES.md.

Axes: N sample, M body, B = N * M, C channel, T frame, V joint, D feature; T' is T after strides.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.models.batchnorm import BatchNorm1d, BatchNorm2d
from trainer.models.fast import cpu_ops, frequency_conv
from trainer.models.fast.cpu_ops import Edges
from trainer.models.stgcn_block import Block


def feature_map(x: Tensor, input_norm: BatchNorm1d, blocks: Iterable[nn.Module], adjacency: Tensor) -> Tensor:
    """Features before pooling, as `Encoder.feature_map` says: (N, C, T, V, M) on a CPU to (N*M, D, T', V)."""
    cpu_ops.match_torch_threads()
    samples, coordinates, frames, joints, bodies = x.shape
    x = input_norm(x.permute(0, 4, 3, 1, 2).reshape(samples * bodies, joints * coordinates, frames))
    x = torch.unflatten(x, 1, (joints, coordinates)).permute(3, 0, 1, 2).contiguous()
    if torch.is_autocast_enabled("cpu"):
        x = x.to(torch.get_autocast_dtype("cpu"))
    edges = cpu_ops.find_edges(adjacency)
    for block in blocks:
        assert isinstance(block, Block)
        x = _block(block, x, adjacency, edges)
    return x.permute(1, 3, 0, 2)


def _block(block: Block, x: Tensor, adjacency: Tensor, edges: Edges) -> Tensor:
    """(T, B, V, C) to (T', B, V, C')."""
    frames, samples, joints, _ = x.shape
    weights = (adjacency * block.edge_importance)[edges.places]
    mixed = cpu_ops.mix(x.flatten(0, 1), edges, weights)
    z = functional.linear(mixed, _joined(block.spatial, edges.matrices, mixed.shape[2]))
    y = cpu_ops.normalise(z.flatten(0, 1), block.spatial_norm)
    stride = block.temporal.stride[0]
    weight, bias = block.temporal.weight, block.temporal.bias
    assert bias is not None
    z = frequency_conv.convolve(y.view(frames, samples * joints, -1), weight, bias, stride, _products(y.dtype))
    residual = _shortcut(block.shortcut, x[::stride].flatten(0, 2)) if block.shortcut is not None else None
    y = cpu_ops.normalise(z.flatten(0, 1), block.temporal_norm, dropout=block.dropout.p, residual=residual)
    return y.view(len(z), samples, joints, -1)


def _products(dtype: torch.dtype) -> torch.dtype | None:
    """In what precision channels are multiplied at each frequency: half where the processor has instructions for it."""
    return dtype if dtype == torch.bfloat16 and torch.cpu._is_avx512_bf16_supported() else None


def _joined(spatial: nn.Conv2d, matrices: int, columns: int) -> Tensor:
    """The weights (C', W) by which mixed joints, the constant one among them, become channels.

    The sum over matrices of (x conv + bias) mixed is that of (x mixed) conv + bias (1 mixed): with joints first they
    are mixed at the smaller number of channels, and one product does what would take K.
    """
    inputs = spatial.in_channels
    weight = spatial.weight.view(matrices, -1, inputs).permute(1, 0, 2).flatten(1)  # (C', K * C)
    assert spatial.bias is not None
    whole = torch.cat([weight, spatial.bias.view(matrices, -1).T], dim=1)
    return functional.pad(whole, (0, columns - whole.shape[1]))


def _shortcut(shortcut: nn.Module, x: Tensor) -> Tensor:
    """What goes past the block: (R, C) to (R, C')."""
    if isinstance(shortcut, nn.Identity):
        return x
    convolution, norm = shortcut.children()
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, BatchNorm2d)
    z = functional.linear(x, convolution.weight.flatten(1), convolution.bias)
    return cpu_ops.normalise(z, norm, relu=False)
