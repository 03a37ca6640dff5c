"""One training step: the views of a batch, its losses part by part, backward, and the optimiser.

A part (`micro_batch`) is shared out over the ranks, and a rank holds no more than its share at a time. What the step
means does not change with that: mixing partners, keys, the queue and the mean of the loss are the whole batch's.
Batch-norm statistics alone are the part's, over all ranks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Parameter

from pipeline.errors import ConfigError
from trainer.config.pretrain import PretrainConfig
from trainer.data import augment, counter_rng
from trainer.data.streams import derive_stream
from trainer.methods import skelemix
from trainer.methods.method import Method
from trainer.methods.skelemix import MixedClips
from trainer.models.momentum_pair import MomentumPair
from trainer.runs.run import Run
from trainer.runtime import distributed
from trainer.runtime.cuda_graph import CudaGraph


def train_step(
    method: Method,
    optimiser: torch.optim.Optimizer,
    clips: Tensor,
    rows: NDArray[np.int64],
    step: int,
    epoch: int,
    run: Run,
    replay: CudaGraph | None = None,
) -> dict[str, Tensor]:
    """One step on clips (N, C, T, V, M) of some store rows; its draws depend on seed, epoch, row and step alone.

    With a `replay` (of `replayed`, made for this method and optimiser) passes and gradients are one CUDA graph.
    """
    config, layout, pair = run.config, run.layout, method.pair
    since, samples = _drawn_for(rows, step, epoch, run)
    views = []
    for view in range(2):
        uniforms = counter_rng.uniform(config.seed, since, samples.to(clips.device), view, augment.DRAWS_PER_VIEW)
        views.append(derive_stream(augment.random_view(clips, uniforms, config.augment), config.stream, layout))
    query, key = views
    frames_out = pair.query.frames_out(config.frames)
    regions = [
        skelemix.draw_region(
            layout, config.method.mix, len(clips), frames_out, counter_rng.generator(config.seed, step, repeat)
        )
        for repeat in range(method.repeats)
    ]
    counter_rng.seed_torch(config.seed, step, distributed.rank())
    with _taken_back_if_lost(pair):
        mixes = method.mixes(query, regions)
        work = replay or partial(_keys_and_gradients, method, optimiser, config)
        keys, terms = work(query, key, *chain.from_iterable(mixes))
    pair.enqueue(keys)
    optimiser.step()
    return dict(zip(("total", "instance", "mixed"), terms.clone(), strict=True))


def replayed(method: Method, optimiser: torch.optim.Optimizer, config: PretrainConfig) -> CudaGraph:
    """What `train_step` takes to do its passes and gradients as one CUDA graph; for one process with a GPU."""
    return CudaGraph(partial(_keys_and_gradients, method, optimiser, config), _moved_by_passes(method.pair))


def _keys_and_gradients(
    method: Method, optimiser: torch.optim.Optimizer, config: PretrainConfig, query: Tensor, key: Tensor, *mixed: Tensor
) -> tuple[Tensor, Tensor]:
    """The key encoder's update, all passes, and backward: keys (N, D) and total, instance and mixed loss (3,).

    Query and key are (N, C, T, V, M), a view of each sample; `mixed` has clips, mask and partner of each mixing.
    """
    pair = method.pair
    mixes = [MixedClips(*tensors) for tensors in zip(mixed[::3], mixed[1::3], mixed[2::3], strict=True)]
    parts = [share(part) for part in cut(len(query), config.micro_batches)]
    pair.update_key_encoder()
    keys = pair.queue.new_zeros(len(query), len(pair.queue))
    for part in parts:
        with _precision(config, query.device):
            keys[part] = pair.keys(key[part])
    distributed.all_reduce_sum(keys)
    optimiser.zero_grad()
    terms = torch.stack([_backward(method, part, query, mixes, keys, config) for part in parts]).sum(dim=0)
    _add_gradients(list(pair.query.parameters()), terms)
    return keys, terms


def require_clips_for_all(config: PretrainConfig) -> None:
    """Make sure that every rank has a share of every part of a batch.

    Raises:
        ConfigError: there are more ranks than clips in a part.
    """
    if (least := config.batch_size // config.micro_batches) < distributed.world_size():
        raise ConfigError(
            f"{least} clips at a time leave some of {distributed.world_size()} processes without any; start fewer, "
            "or --set a larger batch_size or micro_batch"
        )


def share(part: slice) -> slice:
    """This rank's places of a part of the batch."""
    own = cut(part.stop - part.start, distributed.world_size())[distributed.rank()]
    return slice(part.start + own.start, part.start + own.stop)


def _drawn_for(rows: NDArray[np.int64], step: int, epoch: int, run: Run) -> tuple[int, Tensor]:
    """Epoch and samples whose draws a batch of some store rows takes; without epochs, its places in the epoch."""
    if not run.config.augment.same_every_epoch:
        return epoch, torch.from_numpy(rows)
    steps = run.total_steps // run.config.epochs
    return 0, step % steps * len(rows) + torch.arange(len(rows))


def cut(count: int, pieces: int) -> list[slice]:
    """`count` places in so many consecutive pieces, their sizes one apart at most."""
    ends = [count * piece // pieces for piece in range(pieces + 1)]
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _precision(config: PretrainConfig, device: torch.device) -> torch.autocast:
    """Half precision in the encoders' forward passes, when the configuration says so."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")


def _backward(
    method: Method, part: slice, query: Tensor, mixes: list[MixedClips], keys: Tensor, config: PretrainConfig
) -> Tensor:
    """Add a part's share of the batch's gradient to the parameters; its share of total, instance and mixed, (3,)."""
    with _precision(config, query.device):
        terms = method.losses(part, query, mixes, keys, method.pair.queue)
    weighted: Tensor = torch.stack([terms.total, terms.instance, terms.mixed]) * ((part.stop - part.start) / len(query))
    torch.autograd.backward(weighted[0])
    return weighted.detach()


def _add_gradients(parameters: list[Parameter], terms: Tensor) -> None:
    """Add up over the ranks the gradients of parameters, and the loss terms (3,), in one exchange."""
    if distributed.world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    together = torch.cat([gradient.flatten() for gradient in gradients] + [terms])
    distributed.all_reduce_sum(together)
    *summed, all_terms = torch.split(together, [gradient.numel() for gradient in gradients] + [len(terms)])
    for gradient, total in zip(gradients, summed, strict=True):
        gradient.copy_(total.view_as(gradient))
    terms.copy_(all_terms)


def _moved_by_passes(pair: MomentumPair) -> list[Tensor]:
    """What a step changes in place before its keys go into the queue and the optimiser moves the weights."""
    return [*pair.key.parameters(), *(buffer for name, buffer in pair.named_buffers() if name != "queue")]


@contextmanager
def _taken_back_if_lost(pair: MomentumPair) -> Iterator[None]:
    """Undo what a step has done if another rank is lost in it: a step is done whole or not at all."""
    if distributed.world_size() == 1:
        yield
        return
    moving = _moved_by_passes(pair)
    before = [tensor.clone() for tensor in moving]
    try:
        yield
    except distributed.PeerLost:
        with torch.no_grad():
            for tensor, was in zip(moving, before, strict=True):
                tensor.copy_(was)
        raise
