"""Fast GPU implementation of the ST-GCN feature map; equal to the blocks' `forward` except for rounding.

Tensors are (B, T, V, C): matrix products need the channels of a row next to each other, and only in this layout does
batch norm use more thread blocks than there are channels. In half precision, where arithmetic is cheap compared with
memory access, joints and channels are mixed by one product that also multiplies by the zeros of the graph. In float32,
joints are mixed before channels, and the temporal convolution is one product over concatenated frames. The speed-up of
each change is in benchmarks/NOTES.md.

Axes: N sample, M body, B = N * M, C channel, T frame, V joint, D feature, K adjacency matrix; T' is T after strides.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from trainer.models.batchnorm import BatchNorm1d
from trainer.models.stgcn_block import Block


def feature_map(x: Tensor, input_norm: BatchNorm1d, blocks: Iterable[nn.Module], adjacency: Tensor) -> Tensor:
    """Compute `Encoder.feature_map`: (N, C, T, V, M) on any device to (N*M, D, T', V)."""
    samples, coordinates, frames, joints, bodies = x.shape
    x = input_norm(x.permute(0, 4, 3, 1, 2).reshape(samples * bodies, joints * coordinates, frames))
    x = torch.unflatten(x, 1, (joints, coordinates)).permute(0, 3, 1, 2).contiguous()
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    for block in blocks:
        assert isinstance(block, Block)
        x = _block(block, x, adjacency)
    return x.permute(0, 3, 1, 2)


def _block(block: Block, x: Tensor, adjacency: Tensor) -> Tensor:
    """Apply a block: (B, T, V, C) to (B, T', V, C')."""
    graph = adjacency * block.edge_importance
    half = x.dtype == torch.bfloat16
    y = _mix_in_one_product(block.spatial, x, graph) if half else _mix_joints_first(block.spatial, x, graph)
    y = functional.relu(_normalise(block.spatial_norm, y), inplace=True)
    y = _convolve_with_library(block.temporal, y) if half else _convolve_in_one_product(block.temporal, y)
    y = functional.dropout(_normalise(block.temporal_norm, y), block.dropout.p, block.dropout.training)
    if block.shortcut is not None:
        y = y + _shortcut(block.shortcut, x, block.temporal.stride[0])
    return functional.relu(y, inplace=True)


def _mix_in_one_product(spatial: nn.Conv2d, x: Tensor, graph: Tensor) -> Tensor:
    """Mix joints and channels by one product with a matrix (V*C, W*C').

    Its entry [v, c, w, o] is the sum over k of graph[k, v, w] * weight[k, o, c].
    """
    matrices, joints, _ = graph.shape
    weight = spatial.weight.view(matrices, -1, spatial.in_channels)  # (K, C', C)
    matrix = graph.flatten(1).T @ weight.transpose(1, 2).flatten(1)  # (V*W, C*C')
    matrix = (
        matrix.view(joints, joints, spatial.in_channels, -1).transpose(1, 2).reshape(joints * spatial.in_channels, -1)
    )
    return functional.linear(x.flatten(2), matrix.T, _bias(spatial, graph).flatten()).view(*x.shape[:3], -1)


def _mix_joints_first(spatial: nn.Conv2d, x: Tensor, graph: Tensor) -> Tensor:
    """Mix joints by each adjacency matrix, then channels: (B, T, V, C) to (B, T, V, C')."""
    matrices, joints, _ = graph.shape
    frames = x.flatten(0, 1)  # (B*T, V, C)
    stacked = graph.permute(2, 0, 1).flatten(0, 1)  # (W*K, V)
    # Not `matmul`, which would transpose all of x for the gradient of the expanded matrix.
    mixed = torch.bmm(stacked.expand(len(frames), -1, -1), frames)
    weight = spatial.weight.view(matrices, -1, spatial.in_channels).transpose(0, 1).flatten(1)  # (C', K*C)
    y = functional.linear(mixed.view(*x.shape[:2], joints, -1), weight)
    return y + _bias(spatial, graph)


def _bias(spatial: nn.Conv2d, graph: Tensor) -> Tensor:
    """Return the convolution's bias after mixing along the graph: (V, C')."""
    assert spatial.bias is not None
    return graph.sum(dim=1).T @ spatial.bias.view(len(graph), -1)


def _normalise(norm: nn.Module, y: Tensor) -> Tensor:
    """Apply batch norm over all axes but the last to y (B, T, V, C)."""
    if y.dtype == torch.bfloat16:  # with all rows in one axis, torch uses its own kernels, without a transpose
        rows: Tensor = norm(y.reshape(-1, y.shape[-1], 1, 1))
        return rows.view(y.shape)
    normalised: Tensor = norm(y.permute(0, 3, 1, 2))
    return normalised.permute(0, 2, 3, 1)


def _convolve_with_library(temporal: nn.Conv2d, y: Tensor) -> Tensor:
    """Convolve along time with torch's convolution: (B, T, V, C) to (B, T', V, C')."""
    convolved: Tensor = temporal(y.permute(0, 3, 1, 2))
    return convolved.permute(0, 2, 3, 1)


def _convolve_in_one_product(temporal: nn.Conv2d, y: Tensor) -> Tensor:
    """Convolve along time by one matrix product: (B, T, V, C) to (B, T', V, C')."""
    convolved: Tensor = _Convolve.apply(y, temporal.weight[..., 0], temporal.bias, temporal.stride[0])  # type: ignore[no-untyped-call]
    return convolved


def _shortcut(shortcut: nn.Module, x: Tensor, stride: int) -> Tensor:
    """Apply the residual connection of a block: (B, T, V, C) to (B, T', V, C')."""
    if isinstance(shortcut, nn.Identity):
        return x
    convolution, norm = shortcut.children()
    assert isinstance(convolution, nn.Conv2d)
    return _normalise(norm, functional.linear(x[:, ::stride], convolution.weight.flatten(1), convolution.bias))


class _Convolve(torch.autograd.Function):
    """Convolution along axis 1, padded with half a kernel of zeros at both ends.

    The concatenated frames take kernel times the memory of x, so the backward pass computes them again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
        """X (B, T, V, C), weight (C', C, kernel), bias (C',) to (B, T', V, C')."""
        kernel = weight.shape[2]
        matrix = weight.permute(2, 1, 0).flatten(0, 1)  # (kernel * C, C')
        ctx.save_for_backward(x, matrix)
        ctx.kernel, ctx.stride = kernel, stride
        frames = _concatenate_frames(x, kernel, stride)
        return torch.addmm(bias, frames.flatten(0, 2), matrix).view(*frames.shape[:3], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, matrix = ctx.saved_tensors
        kernel, stride, channels = ctx.kernel, ctx.stride, x.shape[3]
        rows = gradient.reshape(-1, gradient.shape[3])
        grad_matrix = _concatenate_frames(x, kernel, stride).flatten(0, 2).T @ rows
        grad_frames = (rows @ matrix.T).view(*gradient.shape[:3], kernel, channels)
        half = kernel // 2
        padded = x.new_zeros(len(x), x.shape[1] + 2 * half, *x.shape[2:])
        for frame in range(kernel):
            padded[:, frame : frame + (gradient.shape[1] - 1) * stride + 1 : stride] += grad_frames[..., frame, :]
        grad_weight = grad_matrix.view(kernel, channels, -1).permute(2, 1, 0)
        return padded[:, half : half + x.shape[1]], grad_weight, rows.sum(dim=0), None


def _concatenate_frames(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Concatenate the input frames of each output frame: (B, T, V, C) to (B, T', V, kernel * C)."""
    half, frames_out = kernel // 2, -(-x.shape[1] // stride)
    padded = functional.pad(x, (0, 0, 0, 0, half, half))
    return torch.cat([padded[:, k : k + (frames_out - 1) * stride + 1 : stride] for k in range(kernel)], dim=-1)
