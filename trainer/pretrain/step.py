"""One training step: augmented views, losses and gradients by micro-batch, key queue, optimiser step.

A micro-batch is divided among the ranks, and a rank processes only its share at a time. This does not change the
result of a step: mixing partners, keys, the queue and the mean of the loss are those of the whole batch. Only
batch-norm statistics are computed per micro-batch, over all ranks.
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
    cuda_graph: CudaGraph | None = None,
) -> dict[str, Tensor]:
    """Train one step on clips (N, C, T, V, M) of store rows `rows` and return the losses by name.

    Random draws depend only on seed, epoch, row and step. With `cuda_graph` (from `capture_step`, for this method and
    optimiser) forward and backward passes run as one CUDA graph.
    """
    config, layout, pair = run.config, run.layout, method.pair
    draw_epoch, samples = _draw_address(rows, step, epoch, run)
    views = []
    for view in range(2):
        uniforms = counter_rng.uniform(config.seed, draw_epoch, samples.to(clips.device), view, augment.DRAWS_PER_VIEW)
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
    with _undo_if_peer_lost(pair):
        mixes = method.mixes(query, regions)
        compute = cuda_graph or partial(_keys_and_gradients, method, optimiser, config)
        keys, terms = compute(query, key, *chain.from_iterable(mixes))
    pair.enqueue(keys)
    optimiser.step()
    return dict(zip(("total", "instance", "mixed"), terms.clone(), strict=True))


def capture_step(method: Method, optimiser: torch.optim.Optimizer, config: PretrainConfig) -> CudaGraph:
    """The forward and backward passes of `train_step` as a CUDA graph; for a single process with a GPU."""
    return CudaGraph(partial(_keys_and_gradients, method, optimiser, config), _tensors_changed_by_passes(method.pair))


def _keys_and_gradients(
    method: Method, optimiser: torch.optim.Optimizer, config: PretrainConfig, query: Tensor, key: Tensor, *mixed: Tensor
) -> tuple[Tensor, Tensor]:
    """Update the key encoder and compute keys (N, D), gradients, and total, instance and mixed loss (3,).

    `query` and `key` are views (N, C, T, V, M) of the batch; `mixed` has clips, mask and partner of each mixing.
    """
    pair = method.pair
    mixes = [MixedClips(*tensors) for tensors in zip(mixed[::3], mixed[1::3], mixed[2::3], strict=True)]
    shares = [share(micro_batch) for micro_batch in cut(len(query), config.micro_batches)]
    pair.update_key_encoder()
    keys = pair.queue.new_zeros(len(query), len(pair.queue))
    for own in shares:
        with _autocast(config, query.device):
            keys[own] = pair.keys(key[own])
    distributed.all_reduce_sum(keys)
    optimiser.zero_grad()
    terms = torch.stack([_backward(method, own, query, mixes, keys, config) for own in shares]).sum(dim=0)
    _all_reduce_gradients(list(pair.query.parameters()), terms)
    return keys, terms


def require_clips_for_all(config: PretrainConfig) -> None:
    """Check that every rank has at least one clip of every micro-batch.

    Raises:
        ConfigError: there are more ranks than clips in a micro-batch.
    """
    if (clips := config.batch_size // config.micro_batches) < distributed.world_size():
        raise ConfigError(
            f"micro-batches of {clips} clips are too small for {distributed.world_size()} processes; start fewer "
            "processes, or --set a larger batch_size or micro_batch"
        )


def share(micro_batch: slice) -> slice:
    """This rank's share of a micro-batch, as indices into the batch."""
    own = cut(micro_batch.stop - micro_batch.start, distributed.world_size())[distributed.rank()]
    return slice(micro_batch.start + own.start, micro_batch.start + own.stop)


def _draw_address(rows: NDArray[np.int64], step: int, epoch: int, run: Run) -> tuple[int, Tensor]:
    """Epoch and sample numbers that address the random draws of a batch.

    With `same_every_epoch` the epoch is 0 and samples are numbered by their position in the epoch's order.
    """
    if not run.config.augment.same_every_epoch:
        return epoch, torch.from_numpy(rows)
    steps = run.total_steps // run.config.epochs
    return 0, step % steps * len(rows) + torch.arange(len(rows))


def cut(count: int, pieces: int) -> list[slice]:
    """Divide `count` indices into consecutive slices whose sizes differ by at most one."""
    ends = [count * piece // pieces for piece in range(pieces + 1)]
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _autocast(config: PretrainConfig, device: torch.device) -> torch.autocast:
    """bfloat16 autocast of the encoders' forward passes, if configured."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")


def _backward(
    method: Method, own: slice, query: Tensor, mixes: list[MixedClips], keys: Tensor, config: PretrainConfig
) -> Tensor:
    """Add the gradient of the clips `own` to the parameters; return their share of total, instance and mixed (3,)."""
    with _autocast(config, query.device):
        terms = method.losses(own, query, mixes, keys, method.pair.queue)
    weighted: Tensor = torch.stack([terms.total, terms.instance, terms.mixed]) * ((own.stop - own.start) / len(query))
    torch.autograd.backward(weighted[0])
    return weighted.detach()


def _all_reduce_gradients(parameters: list[Parameter], terms: Tensor) -> None:
    """Sum the gradients of parameters and the loss terms (3,) over all ranks, in one all-reduce."""
    if distributed.world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients] + [terms])
    distributed.all_reduce_sum(flat)
    *sums, total_terms = torch.split(flat, [gradient.numel() for gradient in gradients] + [len(terms)])
    for gradient, total in zip(gradients, sums, strict=True):
        gradient.copy_(total.view_as(gradient))
    terms.copy_(total_terms)


def _tensors_changed_by_passes(pair: MomentumPair) -> list[Tensor]:
    """The tensors that a step changes in place before the queue and the weights are updated."""
    return [*pair.key.parameters(), *(buffer for name, buffer in pair.named_buffers() if name != "queue")]


@contextmanager
def _undo_if_peer_lost(pair: MomentumPair) -> Iterator[None]:
    """If another rank is lost during a step, restore the tensors that the step has changed."""
    if distributed.world_size() == 1:
        yield
        return
    changed = _tensors_changed_by_passes(pair)
    before = [tensor.clone() for tensor in changed]
    try:
        yield
    except distributed.PeerLost:
        with torch.no_grad():
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)
        raise
