"""The contrastive loss of every method here: pure functions of normalised vectors."""

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
    """Cross-entropy of picking each query's key among negatives (InfoNCE, van den Oord et al. 2018).

    The reference takes the logarithm of a softmax, infinite where the probability underflows; this stays finite.

    Args:
        query: (N, D), length one; gradients flow into it.
        key: (N, D), length one: the positive.
        queue: (D, K), columns of length one: negatives for all queries.
        temperature: what the cosines are divided by.
        extra_negative: (N, D), length one: one more negative for each query alone. SkeleMix gives the other half of the
            same mixed clip. No gradient flows into it.
        decoupled: leave the key itself out of what it is picked among (Yeh et al. 2022).

    Returns:
        () the mean over the batch.
    """
    positive = (query * key).sum(dim=1) / temperature
    negatives = torch.logsumexp(query @ queue / temperature, dim=1)
    if extra_negative is not None:
        extra = (query * extra_negative.detach()).sum(dim=1) / temperature
        negatives = torch.logaddexp(negatives, extra)
    below = negatives if decoupled else torch.logaddexp(positive, negatives)
    return (below - positive).mean()
