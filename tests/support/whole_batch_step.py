"""The losses of a training step with the whole batch at once: the simple twin of `trainer.pretrain.step`."""

from collections.abc import Sequence

from torch import Tensor

from trainer.methods.method import LossTerms, Method
from trainer.methods.skelemix import Regions


def losses(method: Method, query: Tensor, key: Tensor, regions: Sequence[Regions]) -> LossTerms:
    """Losses of views (N, C, T, V, M); key encoder and queue move on. Backward and optimiser are the caller's."""
    mixes = method.mixes(query, regions)
    method.pair.update_key_encoder()
    keys = method.pair.keys(key)
    queue = method.pair.queue.clone()  # backward needs the values that the new keys will overwrite
    terms = method.losses(slice(0, len(query)), query, mixes, keys, queue)
    method.pair.enqueue(keys)
    return terms
