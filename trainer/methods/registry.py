"""The methods that can be trained, by name: SkeletonCLR, SkeleMixCLR and SkeleMixCLR+, and what is set of them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pipeline.skeleton.layout import Layout
from trainer.config.method import MethodConfig
from trainer.config.model import EncoderConfig, PairConfig
from trainer.methods.method import Method
from trainer.models.momentum_pair import MomentumPair
from trainer.models.registry import ENCODERS


class SkeletonCLR(Method):
    """Plain views alone (Li et al. 2021)."""

    mixing = False


class SkeleMixCLR(Method):
    """And the mean over mixed clips (Chen et al. 2022)."""


class SkeleMixCLRPlus(Method):
    """And their sum (the reference's `multi_swapv2`)."""

    def combine_regions(self, instance: Tensor, terms: Sequence[Tensor]) -> Tensor:
        """The sum over regions."""
        return torch.stack(list(terms)).div(2).sum()


METHODS: Mapping[str, type[Method]] = {
    "skeletonclr": SkeletonCLR,
    "skelemixclr": SkeleMixCLR,
    "skelemixclr+": SkeleMixCLRPlus,
}


def build_method(
    layout: Layout, encoder: EncoderConfig, contrast: PairConfig, method: MethodConfig, seed: int
) -> Method:
    """A method before its first step: start weights and the queue's noise are functions of the seed."""
    torch.manual_seed(seed)
    pair = MomentumPair(ENCODERS[encoder.name](layout, encoder), contrast, torch.Generator().manual_seed(seed))
    return METHODS[method.name](pair, method)
