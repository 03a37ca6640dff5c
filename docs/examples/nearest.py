"""Nearest neighbours as positives (NNCLR, Dwibedi et al. 2021): the key that a query is to find is a neighbour's."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.methods.losses import info_nce
from trainer.methods.method import LossTerms, Method
from trainer.methods.skelemix import MixedClips
from trainer.models.momentum_pair import unit_length


class Nearest(Method):
    """SkeletonCLR, but that each query is held against the past key that is most like its own."""

    mixing = False

    def losses(self, part: slice, query: Tensor, mixes: Sequence[MixedClips], keys: Tensor, queue: Tensor) -> LossTerms:
        """As `Method.losses`: () the mean over the part of the batch."""
        plain = unit_length(self.pair.query(query[part]))
        with torch.autocast(query.device.type, enabled=False):
            nearest = queue.T[(keys[part] @ queue).argmax(dim=1)]  # (N, D)
            loss = info_nce(plain, nearest, queue=queue, temperature=self.config.temperature)
        nothing = torch.zeros_like(loss)
        return LossTerms(instance=loss, trimmed=(), truncated=(), mixed=nothing, total=loss)
