"""The methods that can be trained, by name: SkeletonCLR, SkeleMixCLR and SkeleMixCLR+, and what is set of them."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from pipeline.layout import Layout
from trainer.contrast import MomentumPair, PairConfig
from trainer.encoder import EncoderConfig
from trainer.encoders import ENCODERS
from trainer.method import Method
from trainer.skelemix import MixConfig


class SkeletonCLR(Method):
    """Plain views alone (Li et al. 2021)."""

    mixing = False


class SkeleMixCLR(Method):
    """And the mean over mixed clips (Chen et al. 2022)."""


class SkeleMixCLRPlus(Method):
    """And their sum (the reference's `multi_swapv2`)."""

    def over_regions(self, instance: Tensor, terms: Sequence[Tensor]) -> Tensor:
        """The sum over regions."""
        return torch.stack(list(terms)).div(2).sum()


METHODS: Mapping[str, type[Method]] = {
    "skeletonclr": SkeletonCLR,
    "skelemixclr": SkeleMixCLR,
    "skelemixclr+": SkeleMixCLRPlus,
}


class MethodConfig(BaseModel):
    """Which method, and the numbers of its contrast; the defaults are SkeleMixCLR+'s released configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Literal["skeletonclr", "skelemixclr", "skelemixclr+"] = "skelemixclr+"
    """SkeletonCLR contrasts plain views; SkeleMixCLR adds the mean over mixed clips, SkeleMixCLR+ their sum."""
    temperature: float = Field(default=0.2, gt=0.0)
    """What cosines are divided by. SkeletonCLR's release has 0.07."""
    decoupled: bool = False
    """Decoupled contrast (Yeh et al. 2022), an option of the reference: the positive is not among what it is held
    against."""
    mix: MixConfig = MixConfig()
    """What SkeleMix pastes; SkeletonCLR leaves it aside."""

    @property
    def repeats(self) -> int:
        """Regions that a step takes."""
        return self.mix.repeats if METHODS[self.name].mixing else 0


def build(layout: Layout, encoder: EncoderConfig, contrast: PairConfig, method: MethodConfig, seed: int) -> Method:
    """A method before its first step: start weights and the queue's noise are functions of the seed."""
    torch.manual_seed(seed)
    pair = MomentumPair(ENCODERS[encoder.name](layout, encoder), contrast, torch.Generator().manual_seed(seed))
    return METHODS[method.name](pair, method)
