"""Fast CPU implementation of the ST-GCN feature map; equal to the blocks' `forward` except for rounding.

The order of operations differs. Tensors are (T, B, V, C), so that a frame is contiguous in memory and a temporal
convolution is a matrix product. Joints are mixed before channels, along the few edges of the skeleton. Batch norm,
dropout, shortcut and ReLU are one pass over memory. Temporal convolutions are computed in the frequency domain. The
speed-up of each change is in benchmarks/NOTES.md.

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
    """Compute `Encoder.feature_map`: (N, C, T, V, M) on a CPU to (N*M, D, T', V)."""
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
    """Apply a block: (T, B, V, C) to (T', B, V, C')."""
    frames, samples, joints, _ = x.shape
    weights = (adjacency * block.edge_importance)[edges.indices]
    mixed = cpu_ops.mix(x.flatten(0, 1), edges, weights)
    z = functional.linear(mixed, _join_weights(block.spatial, edges.matrices, mixed.shape[2]))
    y = cpu_ops.normalise(z.flatten(0, 1), block.spatial_norm)
    stride = block.temporal.stride[0]
    weight, bias = block.temporal.weight, block.temporal.bias
    assert bias is not None
    z = frequency_conv.convolve(y.view(frames, samples * joints, -1), weight, bias, stride, _product_dtype(y.dtype))
    residual = _shortcut(block.shortcut, x[::stride].flatten(0, 2)) if block.shortcut is not None else None
    y = cpu_ops.normalise(z.flatten(0, 1), block.temporal_norm, dropout=block.dropout.p, residual=residual)
    return y.view(len(z), samples, joints, -1)


def _product_dtype(dtype: torch.dtype) -> torch.dtype | None:
    """Return the precision of the channel products: bfloat16 if the processor has instructions for it."""
    return dtype if dtype == torch.bfloat16 and torch.cpu._is_avx512_bf16_supported() else None


def _join_weights(spatial: nn.Conv2d, matrices: int, columns: int) -> Tensor:
    """Return the weights (C', W) that map mixed joints, including the constant one, to channels.

    Mixing and channel products commute: sum over k of mix_k(x conv_k + bias_k) = sum over k of mix_k(x) conv_k +
    bias_k mix_k(1). With joints first, they are mixed at the smaller number of channels, and one product replaces K.
    """
    inputs = spatial.in_channels
    weight = spatial.weight.view(matrices, -1, inputs).permute(1, 0, 2).flatten(1)  # (C', K * C)
    assert spatial.bias is not None
    joined = torch.cat([weight, spatial.bias.view(matrices, -1).T], dim=1)
    return functional.pad(joined, (0, columns - joined.shape[1]))


def _shortcut(shortcut: nn.Module, x: Tensor) -> Tensor:
    """Apply the residual connection of a block: (R, C) to (R, C')."""
    if isinstance(shortcut, nn.Identity):
        return x
    convolution, norm = shortcut.children()
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, BatchNorm2d)
    z = functional.linear(x, convolution.weight.flatten(1), convolution.bias)
    return cpu_ops.normalise(z, norm, relu=False)
