"""One training step: the views of a batch, its losses part by part, backward, and the optimiser.

Memory is that of one part (`micro_batch`); what the step means is not: mixing partners, keys, the queue and the mean of
the loss are the whole batch's. Batch-norm statistics alone are the part's.
"""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer import augment, draws, skelemix
from trainer.methods import Method, Mixed
from trainer.runs import Run
from trainer.streams import derive


def train_step(
    method: Method,
    optimiser: torch.optim.Optimizer,
    clips: Tensor,
    rows: NDArray[np.int64],
    step: int,
    epoch: int,
    run: Run,
) -> dict[str, Tensor]:
    """One step on clips (N, C, T, V, M) of some store rows; its draws depend on seed, epoch, row and step alone."""
    config, layout, pair = run.config, run.layout, method.pair
    since, samples = _drawn_for(rows, step, epoch, run)
    views = []
    for view in range(2):
        uniforms = draws.uniform(config.seed, since, samples.to(clips.device), view, augment.COUNT)
        views.append(derive(augment.view(clips, uniforms, config.augment), config.stream, layout))
    query, key = views
    frames_out = pair.query.frames_out(config.frames)
    regions = [
        skelemix.draw(layout, config.method.mix, len(clips), frames_out, draws.generator(config.seed, step, repeat))
        for repeat in range(config.method.repeats)
    ]
    draws.seed_torch(config.seed, step, 0)
    parts = cut(len(clips), -(-len(clips) // (config.micro_batch or len(clips))))
    mixes = method.mixes(query, regions)
    pair.follow()
    keys = torch.cat([pair.keys(key[part]) for part in parts])
    optimiser.zero_grad()
    terms = [_backward(method, part, query, mixes, keys) for part in parts]
    pair.enqueue(keys)
    optimiser.step()
    total, instance, mixed = torch.stack(terms).sum(dim=0)
    return {"total": total, "instance": instance, "mixed": mixed}


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


def _backward(method: Method, part: slice, query: Tensor, mixes: list[Mixed], keys: Tensor) -> Tensor:
    """Add a part's share of the batch's gradient to the parameters; its share of total, instance and mixed, (3,)."""
    terms = method.losses(part, query, mixes, keys, method.pair.queue)
    weighted: Tensor = torch.stack([terms.total, terms.instance, terms.mixed]) * ((part.stop - part.start) / len(query))
    weighted[0].backward()
    return weighted.detach()
