"""What SkeleMixCLR, CrosSCLR (with its SkeletonCLR) and AimCLR call the parts of an encoder, and which sizes follow.

Read off czhaneva/SkeleMixCLR at 4538d6c, LinguoLi/CrosSCLR at 2bff9a6 and Levigty/AimCLR at 59fe004. All three save a
`state_dict` of the same kind: `encoder_q`, and while pre-training `encoder_k` and a queue; CrosSCLR has them once for
each stream, with `_motion` and `_bone` behind the name.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.errors import ArtifactError
from trainer.config.method import Stream
from trainer.config.model import EncoderConfig, GraphKind
from trainer.models.momentum_pair import MomentumPair

SUFFIXES: Mapping[Stream, str] = {"joint": "", "motion": "_motion", "bone": "_bone"}
"""What CrosSCLR puts behind `encoder_q`, `encoder_k`, `queue` and `queue_ptr` for each stream."""

_BLOCK = {
    "spatial": "gcn.conv",
    "spatial_norm": "tcn.0",
    "temporal": "tcn.2",
    "temporal_norm": "tcn.3",
    "shortcut": "residual",
}


def names(pair: MomentumPair, suffix: str = "") -> dict[str, str]:
    """Their name for everything in our pair of encoders, each with ours."""
    own = {f"queue{suffix}": "queue", f"queue_ptr{suffix}": "pointer"}
    for theirs, side in ((f"encoder_q{suffix}", "query"), (f"encoder_k{suffix}", "key")):
        own |= {f"{theirs}.{_theirs(name, pair.query.config)}": f"{side}.{name}" for name in pair.query.state_dict()}
    return own


def _theirs(name: str, config: EncoderConfig) -> str:
    """Their name for one of our encoder's parameters or buffers."""
    part, _, rest = name.partition(".")
    if part == "blocks":
        number, module, *leaf = rest.split(".")
        if module == "edge_importance":
            return f"edge_importance.{number}"
        return ".".join([f"st_gcn_networks.{number}", _BLOCK[module], *leaf])
    if part == "head":
        place, leaf_name = rest.split(".")
        return f"fc{_place_in_head(int(place), config)}.{leaf_name}"
    return "A" if part == "adjacency" else f"data_bn.{rest}"


def _place_in_head(place: int, config: EncoderConfig) -> str:
    """Where a layer of our head stands in `fc`: a bare layer, or a row whose last item may be another row."""
    if config.head_layers == 1:
        return ""
    before_last = 3 if config.head_norm else 2
    rows = min(place // before_last, config.head_layers - 2)
    return f".{before_last}" * rows + f".{place - rows * before_last}"


def infer(tensors: Mapping[str, Tensor], encoder: str, graph: GraphKind) -> EncoderConfig:
    """The sizes of the encoder whose tensors' names start with `encoder` and a dot.

    Raises:
        ArtifactError: a key that tells a size is missing, or has the wrong number of axes; the text starts with it.
    """
    last, layers = "fc", 1
    norm = f"{encoder}.fc.1.weight" in tensors
    while f"{encoder}.{last}.weight" not in tensors and layers < 3:
        last, layers = f"{last}.{3 if norm else 2}", layers + 1
    return EncoderConfig(
        hidden_channels=axes(tensors, f"{encoder}.st_gcn_networks.0.tcn.2.weight", 4)[0],
        hidden_dim=axes(tensors, f"{encoder}.st_gcn_networks.9.tcn.2.weight", 4)[0],
        feature_dim=axes(tensors, f"{encoder}.{last}.weight", 2)[0],
        head_layers=layers,
        head_norm=norm,
        graph=graph,
    )


def axes(tensors: Mapping[str, Tensor], key: str, count: int) -> torch.Size:
    """The shape of a tensor that tells a size.

    Raises:
        ArtifactError: it is missing, or has another number of axes than `count`; the text starts with its key.
    """
    if key not in tensors:
        raise ArtifactError(f"{key} is missing")
    shape = tensors[key].shape
    if len(shape) != count or 0 in shape:
        raise ArtifactError(f"{key} is {tuple(shape)}, expected {count} axes, none of them empty")
    return shape
