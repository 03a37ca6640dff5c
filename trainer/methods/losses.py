"""InfoNCE, the contrastive loss of all methods."""

import torch
from torch import Tensor


def info_nce(
    query: Tensor,
    key: Tensor,
    queue: Tensor,
    temperature: float,
    extra_negative: Tensor | None = None,
    *,
    decoupled: bool = False,
) -> Tensor:
    """Compute the InfoNCE loss (van den Oord et al. 2018): cross-entropy of each query's key among negatives.

    The reference computes the logarithm of a softmax, which is infinite if the probability underflows; this is finite.

    Args:
        query: (N, D), length one; gradients flow into it.
        key: (N, D), length one: the positives.
        queue: (D, K), columns of length one: negatives for all queries.
        temperature: divisor of the cosine similarities.
        extra_negative: (N, D), length one: one additional negative for each query. SkeleMix uses the other half of the
            same mixed clip. No gradient flows into it.
        decoupled: leave the positive out of the denominator (Yeh et al. 2022).

    Returns:
        () mean over the batch.
    """
    positive = (query * key).sum(dim=1) / temperature
    negatives = torch.logsumexp(query @ queue / temperature, dim=1)
    if extra_negative is not None:
        extra = (query * extra_negative.detach()).sum(dim=1) / temperature
        negatives = torch.logaddexp(negatives, extra)
    denominator = negatives if decoupled else torch.logaddexp(positive, negatives)
    return (denominator - positive).mean()
