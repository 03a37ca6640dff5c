"""Method interface: losses of plain views and mixed clips, on a momentum pair with a queue.

The key encoder runs first; in the reference it runs last. The results are the same, as neither encoder depends on the
other before the losses.
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
    """Losses of one step, each a scalar tensor on the device."""

    instance: Tensor
    """InfoNCE of the plain query with its key."""
    trimmed: tuple[Tensor, ...]
    """For each region: InfoNCE of the pasted region with the partner's key."""
    truncated: tuple[Tensor, ...]
    """For each region: InfoNCE of the rest of the clip with the clip's own key."""
    mixed: Tensor
    """Mean of each trimmed and truncated pair, summed or averaged over regions; zero without regions."""
    total: Tensor
    """Sum of instance and mixed: the loss to minimise."""


class Method:
    """Losses of a method, one micro-batch at a time; trainer/pretrain/step.py combines them to a training step.

    To implement another method, override `combine_regions`, or `losses` as a whole.
    """

    mixing: ClassVar[bool] = True
    """Whether the method mixes clips."""

    def __init__(self, pair: MomentumPair, config: MethodConfig) -> None:
        self.pair = pair
        self.config = config

    @property
    def repeats(self) -> int:
        """Number of mixed regions per training step; 0 for a method that does not mix."""
        return self.config.mix.repeats if self.mixing else 0

    def mixes(self, query: Tensor, regions: Sequence[Regions]) -> list[MixedClips]:
        """Mix the clips of a whole batch, (N, C, T, V, M) each; partners may be anywhere in the batch.

        Args:
            query: (N, C, T, V, M), one view of each sample.
            regions: `repeats` regions to paste.
        """
        if len(regions) != self.repeats:
            raise ValueError(f"{self.config.name} takes {self.repeats} regions per step, found {len(regions)}")
        return [mix(query, region, self.pair.query.stride) for region in regions]

    def losses(
        self, samples: slice, query: Tensor, mixes: Sequence[MixedClips], keys: Tensor, queue: Tensor
    ) -> LossTerms:
        """Compute the losses of a micro-batch, each the mean over its samples. Only batch-norm statistics change.

        The forward passes follow the reference's order: query, then each mixed clip, each with its own batch
        statistics.

        Args:
            samples: the samples of the micro-batch.
            query: (N, C, T, V, M) of the whole batch.
            mixes: result of `mixes` for the whole batch.
            keys: (N, D) of the whole batch, from the updated key encoder.
            queue: (D, K) before these keys are added.
        """
        pair = self.pair
        nce = partial(info_nce, queue=queue, temperature=self.config.temperature, decoupled=self.config.decoupled)
        plain = unit_length(pair.query(query[samples]))
        halves = []
        for mixed in mixes:
            mask = mixed.mask if mixed.mask.ndim == 2 else mixed.mask[samples]
            trimmed, truncated = pair.query.encode_masked_halves(mixed.clips[samples], mask)
            halves.append((unit_length(trimmed), unit_length(truncated), mixed.partner[samples]))
        with torch.autocast(query.device.type, enabled=False):
            own = keys[samples]
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
        """Combine the losses of regions to the term that is added to the loss of plain views.

        The default is the mean over regions, and zero without regions.

        Args:
            instance: () loss of plain views.
            terms: trimmed and truncated loss of every region, () each.
        """
        if not terms:
            return torch.zeros_like(instance)
        return torch.stack(list(terms)).div(2).sum() / self.repeats
