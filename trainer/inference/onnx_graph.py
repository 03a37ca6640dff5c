"""The encoder as an ONNX graph, node by node as `encoder.py`, `block.py`, `pooling.py` and `streams.py` compute.

Written here and not by torch's exporter, which takes seconds, further packages and, for a T that is left open, a torch
later than 2.6, and notes where on this disk the code lies. `export_onnx.py` holds every graph against torch.
"""

from typing import Any, assert_never

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from pipeline.skeleton.layout import Layout
from trainer.config.evaluation import FeatureLayer
from trainer.config.method import Stream
from trainer.models.encoder import COORDINATES, Encoder
from trainer.models.stgcn_block import Block

ENCODER = "st-gcn"
"""The encoder that this graph is, as its configuration calls it."""
OPSET, IR = 17, 8
"""Of ONNX 1.12 (June 2022): onnxruntime reads them from 1.12 on."""
INPUT, FEATURES, SCORES = "clips", "features", "scores"
END = np.iinfo(np.int64).max
"""In a slice: up to the end."""


class Graph:
    """A graph that grows node by node."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}

    def add(self, op: str, *inputs: str, name: str, **attributes: Any) -> str:
        """Append a node; `name` is its own and its output's, which is given back."""
        node = helper.make_node(op, inputs, [name], name=name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self.nodes.append(node)
        return name

    def keep(self, name: str, value: Tensor | NDArray[Any]) -> str:
        """Put a constant into the file; its name is given back."""
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def whole(self, *values: int) -> str:
        """A constant of whole numbers, such as axes or a shape."""
        return self.keep(f"whole_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def number(self, value: float) -> str:
        """A constant that is one number."""
        return self.keep(f"number_{value:g}", np.array(value, np.float32))

    def dimension(self, axis: int) -> str:
        """The input's length along an axis, (1,)."""
        name = f"length_{axis}"
        there = any(node.name == name for node in self.nodes)
        return name if there else self.add("Shape", INPUT, name=name, start=axis, end=axis + 1)

    def shaped(self, x: str, *shape: int | str, name: str) -> str:
        """Reshape; -1 is what is left, 0 as it is, a name a length that is known when it runs."""
        parts = [self.whole(part) if isinstance(part, int) else part for part in shape]
        return self.add("Reshape", x, self.add("Concat", *parts, name=f"{name}.shape", axis=0), name=name)

    def norm(self, x: str, norm: nn.BatchNorm1d | nn.BatchNorm2d, name: str) -> str:
        """Batch norm by the running statistics."""
        assert norm.running_mean is not None
        assert norm.running_var is not None
        held = {"weight": norm.weight, "bias": norm.bias, "mean": norm.running_mean, "var": norm.running_var}
        weights = [self.keep(f"{name}.{what}", value) for what, value in held.items()]
        return self.add("BatchNormalization", x, *weights, name=name, epsilon=norm.eps)

    def convolution(self, x: str, conv: nn.Conv2d, name: str) -> str:
        """Over frames, joints apart."""
        assert conv.bias is not None
        assert not isinstance(conv.padding, str)
        (kernel, _), (stride, _), (pad, _) = conv.kernel_size, conv.stride, conv.padding
        weights = self.keep(f"{name}.weight", conv.weight), self.keep(f"{name}.bias", conv.bias)
        how = {"kernel_shape": [kernel, 1], "strides": [stride, 1], "pads": [pad, 0, pad, 0]}
        return self.add("Conv", x, *weights, name=name, **how)

    def linear(self, x: str, weight: Tensor, bias: Tensor, name: str) -> str:
        """(N, D) @ weight.T + bias."""
        weights = self.keep(f"{name}.weight", weight), self.keep(f"{name}.bias", bias)
        return self.add("Gemm", x, *weights, name=name, transB=1)


def model(
    encoder: Encoder, stream: Stream, layout: Layout, layer: FeatureLayer, scores: tuple[Tensor, Tensor] | None = None
) -> onnx.ModelProto:
    """An encoder in evaluation mode as an ONNX model.

    Input `clips` float32 (N, 3, T, V, M), positions in metres whatever the stream; N, T and M are open. Outputs
    `features` (N, D) and, by a classifier's weight and bias in `scores`, `scores` (N, classes).
    """
    graph = Graph()
    joints = len(layout.joints)
    x = _stream(graph, INPUT, stream, layout)
    pooled = _pooled(graph, encoder, x, joints, FEATURES if layer == "backbone" else "pooled")
    if layer == "head":
        _head(graph, encoder.head, pooled)
    sizes = {FEATURES: encoder.config.hidden_dim if layer == "backbone" else encoder.config.feature_dim}
    if scores is not None:
        graph.linear(pooled, *scores, name=SCORES)
        sizes[SCORES] = len(scores[1])
    shape: list[str | int | None] = ["N", COORDINATES, "T", joints, "M"]
    proto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "encoder",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size]) for name, size in sizes.items()],
            list(graph.weights.values()),
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _stream(graph: Graph, x: str, stream: Stream, layout: Layout) -> str:
    """As `streams.derive`."""
    if stream == "joint":
        return x
    if stream == "motion":
        axis = graph.whole(2)
        after = graph.add("Slice", x, graph.whole(1), graph.whole(END), axis, name="stream.after")
        last = graph.add("Slice", x, graph.whole(-1), graph.whole(END), axis, name="stream.last")
        following = graph.add("Concat", after, last, name="stream.following", axis=2)  # the last is its own: it stays 0
        return graph.add("Sub", following, x, name="stream")
    if stream == "bone":
        parents = [joint if parent == -1 else parent for joint, parent in enumerate(layout.parents)]
        above = graph.add(
            "Gather", x, graph.keep("parents", np.array(parents, np.int64)), name="stream.parents", axis=3
        )
        return graph.add("Sub", x, above, name="stream")
    assert_never(stream)


def _pooled(graph: Graph, encoder: Encoder, x: str, joints: int, name: str) -> str:
    """As `Encoder.backbone`."""
    shares = _shares(graph, x) if encoder.config.body_mean == "present" else None
    bodies = graph.add("Transpose", x, name="bodies", perm=[0, 4, 3, 1, 2])  # (N, M, V, C, T)
    x = graph.shaped(bodies, -1, joints * COORDINATES, graph.dimension(2), name="bodies.joints")
    x = graph.norm(x, encoder.input_norm, "input_norm")
    x = graph.shaped(x, -1, joints, COORDINATES, graph.dimension(2), name="joints")
    x = graph.add("Transpose", x, name="channels", perm=[0, 2, 3, 1])  # (N*M, C, T, V)
    for place, block in enumerate(encoder.blocks):
        assert isinstance(block, Block)
        x = _block(graph, block, encoder.adjacency, x, f"blocks.{place}")
    x = graph.add("ReduceMean", x, name="each", axes=[2, 3], keepdims=0)  # (N*M, D)
    x = graph.shaped(x, graph.dimension(0), graph.dimension(4), encoder.config.hidden_dim, name="each.bodies")
    if shares is None:
        return graph.add("ReduceMean", x, name=name, axes=[1], keepdims=0)
    weighted = graph.add("Mul", x, graph.add("Unsqueeze", shares, graph.whole(2), name="shares.wide"), name="weighted")
    return graph.add("ReduceSum", weighted, graph.whole(1), name=name, keepdims=0)


def _shares(graph: Graph, x: str) -> str:
    """(N, M) what each body counts in the mean, as `over_bodies`: those that are not zeros, or all if none is."""
    zero = graph.add("Equal", x, graph.number(0), name="present.zero")
    some = graph.add("Not", zero, name="present.some")
    some = graph.add("Cast", some, name="present.number", to=TensorProto.FLOAT)
    present = graph.add("ReduceMax", some, name="present", axes=[1, 2, 3], keepdims=0)
    anybody = graph.add("ReduceMax", present, name="present.any", axes=[1], keepdims=1)
    nobody = graph.add("Sub", graph.number(1), anybody, name="present.nobody")
    counted = graph.add("Max", present, nobody, name="counted")
    total = graph.add("ReduceSum", counted, graph.whole(1), name="counted.sum", keepdims=1)
    return graph.add("Div", counted, total, name="shares")


def _block(graph: Graph, block: Block, adjacency: Tensor, x: str, name: str) -> str:
    """As `Block.forward`."""
    kinds, joints = adjacency.shape[:2]
    y = graph.convolution(x, block.spatial, f"{name}.spatial")
    y = graph.shaped(y, 0, kinds, block.spatial.out_channels // kinds, -1, joints, name=f"{name}.kinds")
    edges = graph.keep(f"{name}.edges", adjacency * block.edge_importance)
    y = graph.add("Einsum", y, edges, name=f"{name}.mixed", equation="bkctv,kvw->bctw")
    y = graph.add("Relu", graph.norm(y, block.spatial_norm, f"{name}.spatial_norm"), name=f"{name}.spatial_relu")
    y = graph.convolution(y, block.temporal, f"{name}.temporal")
    y = graph.norm(y, block.temporal_norm, f"{name}.temporal_norm")
    if block.shortcut is not None:
        if isinstance(block.shortcut, nn.Sequential):
            conv, norm = block.shortcut
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            x = graph.norm(graph.convolution(x, conv, f"{name}.shortcut"), norm, f"{name}.shortcut_norm")
        y = graph.add("Add", y, x, name=f"{name}.sum")
    return graph.add("Relu", y, name=name)


def _head(graph: Graph, head: nn.Sequential, x: str) -> None:
    """The projection head, up to the output `features`."""
    for place, layer in enumerate(head):
        name = FEATURES if place == len(head) - 1 else f"head.{place}"
        if isinstance(layer, nn.Linear):
            x = graph.linear(x, layer.weight, layer.bias, name)
        elif isinstance(layer, nn.BatchNorm1d):
            x = graph.norm(x, layer, name)
        else:
            assert isinstance(layer, nn.ReLU)
            x = graph.add("Relu", x, name=name)
