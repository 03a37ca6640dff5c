"""Training methods by name: SkeletonCLR, SkeleMixCLR and SkeleMixCLR+."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pipeline.skeleton.layout import Layout
from trainer.config.method import MethodConfig
from trainer.config.model import EncoderConfig, PairConfig
from trainer.methods.method import Method
from trainer.models.momentum_pair import MomentumPair
from trainer.models.registry import build_encoder


class SkeletonCLR(Method):
    """Contrasts plain views only (Li et al. 2021)."""

    mixing = False


class SkeleMixCLR(Method):
    """Adds the mean loss over mixed clips (Chen et al. 2022)."""


class SkeleMixCLRPlus(Method):
    """Adds the summed loss over mixed clips (the reference's `multi_swapv2`)."""

    def combine_regions(self, instance: Tensor, terms: Sequence[Tensor]) -> Tensor:
        """Return the sum over regions."""
        return torch.stack(list(terms)).div(2).sum()


METHODS: Mapping[str, type[Method]] = {
    "skeletonclr": SkeletonCLR,
    "skelemixclr": SkeleMixCLR,
    "skelemixclr+": SkeleMixCLRPlus,
}


def build_method(
    layout: Layout, encoder: EncoderConfig, pair_config: PairConfig, method: MethodConfig, seed: int
) -> Method:
    """Build an untrained method. Initial weights and queue depend only on the seed."""
    pair = MomentumPair(build_encoder(layout, encoder, seed), pair_config, torch.Generator().manual_seed(seed))
    return METHODS[method.name](pair, method)
