"""Random numbers that are functions of what they are for, and of nothing that happened before.

A view's draws depend on (seed, epoch, sample, view): not on the batch, its order, the device or the worker, so that a
resumed run, another residency or another card sees the same views. A batch's draws depend on (seed, step, repeat),
dropout's on (seed, step, rank).
"""

from typing import Final

import numpy as np
import torch
from torch import Tensor

# splitmix64 (Steele, Lea and Flood 2014): increment 2**64 over the golden ratio, finaliser Stafford's mix 13.
_INCREMENT: Final = 0x9E3779B97F4A7C15
_ROUNDS: Final = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))
# One Philox key for each use, so that dropout does not repeat what the region was drawn from.
_BATCH, _TORCH = 0, 1


def uniform(seed: int, epoch: int, samples: Tensor, view: int, count: int) -> Tensor:
    """Numbers for the views of a batch, each a hash of its own address, equal on every device.

    Args:
        seed: the run's seed.
        epoch: from 0 or 1, as the caller counts.
        samples: (N,) int64, each sample's number in its store; its device is where the numbers are made.
        view: which view of the sample, 0 the query and 1 the key.
        count: how many for each sample.

    Returns:
        (N, count) float32, uniform over the 2**24 multiples of 2**-24 in [0, 1).
    """
    state = torch.zeros((), dtype=torch.int64)  # without axes and on the host: joins tensors on any device
    for part in (seed, epoch, view):
        state = _absorb(state, torch.tensor(_signed(part)))
    each = _absorb(state, samples)
    bits = _absorb(each[:, None], torch.arange(count, device=samples.device))
    return _shift(bits, 40).to(torch.float32) * 2.0**-24


def normal(seed: int, samples: Tensor, count: int) -> Tensor:
    """Gaussian numbers of mean 0 and deviation 1, by Box and Muller (1958), each pair a hash of its own address.

    Args:
        seed: of all of them.
        samples: (N,) int64; its device is where the numbers are made.
        count: how many for each sample.

    Returns:
        (N, count) float32, at most 5.8 from 0; sample and place decide, but for the last place on another device.
    """
    radius, turn = torch.unflatten(uniform(seed, 0, samples, 0, count + count % 2), 1, (2, -1)).unbind(1)
    radius, turn = (-2 * (1 - radius).log()).sqrt(), 2 * torch.pi * turn  # 1 - radius is in (0, 1]
    return torch.cat([radius * turn.cos(), radius * turn.sin()], dim=1)[:, :count]


def generator(seed: int, step: int, repeat: int) -> np.random.Generator:
    """A generator for what a batch draws as one (the mixed region, the partner) at a step and repeat, from 0."""
    return _philox(seed, _BATCH, step, repeat)


def seed_torch(seed: int, step: int, rank: int) -> None:
    """Seed torch's global generators, which dropout draws from, for one step on one of several processes."""
    torch.manual_seed(int(_philox(seed, _TORCH, step, rank).integers(2**63)))


def _philox(seed: int, use: int, step: int, which: int) -> np.random.Generator:
    # The address is the upper half of the counter: streams cannot meet before 2**128 draws.
    return np.random.Generator(np.random.Philox(key=[seed, use], counter=[0, 0, step, which]))


def _absorb(state: Tensor, value: Tensor) -> Tensor:
    """The splitmix64 output that lies value + 1 increments past a state: int64 tensors, wrapping."""
    bits = state + (value + 1) * _signed(_INCREMENT)
    for shift, factor in _ROUNDS:
        bits = (bits ^ _shift(bits, shift)) * _signed(factor)
    return bits


def _shift(bits: Tensor, places: int) -> Tensor:
    """Shift right and fill with zeros; torch's own shift of int64 fills with the sign."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def _signed(value: int) -> int:
    """The int64 with the same 64 bits."""
    return (value + 2**63) % 2**64 - 2**63
