"""What each part of the fast encoder is worth: forward and backward of one pass, with each part taken out in turn.

Run: python benchmarks/bench_fast.py [--rounds 5] [--batch 32] [--precision fp32 bf16]. Full width, T 64, two bodies,
dropout 0.5. A part taken out is done by torch instead, in the fast encoder's order of axes. Interleaved rounds.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.skeleton.layout import KINECT_V2
from trainer.config.model import EncoderConfig
from trainer.doctor.processor import processor_name
from trainer.models.encoder import Encoder
from trainer.models.fast import cpu_ops, frequency_conv


def direct(x: Tensor, weight: Tensor, bias: Tensor, stride: int, products: torch.dtype | None = None) -> Tensor:
    """`spectral.convolve` as torch's convolution, over an image of T x R pixels whose channels lie together."""
    y = functional.conv2d(x.permute(2, 0, 1)[None], weight, bias, (stride, 1), (weight.shape[2] // 2, 0))
    return y[0].permute(1, 2, 0).contiguous()


def in_torch(
    z: Tensor, norm: Any, *, relu: bool = True, dropout: float = 0.0, residual: Tensor | None = None
) -> Tensor:
    """`fast_ops.normalise` as torch's own batch norm, dropout, sum and ReLU, a pass over memory each."""
    y = functional.batch_norm(
        z, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.training, norm.momentum, norm.eps
    )
    y = functional.dropout(y, dropout, norm.training)
    y = y if residual is None else y + residual
    return functional.relu(y) if relu else y


def dense(x: Tensor, edges: cpu_ops.Edges, weights: Tensor) -> Tensor:
    """`fast_ops.mix` as a product with the whole adjacency, zeros included."""
    matrices = weights.new_zeros(edges.matrices, edges.joints, edges.joints).index_put(edges.places, weights)
    mixed = torch.einsum("rvc,kvw->rwkc", x, matrices).flatten(2)
    ones = matrices.sum(dim=1).T.to(mixed.dtype).expand(len(x), -1, -1)
    width = cpu_ops.columns(x.shape[2], edges.matrices)
    return functional.pad(torch.cat([mixed, ones], dim=2), (0, width - mixed.shape[2] - ones.shape[2]))


PARTS: dict[str, tuple[Any, str, Callable[..., Tensor]]] = {
    "convolution by frequencies": (frequency_conv, "convolve", direct),
    "compiled batch norm": (cpu_ops, "normalise", in_torch),
    "joints along edges": (cpu_ops, "mix", dense),
}


@contextmanager
def without(*parts: str) -> Iterator[None]:
    """Have torch do some parts."""
    former = [getattr(PARTS[part][0], PARTS[part][1]) for part in parts]
    for part in parts:
        module, name, instead = PARTS[part]
        setattr(module, name, instead)
    try:
        yield
    finally:
        for part, function in zip(parts, former, strict=True):
            setattr(PARTS[part][0], PARTS[part][1], function)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--channels", type=int, default=16, help="of the first blocks")
    options.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    given = options.parse_args()
    print(f"{processor_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"one pass, forward and backward, {given.batch} clips, {given.rounds} rounds\n")
    print("| | precision | median ms | range | to plain |\n|---|---|---|---|---|")
    encoders = {}
    for fast in (False, True):
        torch.manual_seed(0)
        encoders[fast] = Encoder(KINECT_V2, EncoderConfig(hidden_channels=given.channels))
        encoders[fast].fast = fast
    x = torch.randn(given.batch, 3, 64, 25, 2)
    ways: dict[str, tuple[bool, tuple[str, ...]]] = {"plain": (False, ()), "fast": (True, ())}
    ways |= {f"without {part}": (True, (part,)) for part in PARTS} | {"order of axes alone": (True, tuple(PARTS))}

    def once(way: str, precision: str) -> float:
        fast, left_out = ways[way]
        began = time.perf_counter()
        with without(*left_out):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                out = encoders[fast](x)
            out.float().square().sum().backward()
        return time.perf_counter() - began

    for precision in given.precision:
        took: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(given.rounds + 1):  # the first warms up
            for way, times in took.items():
                seconds = once(way, precision)
                if number:
                    times.append(1e3 * seconds)
        for way, times in took.items():
            ratio = statistics.median(plain / mine for plain, mine in zip(took["plain"], times, strict=True))
            spread = f"{min(times):.0f} to {max(times):.0f}"
            print(f"| {way} | {precision} | {statistics.median(times):.0f} | {spread} | {ratio:.2f}x |", flush=True)


if __name__ == "__main__":
    main()
