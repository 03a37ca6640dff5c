"""SkeletonCLR, SkeleMixCLR and SkeleMixCLR+: one training step over the shared parts, up to the loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from pipeline.layout import Layout
from trainer.contrast import MomentumPair, PairConfig, unit
from trainer.encoder import Encoder, EncoderConfig
from trainer.losses import info_nce
from trainer.skelemix import MixConfig, Region, mix


class MethodConfig(BaseModel):
    """Which method, and the numbers of its contrast; the defaults are SkeleMixCLR+'s released configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Literal["skeletonclr", "skelemixclr", "skelemixclr+"] = "skelemixclr+"
    """SkeletonCLR contrasts plain views; SkeleMixCLR adds the mean over mixed clips, SkeleMixCLR+ their sum."""
    temperature: float = Field(default=0.2, gt=0.0)
    """What cosines are divided by. SkeletonCLR's release has 0.07."""
    mix: MixConfig = MixConfig()
    """What SkeleMix pastes; SkeletonCLR leaves it aside."""

    @property
    def repeats(self) -> int:
        """Regions that a step takes."""
        return 0 if self.name == "skeletonclr" else self.mix.repeats


@dataclass(frozen=True, kw_only=True, slots=True)
class LossTerms:
    """One step's losses, each a tensor without axes, on the device."""

    instance: Tensor
    """Query against key."""
    trimmed: tuple[Tensor, ...]
    """For each region: what was pasted against its owner's key."""
    truncated: tuple[Tensor, ...]
    """For each region: what is left of the host against the host's key."""
    mixed: Tensor
    """The mean of each trimmed and truncated pair, summed or averaged over regions; zero without regions."""
    total: Tensor
    """Instance and mixed together: what to minimise."""


class Method:
    """A method's step on a pair of encoders."""

    def __init__(self, pair: MomentumPair, config: MethodConfig) -> None:
        self.pair = pair
        self.config = config

    def step(self, query: Tensor, key: Tensor, regions: Sequence[Region]) -> LossTerms:
        """Losses of one batch; the key encoder and the queue move on. Backward and optimiser are the caller's.

        The passes follow the reference's order: query, each mixed clip (with batch-norm statistics of its own), the
        key encoder's update, keys, losses against the queue as it was, new keys into the queue.

        Args:
            query: (N, C, T, V, M), one view of each sample; it is also what is mixed.
            key: (N, C, T, V, M), another view of the same samples.
            regions: what to mix, as many as the configuration's `repeats`.
        """
        if len(regions) != self.config.repeats:
            raise ValueError(f"{self.config.name} takes {self.config.repeats} regions a step, found {len(regions)}")
        pair, temperature = self.pair, self.config.temperature
        plain = unit(pair.query(query))
        halves = []
        for region in regions:
            mixed, mask, partner = mix(query, region, pair.query.stride)
            trimmed, truncated = pair.query.halves(mixed, mask)
            halves.append((unit(trimmed), unit(truncated), partner))
        pair.follow()
        keys = pair.keys(key)
        queue = pair.queue.clone()  # backward needs the values that the new keys will overwrite
        with torch.autocast(query.device.type, enabled=False):
            instance = info_nce(plain, keys, queue, temperature)
            trimmed_terms = tuple(info_nce(p, keys[partner], queue, temperature, c) for p, c, partner in halves)
            truncated_terms = tuple(info_nce(c, keys, queue, temperature, p) for p, c, _ in halves)
        pair.enqueue(keys)
        mixed_term = self._over_regions(instance, trimmed_terms + truncated_terms)
        return LossTerms(
            instance=instance,
            trimmed=trimmed_terms,
            truncated=truncated_terms,
            mixed=mixed_term,
            total=instance + mixed_term,
        )

    def _over_regions(self, instance: Tensor, terms: Sequence[Tensor]) -> Tensor:
        if not terms:
            return torch.zeros_like(instance)
        halves = torch.stack(list(terms)) / 2
        return halves.sum() if self.config.name == "skelemixclr+" else halves.sum() / self.config.repeats


def build(layout: Layout, encoder: EncoderConfig, contrast: PairConfig, method: MethodConfig, seed: int) -> Method:
    """A method before its first step: start weights and the queue's noise are functions of the seed."""
    torch.manual_seed(seed)
    pair = MomentumPair(Encoder(layout, encoder), contrast, torch.Generator().manual_seed(seed))
    return Method(pair, method)
