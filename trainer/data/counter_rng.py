"""Counter-based random numbers: each is a hash of its purpose and does not depend on earlier draws.

The draws of a view depend on (seed, epoch, sample, view) only: not on the batch, its order, the device or the worker. A
resumed run, another residency or another GPU therefore sees the same views. The draws of a batch depend on (seed, step,
repeat), those of dropout on (seed, step, rank).
"""

from typing import Final

import numpy as np
import torch
from torch import Tensor

# splitmix64 (Steele, Lea and Flood 2014): increment 2**64 / golden ratio, finaliser Stafford's mix 13.
_INCREMENT: Final = 0x9E3779B97F4A7C15
_ROUNDS: Final = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))
# One Philox key per use, so that dropout does not reuse the numbers that regions were drawn from.
_BATCH_KEY, _TORCH_KEY = 0, 1


def uniform(seed: int, epoch: int, samples: Tensor, view: int, count: int) -> Tensor:
    """Draw uniform numbers for the views of a batch, with equal results on every device.

    Args:
        seed: the run's random seed.
        epoch: from 0 or 1, as the caller counts.
        samples: (N,) int64, each sample's row in its store, on the device where the numbers are drawn.
        view: view of the sample: 0 the query, 1 the key.
        count: numbers per sample.

    Returns:
        (N, count) float32, uniform over the 2**24 multiples of 2**-24 in [0, 1).
    """
    state = torch.zeros((), dtype=torch.int64)  # a scalar on the host can be combined with tensors on any device
    for number in (seed, epoch, view):
        state = _absorb(state, torch.tensor(_signed(number)))
    per_sample = _absorb(state, samples)
    bits = _absorb(per_sample[:, None], torch.arange(count, device=samples.device))
    return _shift(bits, 40).to(torch.float32) * 2.0**-24


def normal(seed: int, samples: Tensor, count: int) -> Tensor:
    """Draw standard normal numbers by the Box-Muller transform (1958).

    Args:
        seed: random seed.
        samples: (N,) int64, on the device where the numbers are drawn.
        count: numbers per sample.

    Returns:
        (N, count) float32, at most 5.8 from 0. They depend on sample and position only; the last digit may differ
        between devices.
    """
    radius, angle = torch.unflatten(uniform(seed, 0, samples, 0, count + count % 2), 1, (2, -1)).unbind(1)
    radius, angle = (-2 * (1 - radius).log()).sqrt(), 2 * torch.pi * angle  # 1 - radius is in (0, 1]
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count]


def generator(seed: int, step: int, repeat: int) -> np.random.Generator:
    """Return a generator for the draws of a whole batch (mixed region, partner) at a step and repeat, both from 0."""
    return _philox(seed, _BATCH_KEY, step, repeat)


def seed_torch(seed: int, step: int, rank: int) -> None:
    """Seed torch's global generators, from which dropout draws, for one step on one rank."""
    torch.manual_seed(int(_philox(seed, _TORCH_KEY, step, rank).integers(2**63)))


def _philox(seed: int, use: int, step: int, index: int) -> np.random.Generator:
    # Step and index are the upper half of the counter: streams cannot overlap before 2**128 draws.
    return np.random.Generator(np.random.Philox(key=[seed, use], counter=[0, 0, step, index]))


def _absorb(state: Tensor, value: Tensor) -> Tensor:
    """Return the splitmix64 output that is value + 1 increments after a state (int64 tensors with wrap-around)."""
    bits = state + (value + 1) * _signed(_INCREMENT)
    for shift, factor in _ROUNDS:
        bits = (bits ^ _shift(bits, shift)) * _signed(factor)
    return bits


def _shift(bits: Tensor, count: int) -> Tensor:
    """Shift right and fill with zeros; torch's own shift of int64 fills with the sign bit."""
    return (bits >> count) & ((1 << (64 - count)) - 1)


def _signed(value: int) -> int:
    """Return the int64 with the same 64 bits."""
    return (value + 2**63) % 2**64 - 2**63
