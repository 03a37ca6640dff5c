"""NNCLR (Dwibedi et al. 2021): the positive key of a query is the nearest neighbour of its own key in the queue."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.methods.losses import info_nce
from trainer.methods.method import LossTerms, Method
from trainer.methods.skelemix import MixedClips
from trainer.models.momentum_pair import unit_length


class Nearest(Method):
    """SkeletonCLR with the most similar past key as positive."""

    mixing = False

    def losses(self, part: slice, query: Tensor, mixes: Sequence[MixedClips], keys: Tensor, queue: Tensor) -> LossTerms:
        """Return the losses of a micro-batch, as `Method.losses`."""
        plain = unit_length(self.pair.query(query[part]))
        with torch.autocast(query.device.type, enabled=False):
            nearest = queue.T[(keys[part] @ queue).argmax(dim=1)]  # (N, D)
            loss = info_nce(plain, nearest, queue=queue, temperature=self.config.temperature)
        nothing = torch.zeros_like(loss)
        return LossTerms(instance=loss, trimmed=(), truncated=(), mixed=nothing, total=loss)
