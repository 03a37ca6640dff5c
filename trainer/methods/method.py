"""What a step asks of a method: the losses of two views and of mixed clips, on a pair of encoders with a queue.

The key encoder runs first, the reference's last: neither sees anything of the other before the losses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from trainer.config.method import MethodConfig
from trainer.methods.losses import info_nce
from trainer.methods.skelemix import MixedClips, Regions, mix
from trainer.models.momentum_pair import MomentumPair, unit_length


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
    """A method's losses on a pair of encoders, of one part of a batch after another; `trainer.step` puts them together.

    A method of its own overrides `combine_regions`, or `losses` as a whole.
    """

    mixing: ClassVar[bool] = True
    """Whether a step mixes clips."""

    def __init__(self, pair: MomentumPair, config: MethodConfig) -> None:
        self.pair = pair
        self.config = config

    @property
    def repeats(self) -> int:
        """Mixed regions per training step; 0 for a method that does not mix."""
        return self.config.mix.repeats if self.mixing else 0

    def mixes(self, query: Tensor, regions: Sequence[Regions]) -> list[MixedClips]:
        """The mixed clips of a whole batch, (N, C, T, V, M) each: partners may be anywhere in it.

        Args:
            query: (N, C, T, V, M), one view of each sample.
            regions: what to mix, as many as the configuration's `repeats`.
        """
        if len(regions) != self.repeats:
            raise ValueError(f"{self.config.name} takes {self.repeats} regions a step, found {len(regions)}")
        return [mix(query, region, self.pair.query.stride) for region in regions]

    def losses(self, part: slice, query: Tensor, mixes: Sequence[MixedClips], keys: Tensor, queue: Tensor) -> LossTerms:
        """Losses of a part of a batch, each the mean over the part. Nothing moves on but batch-norm statistics.

        The passes follow the reference's order: query, then each mixed clip, with batch-norm statistics of its own.

        Args:
            part: which samples.
            query: (N, C, T, V, M) of the whole batch.
            mixes: what `mixes` made of it.
            keys: (N, D) of the whole batch, by the key encoder after its update.
            queue: (D, K) as it was before these keys.
        """
        pair = self.pair
        nce = partial(info_nce, queue=queue, temperature=self.config.temperature, decoupled=self.config.decoupled)
        plain = unit_length(pair.query(query[part]))
        halves = []
        for mixed in mixes:
            mask = mixed.mask if mixed.mask.ndim == 2 else mixed.mask[part]
            trimmed, truncated = pair.query.encode_masked_halves(mixed.clips[part], mask)
            halves.append((unit_length(trimmed), unit_length(truncated), mixed.partner[part]))
        with torch.autocast(query.device.type, enabled=False):
            own = keys[part]
            instance = nce(plain, own)
            trimmed_terms = tuple(nce(p, keys[partner], extra_negative=c) for p, c, partner in halves)
            truncated_terms = tuple(nce(c, own, extra_negative=p) for p, c, _ in halves)
        mixed_term = self.combine_regions(instance, trimmed_terms + truncated_terms)
        return LossTerms(
            instance=instance,
            trimmed=trimmed_terms,
            truncated=truncated_terms,
            mixed=mixed_term,
            total=instance + mixed_term,
        )

    def combine_regions(self, instance: Tensor, terms: Sequence[Tensor]) -> Tensor:
        """What mixing adds to the loss of plain views: here the mean over regions, zero without regions.

        Args:
            instance: () the loss of plain views.
            terms: the trimmed and the truncated loss of every region, () each.
        """
        if not terms:
            return torch.zeros_like(instance)
        return torch.stack(list(terms)).div(2).sum() / self.repeats
