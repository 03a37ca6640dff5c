"""Ways of making the training step fast on a GPU, each a change to a `Training` that `gpu_ways.py` measures.

All of them run `trainer.step.train_step` itself; what a way does otherwise, it replaces on the objects that the step is
given. Axes as in trainer/models/encoder.py, and G: passes of the query encoder, the clip's and each mixed one's.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.skeleton.layout import KINECT_V2
from trainer.bench.train import run_of
from trainer.config.pretrain import PretrainConfig
from trainer.methods.method import LossTerms, Method
from trainer.methods.registry import METHODS
from trainer.methods.skelemix import Mixed
from trainer.models.encoder import Encoder
from trainer.models.momentum_pair import MomentumPair
from trainer.models.pooling import pool, pool_masked
from trainer.pretrain import optimiser
from trainer.pretrain.step import replayed, train_step
from trainer.runs.run import method_of_run
from trainer.runtime.cuda_graph import CudaGraph

WHOLE = slice(None)


class Training:
    """A training of random clips, resident on the device, at its first step."""

    def __init__(self, config: PretrainConfig, device: torch.device) -> None:
        self.config = config
        self.run = run_of(config)
        self.method = method_of_run(self.run, fast=False)
        self.pair = self.method.pair.to(device).train()
        self.optimiser = optimiser.build_optimiser(self.pair.query.parameters(), config)
        shape = (config.batch_size, 3, config.frames, len(KINECT_V2.joints), config.bodies)
        self.clips = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
        self.rows = np.arange(config.batch_size)
        self.steps = 0
        self.replay: CudaGraph | None = None
        self.around: Callable[[], AbstractContextManager[Any]] = nullcontext
        """What every step runs in."""

    @property
    def encoders(self) -> tuple[Encoder, Encoder]:
        return self.pair.query, self.pair.key

    def step(self) -> float:
        """One step and its loss, waited for as `pretrain` does."""
        with self.around():
            terms = train_step(self.method, self.optimiser, self.clips, self.rows, self.steps, 0, self.run, self.replay)
            self.steps += 1
            return float(terms["total"])


def plain(training: Training) -> None:
    """As with `--fast off`: the encoder as it reads, float32 without TF32, deterministic algorithms."""


def fast(training: Training) -> None:
    """The encoder's own fast path."""
    for encoder in training.encoders:
        encoder.fast = True


def channels_last(training: Training) -> None:
    """Weights and activations with their channels side by side."""

    def turn(_: Any, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return given[0].contiguous(memory_format=torch.channels_last), given[1]

    for encoder in training.encoders:
        encoder.to(memory_format=torch.channels_last)
        encoder.blocks[0].register_forward_pre_hook(turn)


def any_algorithm(training: Training, *, tf32: bool = False) -> None:
    """Whatever algorithm cuDNN finds fastest, repeatable or not."""
    training.around = partial(_algorithms, tf32)


@contextmanager
def _algorithms(tf32: bool) -> Iterator[None]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = False, True, tf32, tf32
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before


def compiled(training: Training, **options: Any) -> None:
    """Every block compiled in place; on a CPU only traced, since its compiler takes minutes."""
    if training.clips.device.type == "cpu":
        options = {"backend": "aot_eager"}
    torch._dynamo.reset()
    torch._dynamo.config.recompile_limit = 256  # ten blocks, two encoders, with gradient and without: one piece of code
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    for encoder in training.encoders:
        for block in encoder.blocks:
            block.compile(fullgraph=True, dynamic=False, **options)


def compiled_in_graphs(training: Training) -> None:
    """Every block compiled, its kernels started as CUDA graphs."""
    compiled(training, mode="reduce-overhead")
    training.around = _marked


@contextmanager
def _marked() -> Iterator[None]:
    torch.compiler.cudagraph_mark_step_begin()
    yield


def half_logits(training: Training) -> None:
    """Products with the queue in bf16 (added up in float32, answers rounded to bf16), one cross-entropy on them."""
    training.around = lambda: mock.patch("trainer.method.info_nce", _half_info_nce)


def _half_info_nce(
    query: Tensor,
    key: Tensor,
    queue: Tensor,
    temperature: float,
    extra_negative: Tensor | None = None,
    *,
    decoupled: bool = False,
) -> Tensor:
    assert not decoupled
    columns = [(query * key).sum(dim=1, keepdim=True), query.bfloat16() @ queue.bfloat16()]
    if extra_negative is not None:
        columns.append((query * extra_negative.detach()).sum(dim=1, keepdim=True))
    logits = torch.cat([column.float() for column in columns], dim=1) / temperature
    return functional.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64, device=query.device))


Projections = tuple[Tensor, list[tuple[Tensor, Tensor]]]
"""Of the clip, (N, feature_dim), and of the two halves of each mixed one."""


class Projected:
    """Stands for the query encoder where its answers are known already, in the order in which they are asked for."""

    def __init__(self, projections: Projections) -> None:
        self.plain = projections[0]
        self.rest = iter(projections[1])

    def __call__(self, x: Tensor) -> Tensor:
        return self.plain

    def halves(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return next(self.rest)


class OneBatch(Method):
    """All passes of the query encoder as one batch; those of the head, which are small, stay apart."""

    def losses(self, part: slice, query: Tensor, mixes: list[Mixed], keys: Tensor, queue: Tensor) -> LossTerms:
        encoder, bodies = self.pair.query, query.shape[-1]
        # G next to the bodies, so that every layer meets the passes by turns: batch norm then needs no copy.
        passes = torch.stack([query, *(mixed.clips for mixed in mixes)], dim=-1).flatten(-2)  # (N, C, T, V, M*G)
        maps = encoder.feature_map(passes).unflatten(0, (-1, 1 + len(mixes))).unbind(1)
        clip = encoder.head(pool(maps[0], bodies))
        halves = []
        for features, mixed in zip(maps[1:], mixes, strict=True):
            trimmed, truncated = pool_masked(features, mixed.mask, bodies)
            halves.append((encoder.head(trimmed), encoder.head(truncated)))
        known = SimpleNamespace(query=Projected((clip, halves)))
        return METHODS[self.config.name](known, self.config).losses(part, query, mixes, keys, queue)


def one_batch(training: Training) -> None:
    """All passes of the query encoder as one batch, with batch-norm statistics of each."""
    assert training.config.encoder.body_mean == "all"
    assert training.config.parts == 1
    training.method = OneBatch(training.pair, training.config.method)
    groups = 1 + training.config.method.repeats
    query = training.pair.query
    inner = [module for module in query.blocks.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in (query.input_norm, *inner):
        norm.forward = partial(_norm_by_turns, norm, groups)


def _norm_by_turns(norm: torch.nn.BatchNorm1d | torch.nn.BatchNorm2d, groups: int, x: Tensor) -> Tensor:
    """Batch norm of each of G passes that take turns in x (B*G, C, ...): as G*C channels of one (B, G*C, ...)."""
    mean, var = (norm.running_mean.new_zeros(groups * norm.num_features) for _ in range(2))
    y = functional.batch_norm(
        x.unflatten(0, (-1, groups)).flatten(1, 2),
        mean,  # momentum 1: these become the statistics of the batch
        var,
        norm.weight.repeat(groups),
        norm.bias.repeat(groups),
        training=True,
        momentum=1.0,
        eps=norm.eps,
    )
    with torch.no_grad():
        kept = 1.0 - norm.momentum
        later = torch.arange(groups - 1, -1, -1, dtype=mean.dtype, device=x.device)
        shares = (1.0 - kept) * kept ** later[:, None]
        for running, found in ((norm.running_mean, mean), (norm.running_var, var)):
            running.mul_(kept**groups).add_((shares * found.view(groups, -1)).sum(dim=0))
        norm.num_batches_tracked.add_(groups)
    return y.unflatten(1, (groups, -1)).flatten(0, 1)


class Overlapped(Method):
    """The key encoder's pass on a stream of its own while the query encoder's are at work."""

    def __init__(self, training: Training) -> None:
        super().__init__(training.pair, training.config.method)
        self.side = torch.cuda.Stream()
        self.pair.keys = self.both

    def mixes(self, query: Tensor, regions: Any) -> list[Mixed]:
        self.query, self.mixed = query, super().mixes(query, regions)
        return self.mixed

    def both(self, key: Tensor) -> Tensor:
        """In the place of `MomentumPair.keys`, with the query encoder's passes besides."""
        main = torch.cuda.current_stream()
        self.side.wait_stream(main)
        with torch.cuda.stream(self.side):
            keys = MomentumPair.keys(self.pair, key)
        encoder = self.pair.query
        self.projections = encoder(self.query), [encoder.halves(mixed.clips, mixed.mask) for mixed in self.mixed]
        main.wait_stream(self.side)
        keys.record_stream(main)
        return keys

    def losses(self, part: slice, query: Tensor, mixes: list[Mixed], keys: Tensor, queue: Tensor) -> LossTerms:
        known = SimpleNamespace(query=Projected(self.projections))
        return METHODS[self.config.name](known, self.config).losses(part, query, mixes, keys, queue)


def key_stream(training: Training) -> None:
    """The key encoder's pass beside the query encoder's."""
    training.method = Overlapped(training)


def captured(training: Training) -> None:
    """From the key encoder's update to the gradients one CUDA graph; views, queue and optimiser stay outside."""
    training.replay = replayed(training.method, training.optimiser, training.config)


def together(*ways: Callable[[Training], None]) -> Callable[[Training], None]:
    """One way after another."""

    def apply(training: Training) -> None:
        for way in ways:
            way(training)

    return apply


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """A way, and where it can run."""

    apply: Callable[[Training], None]
    needs_gpu: bool = False
    compiles: bool = False
    """It takes long to begin."""
    precisions: tuple[str, ...] = ("bf16", "fp32")


WAYS = {
    "plain": Way(apply=plain),
    "fast": Way(apply=fast),
    "one batch": Way(apply=one_batch),
    # In float32 torch 2.13 can spoil its own memory on a CPU so ("double free", seen on an AMD EPYC).
    "channels last": Way(apply=channels_last, needs_gpu=True),
    "bf16 logits": Way(apply=half_logits),
    "key stream": Way(apply=key_stream, needs_gpu=True),
    "CUDA graph": Way(apply=captured, needs_gpu=True),
    "fast + CUDA graph, as shipped": Way(apply=together(fast, captured), needs_gpu=True),
    "one batch + CUDA graph": Way(apply=together(one_batch, captured), needs_gpu=True),
    "any algorithm": Way(apply=any_algorithm, needs_gpu=True),
    "any algorithm + TF32": Way(apply=partial(any_algorithm, tf32=True), needs_gpu=True, precisions=("fp32",)),
    "compiled": Way(apply=compiled, compiles=True),
    "compiled + CUDA graph": Way(apply=together(compiled, captured), needs_gpu=True, compiles=True),
    "one batch + compiled + CUDA graph": Way(
        apply=together(one_batch, compiled, captured), needs_gpu=True, compiles=True
    ),
    "compiled as CUDA graphs": Way(apply=compiled_in_graphs, needs_gpu=True, compiles=True),
}
"""The plain one first: the others are held against it."""
