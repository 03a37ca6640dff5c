"""Parameter names of SkeleMixCLR, CrosSCLR (with SkeletonCLR) and AimCLR, mapped to ours; encoder sizes from shapes.

Taken from czhaneva/SkeleMixCLR at 4538d6c, LinguoLi/CrosSCLR at 2bff9a6 and Levigty/AimCLR at 59fe004. All three save
the same kind of `state_dict`: `encoder_q` and, during pre-training, `encoder_k` and a queue; CrosSCLR has them once for
each stream, with the suffixes `_motion` and `_bone`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.errors import ArtifactError
from trainer.config.method import Stream
from trainer.config.model import EncoderConfig, GraphKind
from trainer.models.momentum_pair import MomentumPair

SUFFIXES: Mapping[Stream, str] = {"joint": "", "motion": "_motion", "bone": "_bone"}
"""CrosSCLR's suffix of `encoder_q`, `encoder_k`, `queue` and `queue_ptr` for each stream."""

_BLOCK = {
    "spatial": "gcn.conv",
    "spatial_norm": "tcn.0",
    "temporal": "tcn.2",
    "temporal_norm": "tcn.3",
    "shortcut": "residual",
}


def released_names(pair: MomentumPair, suffix: str = "") -> dict[str, str]:
    """Map the released names of all parameters and buffers of a pair of encoders to ours."""
    names = {f"queue{suffix}": "queue", f"queue_ptr{suffix}": "pointer"}
    for released, own in ((f"encoder_q{suffix}", "query"), (f"encoder_k{suffix}", "key")):
        for name in pair.query.state_dict():
            names[f"{released}.{_released_name(name, pair.query.config)}"] = f"{own}.{name}"
    return names


def _released_name(name: str, config: EncoderConfig) -> str:
    """The released name of one of our encoder's parameters or buffers."""
    module_name, _, rest = name.partition(".")
    if module_name == "blocks":
        number, module, *leaf = rest.split(".")
        if module == "edge_importance":
            return f"edge_importance.{number}"
        return ".".join([f"st_gcn_networks.{number}", _BLOCK[module], *leaf])
    if module_name == "head":
        index, leaf_name = rest.split(".")
        return f"fc{_head_path(int(index), config)}.{leaf_name}"
    return "A" if module_name == "adjacency" else f"data_bn.{rest}"


def _head_path(index: int, config: EncoderConfig) -> str:
    """The path of a layer of our head within `fc`, which is one layer or nested nn.Sequential modules."""
    if config.head_layers == 1:
        return ""
    per_level = 3 if config.head_norm else 2
    levels = min(index // per_level, config.head_layers - 2)
    return f".{per_level}" * levels + f".{index - levels * per_level}"


def infer_config(tensors: Mapping[str, Tensor], encoder: str, graph: GraphKind) -> EncoderConfig:
    """Infer the sizes of an encoder from the shapes of the tensors whose names start with `encoder` and a dot.

    Raises:
        ArtifactError: a required key is missing or has the wrong number of axes; the message starts with the key.
    """
    last, layers = "fc", 1
    norm = f"{encoder}.fc.1.weight" in tensors
    while f"{encoder}.{last}.weight" not in tensors and layers < 3:
        last, layers = f"{last}.{3 if norm else 2}", layers + 1
    return EncoderConfig(
        hidden_channels=require_shape(tensors, f"{encoder}.st_gcn_networks.0.tcn.2.weight", 4)[0],
        hidden_dim=require_shape(tensors, f"{encoder}.st_gcn_networks.9.tcn.2.weight", 4)[0],
        feature_dim=require_shape(tensors, f"{encoder}.{last}.weight", 2)[0],
        head_layers=layers,
        head_norm=norm,
        graph=graph,
    )


def require_shape(tensors: Mapping[str, Tensor], key: str, axes: int) -> torch.Size:
    """The shape of a required tensor.

    Raises:
        ArtifactError: it is missing, or does not have `axes` axes; the message starts with the key.
    """
    if key not in tensors:
        raise ArtifactError(f"{key} is missing")
    shape = tensors[key].shape
    if len(shape) != axes or 0 in shape:
        raise ArtifactError(f"{key} is {tuple(shape)}, expected {axes} axes, none of them empty")
    return shape
