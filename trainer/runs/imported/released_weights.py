"""Convert released checkpoints to our encoder; every key must be known, and every value is checked."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import ArtifactError
from pipeline.skeleton.layout import KINECT_V2
from trainer.config.method import Stream
from trainer.config.model import GRAPH_KINDS, EncoderConfig, GraphKind, PairConfig
from trainer.models.encoder import Encoder
from trainer.models.graph import build_adjacency
from trainer.models.momentum_pair import MomentumPair, wrap_query_encoder
from trainer.runs.imported.released_keys import SUFFIXES, infer_config, released_names, require_shape


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleasedCode:
    """A code base, with the facts that its checkpoints do not contain."""

    graph: GraphKind
    recipe: str
    """The shipped recipe that processes clips as the code base does for NTU RGB+D."""
    frames: int
    """T in its training configurations."""
    method: Mapping[str, Any]
    """The settings of its method that a MethodConfig has."""
    ignored: tuple[str, ...] = ()
    """Names of buffers that are not needed after training."""


_SKELETONCLR = {"name": "skeletonclr", "temperature": 0.07}
RELEASED_CODES: Mapping[str, ReleasedCode] = {
    "skelemixclr": ReleasedCode(
        graph="agcn",
        recipe="skelemixclr",
        frames=64,
        method={"name": "skelemixclr+", "temperature": 0.2},
        ignored=("queue_label",),
    ),
    "crosclr": ReleasedCode(graph="spatial", recipe="crosclr", frames=50, method=_SKELETONCLR),
    "aimclr": ReleasedCode(graph="spatial", recipe="crosclr", frames=50, method=_SKELETONCLR),
}
"""From the released configurations. CrosSCLR and AimCLR train SkeletonCLR's pair with additional losses."""

MAX_GRAPH_DIFFERENCE = 1e-6
"""Largest difference between entries of equal graphs; entries of different graphs differ by 0.5."""

_FILLED = {
    r"\.A$": "graph: the source's",
    r"\.edge_importance\.\d+$": "edge importance: ones",
    r"\.num_batches_tracked$": "num_batches_tracked: zeros",
}
"""Patterns of keys that may be missing if all keys of the pattern are, and the value used instead."""

_KNOWN_KEY = re.compile(r"(?:encoder_[qk]|queue|queue_ptr|queue_label)(_motion|_bone)?(?:\.|$)")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleasedWeights:
    """One stream of a checkpoint, converted to our names."""

    encoder: EncoderConfig
    pair: PairConfig | None
    """None if the file has only the query encoder, as after a linear evaluation or fine-tuning."""
    model: nn.Module
    """The pair, or the query encoder in `wrap_query_encoder`."""
    taken: int
    """Number of keys that were loaded into the model."""
    ignored: tuple[str, ...]
    """Known keys that are not needed."""
    filled: tuple[str, ...]
    """What the file does not contain, with the values used instead."""


def streams_in(tensors: Iterable[str]) -> dict[Stream, list[str]]:
    """Group the keys of a checkpoint by stream.

    Raises:
        ArtifactError: a key is unknown; the message starts with it.
    """
    by_suffix: dict[str, list[str]] = {}
    unknown = []
    for key in tensors:
        if match := _KNOWN_KEY.match(key):
            by_suffix.setdefault(match[1] or "", []).append(key)
        else:
            unknown.append(key)
    if unknown:
        raise ArtifactError(f"{_first(unknown)} is unknown: keys start with encoder_q, encoder_k or queue")
    return {stream: by_suffix[suffix] for stream, suffix in SUFFIXES.items() if suffix in by_suffix}


def read_released(tensors: Mapping[str, Tensor], stream: Stream, source: ReleasedCode) -> ReleasedWeights:
    """Convert the tensors of one stream to our encoder, with key encoder and queue if the file has them.

    Args:
        tensors: the keys of that stream only.
        stream: determines the suffix of the keys.
        source: the code base of the file.

    Raises:
        ArtifactError: a key is unknown or missing, a tensor has another shape or type or is not finite, or the graph
            is not the one of the code base; the message starts with the key.
    """
    suffix = SUFFIXES[stream]
    config = infer_config(tensors, f"encoder_q{suffix}", source.graph)
    for side in ("encoder_q", "encoder_k"):
        _check_graph(tensors, f"{side}{suffix}.A", source.graph)
    ignored = tuple(f"{name}{suffix}" for name in source.ignored if f"{name}{suffix}" in tensors)
    is_query_only = all(key.startswith(f"encoder_q{suffix}.") for key in tensors)
    pair_config = None if is_query_only else PairConfig(queue_size=require_shape(tensors, f"queue{suffix}", 2)[1])

    def build_pair() -> MomentumPair:
        return MomentumPair(Encoder(KINECT_V2, config), pair_config or PairConfig(queue_size=1), torch.Generator())

    with torch.device("meta"):  # no memory is used until the shapes of all tensors are checked
        pair = build_pair()
    state = (wrap_query_encoder(pair.query) if is_query_only else pair).state_dict()
    expected = {released: own for released, own in released_names(pair, suffix).items() if own in state}
    if unknown := [key for key in tensors if key not in expected and key not in ignored]:
        raise ArtifactError(f"{_first(unknown)} is unknown to this encoder")
    absent = [key for key in expected if key not in tensors]
    filled = [pattern for pattern in _FILLED if not any(re.search(pattern, key) for key in tensors)]
    if missing := [key for key in absent if not any(re.search(pattern, key) for pattern in filled)]:
        raise ArtifactError(f"{_first(missing)} is missing")
    for key, tensor in tensors.items():
        if own := expected.get(key):
            _check(key, tensor, state[own])
    pair = build_pair()
    model = wrap_query_encoder(pair.query) if is_query_only else pair
    state = model.state_dict()
    for key, tensor in tensors.items():
        if own := expected.get(key):
            state[own] = tensor.reshape(state[own].shape)
    if pair_config and not 0 <= int(state["pointer"]) < pair_config.queue_size:
        raise ArtifactError(
            f"queue_ptr{suffix} is {int(state['pointer'])}, outside a queue of {pair_config.queue_size}"
        )
    model.load_state_dict(state, strict=True)
    return ReleasedWeights(
        encoder=config,
        pair=pair_config,
        model=model,
        taken=len(expected) - len(absent),
        ignored=ignored,
        filled=tuple(_FILLED[pattern] for pattern in filled),
    )


def _check(key: str, tensor: Tensor, expected: Tensor) -> None:
    """Raise an error if a tensor cannot be loaded in place of `expected`."""
    if tensor.shape != expected.shape and not (expected.ndim == 0 and tensor.shape == (1,)):
        raise ArtifactError(f"{key} is {tuple(tensor.shape)}, expected {tuple(expected.shape)}")
    if tensor.is_floating_point() != expected.is_floating_point() or tensor.is_complex():
        raise ArtifactError(f"{key} has {tensor.dtype}, expected {expected.dtype}")
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        raise ArtifactError(f"{key} has values that are not finite: the training had failed")
    if key.endswith(".running_var") and bool((tensor < 0).any()):
        raise ArtifactError(f"{key} has a negative variance")


def _check_graph(tensors: Mapping[str, Tensor], key: str, graph: GraphKind) -> None:
    """Raise an error if a graph is not the expected one, naming the code base that uses it."""
    expected = build_adjacency(KINECT_V2, graph)
    if key not in tensors or tensors[key].shape != expected.shape:
        return  # missing keys and wrong shapes are reported with those of all keys
    graph_values = tensors[key].float()
    if torch.allclose(graph_values, expected, rtol=0, atol=MAX_GRAPH_DIFFERENCE):
        return
    for other in GRAPH_KINDS:
        if torch.allclose(graph_values, build_adjacency(KINECT_V2, other), rtol=0, atol=MAX_GRAPH_DIFFERENCE):
            like = " or ".join(name for name, source in RELEASED_CODES.items() if source.graph == other)
            raise ArtifactError(
                f"{key} is the graph `{other}`, not `{graph}`: this looks like {like}; set --source accordingly"
            )
    k, v, w = (int(axis) for axis in torch.unravel_index((graph_values - expected).abs().argmax(), expected.shape))
    difference = f"[{k}, {v}, {w}] is {graph_values[k, v, w]:.6g}, `{graph}` has {expected[k, v, w]:.6g}"
    raise ArtifactError(f"{key} is not a known graph: {difference}")


def _first(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} (and {len(keys) - 1} more)"
