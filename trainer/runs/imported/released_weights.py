"""Checkpoints of other code bases, from tensors under their names to an encoder of ours, every key accounted for."""

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
from trainer.runs.imported.released_keys import SUFFIXES, axes, infer, names


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleasedCode:
    """A code base, and what its checkpoints do not say of themselves."""

    graph: GraphKind
    recipe: str
    """The shipped recipe that prepares clips as it does NTU RGB+D's."""
    frames: int
    """T that its configurations train on."""
    method: Mapping[str, Any]
    """As much of its method as a MethodConfig can say."""
    besides: tuple[str, ...] = ()
    """Names of buffers that have no meaning after the training."""


_SKELETONCLR = {"name": "skeletonclr", "temperature": 0.07}
RELEASED_CODES: Mapping[str, ReleasedCode] = {
    "skelemixclr": ReleasedCode(
        graph="agcn",
        recipe="skelemixclr",
        frames=64,
        method={"name": "skelemixclr+", "temperature": 0.2},
        besides=("queue_label",),
    ),
    "crosclr": ReleasedCode(graph="spatial", recipe="crosclr", frames=50, method=_SKELETONCLR),
    "aimclr": ReleasedCode(graph="spatial", recipe="crosclr", frames=50, method=_SKELETONCLR),
}
"""Of their released configurations. CrosSCLR and AimCLR train SkeletonCLR's pair with losses of their own besides."""

SAME_GRAPH = 1e-6
"""Largest difference between entries; from one graph to the other they differ by a half."""

_FILLED = {
    r"\.A$": "graph: the source's",
    r"\.edge_importance\.\d+$": "edge importance: ones",
    r"\.num_batches_tracked$": "num_batches_tracked: zeros",
}
"""Keys that a checkpoint may lack if it lacks them all, and what then stands there."""

_OWNER = re.compile(r"(?:encoder_[qk]|queue|queue_ptr|queue_label)(_motion|_bone)?(?:\.|$)")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleasedWeights:
    """One stream of a checkpoint, under our names."""

    encoder: EncoderConfig
    pair: PairConfig | None
    """None when the file holds the query encoder alone, as after a linear evaluation or fine-tuning."""
    model: nn.Module
    """The pair, else `wrap_query_encoder`."""
    taken: int
    """Keys that are in the model now."""
    besides: tuple[str, ...]
    """Keys that are known and mean nothing here."""
    filled: tuple[str, ...]
    """What the file has no key for, and what stands there instead."""


def streams_in(tensors: Iterable[str]) -> dict[Stream, list[str]]:
    """The keys of each stream that a checkpoint holds.

    Raises:
        ArtifactError: a key belongs to none; the text starts with it.
    """
    by_suffix: dict[str, list[str]] = {}
    unknown = []
    for key in tensors:
        if found := _OWNER.match(key):
            by_suffix.setdefault(found[1] or "", []).append(key)
        else:
            unknown.append(key)
    if unknown:
        raise ArtifactError(f"{_first(unknown)} is unknown: keys start with encoder_q, encoder_k or queue")
    return {stream: by_suffix[suffix] for stream, suffix in SUFFIXES.items() if suffix in by_suffix}


def read_released(tensors: Mapping[str, Tensor], stream: Stream, source: ReleasedCode) -> ReleasedWeights:
    """One stream's tensors as our encoder, with its key encoder and queue when the file has them.

    Args:
        tensors: the keys of that stream, and no others.
        stream: which it is by the keys' suffix.
        source: what the file is said to be.

    Raises:
        ArtifactError: a key is unknown or missing, its tensor has another shape or kind or is not finite, or the graph
            is not the source's; the text starts with the key.
    """
    suffix = SUFFIXES[stream]
    config = infer(tensors, f"encoder_q{suffix}", source.graph)
    for side in ("encoder_q", "encoder_k"):
        _check_graph(tensors, f"{side}{suffix}.A", source.graph)
    besides = tuple(f"{name}{suffix}" for name in source.besides if f"{name}{suffix}" in tensors)
    alone = all(key.startswith(f"encoder_q{suffix}.") for key in tensors)
    pair_config = None if alone else PairConfig(queue_size=axes(tensors, f"queue{suffix}", 2)[1])

    def made() -> MomentumPair:
        return MomentumPair(Encoder(KINECT_V2, config), pair_config or PairConfig(queue_size=1), torch.Generator())

    with torch.device("meta"):  # sizes without memory, until every tensor has borne out what a few have told
        pair = made()
    state = (wrap_query_encoder(pair.query) if alone else pair).state_dict()
    expected = {theirs: own for theirs, own in names(pair, suffix).items() if own in state}
    if unknown := [key for key in tensors if key not in expected and key not in besides]:
        raise ArtifactError(f"{_first(unknown)} is unknown to this encoder")
    absent = [key for key in expected if key not in tensors]
    lacks = [mark for mark in _FILLED if not any(re.search(mark, key) for key in tensors)]
    if missing := [key for key in absent if not any(re.search(mark, key) for mark in lacks)]:
        raise ArtifactError(f"{_first(missing)} is missing")
    for key, tensor in tensors.items():
        if own := expected.get(key):
            _check(key, tensor, state[own])
    pair = made()
    model = wrap_query_encoder(pair.query) if alone else pair
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
        besides=besides,
        filled=tuple(_FILLED[mark] for mark in lacks),
    )


def _check(key: str, tensor: Tensor, expected: Tensor) -> None:
    """Refuse a tensor that cannot stand for ours."""
    if tensor.shape != expected.shape and not (expected.ndim == 0 and tensor.shape == (1,)):
        raise ArtifactError(f"{key} is {tuple(tensor.shape)}, expected {tuple(expected.shape)}")
    if tensor.is_floating_point() != expected.is_floating_point() or tensor.is_complex():
        raise ArtifactError(f"{key} holds {tensor.dtype}, expected {expected.dtype}")
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        raise ArtifactError(f"{key} holds a number that is not finite: the training it comes from had failed")
    if key.endswith(".running_var") and bool((tensor < 0).any()):
        raise ArtifactError(f"{key} holds a negative variance")


def _check_graph(tensors: Mapping[str, Tensor], key: str, graph: GraphKind) -> None:
    """Refuse another graph than the source's, saying whose it is."""
    expected = build_adjacency(KINECT_V2, graph)
    if key not in tensors or tensors[key].shape != expected.shape:
        return  # what is missing or misshapen is told with the other keys
    held = tensors[key].float()
    if torch.allclose(held, expected, rtol=0, atol=SAME_GRAPH):
        return
    for other in GRAPH_KINDS:
        if torch.allclose(held, build_adjacency(KINECT_V2, other), rtol=0, atol=SAME_GRAPH):
            like = " or ".join(name for name, source in RELEASED_CODES.items() if source.graph == other)
            raise ArtifactError(
                f"{key} is the graph `{other}`, not `{graph}`: this looks like {like}; --source says which"
            )
    k, v, w = (int(axis) for axis in torch.unravel_index((held - expected).abs().argmax(), expected.shape))
    differs = f"[{k}, {v}, {w}] is {held[k, v, w]:.6g}, `{graph}` has {expected[k, v, w]:.6g}"
    raise ArtifactError(f"{key} is no graph that is known: {differs}")


def _first(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} (and {len(keys) - 1} more)"
