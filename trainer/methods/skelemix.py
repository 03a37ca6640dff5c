"""SkeleMix: cut joints out of a stretch of a clip and paste a partner's.

SkeleMixCLR's `ske_swap`, with what is drawn (`draw`) apart from what is done with it (`mix`): steps can be repeated.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.skeleton.layout import Layout
from trainer.config.method import Fill, MixConfig
from trainer.data import counter_rng


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """What one mixing pastes, and from whom: the same for a whole batch."""

    shift: int
    """Sample i takes from sample (i + shift) mod N."""
    joints: tuple[int, ...]
    """The joints pasted, rising."""
    start: int
    """First pasted frame, in the encoder's output."""
    frames: int
    """Pasted frames, in the encoder's output."""
    fill: Fill = "swap"
    noise: int = 0
    """Seed of the noise, when that is the fill."""

    def mask(self, frames_out: int, joints: int) -> Tensor:
        """(T', V) bool, true where pasted."""
        mask = torch.zeros(frames_out, joints, dtype=torch.bool)
        mask[self.start : self.start + self.frames, list(self.joints)] = True
        return mask


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OwnRegions:
    """What one mixing pastes, and from whom: for each sample its own."""

    shift: Tensor
    """(N,) int64: sample i takes from sample (i + shift[i]) mod N."""
    pasted: Tensor
    """(N, T', V) bool, true where pasted."""
    fill: Fill = "swap"
    noise: int = 0
    """Seed of the noise, when that is the fill."""

    def mask(self, frames_out: int, joints: int) -> Tensor:
        """(N, T', V) bool, true where pasted."""
        assert self.pasted.shape[1:] == (frames_out, joints)
        return self.pasted


Regions = Region | OwnRegions
"""What one mixing of a batch pastes."""


class MixedClips(NamedTuple):
    """One mixing of a whole batch."""

    clips: Tensor
    """(N, C, T, V, M)."""
    mask: Tensor
    """bool, (T', V) or (N, T', V) as in the region, T' being T / stride rounded up; true where pasted."""
    partner: Tensor
    """(N,) int64: from whom."""


def check_mixing(layout: Layout, config: MixConfig, batch: int) -> None:
    """Refuse what cannot be drawn.

    Raises:
        ConfigError: a region could leave nothing of the host, or nobody is there to be the partner.
    """
    groups, (_, most) = _groups(layout, config), _amount(layout, config)
    if len(groups) < 2:
        what, remedy = "joint", ""
        if config.joints == "parts":
            what, remedy = "part", "divide the skeleton into parts, --set method.mix.joints=random, or "
        raise ConfigError(
            f"mix.joints: layout {layout.name} has one {what}, and pasting it leaves nothing of the host; "
            f"{remedy}train skeletonclr"
        )
    if most >= len(groups):
        raise ConfigError(
            f"mix.parts: {most} of layout {layout.name}'s {len(groups)} parts could be pasted, "
            f"which leaves nothing of the host; at most {len(groups) - 1}"
        )
    if batch < 2:
        raise ConfigError(f"mixing needs a partner: a batch of {batch} has none; at least 2 samples")


def draw_region(layout: Layout, config: MixConfig, batch: int, frames_out: int, rng: np.random.Generator) -> Regions:
    """Draw what one mixing of a batch pastes.

    Args:
        layout: whose joints are cut.
        config: how much is pasted.
        batch: N; the shift is uniform over 1..N-2, as in the reference (N-1 never occurs), and 1 for N = 2.
        frames_out: T', frames of the encoder's output.
        rng: source of the draws. Sample i of many has the same numbers in a batch of any size.

    Raises:
        ConfigError: as `check`.
    """
    check_mixing(layout, config, batch)
    groups, (fewest, most) = _groups(layout, config), _amount(layout, config)
    shortest, longest = config.frames or _scale_bounds((7, 11), 16, frames_out)
    drawn: Region | OwnRegions
    if config.per == "sample":
        drawn = _draw_per_sample(groups, (fewest, most), (shortest, longest), batch, frames_out, rng)
    else:
        shift = int(rng.integers(1, max(batch - 1, 2)))
        chosen = rng.choice(len(groups), size=rng.integers(fewest, most + 1), replace=False)
        frames = min(int(rng.integers(shortest, longest + 1)), frames_out)
        drawn = Region(
            shift=shift,
            joints=tuple(sorted(joint for group in chosen for joint in groups[group])),
            start=int(rng.integers(0, frames_out - frames + 1)),
            frames=frames,
        )
    noise = int(rng.integers(2**63)) if config.fill == "noise" else 0
    return replace(drawn, fill=config.fill, noise=noise)


def mix(x: Tensor, region: Regions, stride: int) -> MixedClips:
    """Paste a region of each sample's partner, or what stands in for it, both bodies together.

    Args:
        x: (N, C, T, V, M).
        region: what to paste; its frames stand for `stride` input frames each, the last cut at T.
        stride: the encoder's input frames per output frame.
    """
    samples, _, frames, joints, _ = x.shape
    mask = region.mask(-(-frames // stride), joints).to(x.device, non_blocking=True)
    shift = region.shift if isinstance(region.shift, int) else region.shift.to(x.device, non_blocking=True)
    partner = (torch.arange(samples, device=x.device) + shift) % samples
    pasted = mask.repeat_interleave(stride, dim=-2)[..., :frames, :, None]  # (T, V, 1) or (N, T, V, 1)
    pasted = pasted if mask.ndim == 2 else pasted[:, None]
    return MixedClips(torch.where(pasted, _filling(x, region, partner), x), mask, partner)


def _filling(x: Tensor, region: Regions, partner: Tensor) -> Tensor:
    """What may be pasted into clips (N, C, T, V, M): as many values, or one for all."""
    if region.fill == "zeros":
        return x.new_zeros(())
    if region.fill == "noise":
        return (
            counter_rng.normal(region.noise, torch.arange(len(x), device=x.device), x[0].numel()).view_as(x).to(x.dtype)
        )
    return x[partner]


def _draw_per_sample(
    groups: list[tuple[int, ...]],
    amount: tuple[int, int],
    length: tuple[int, int],
    batch: int,
    frames_out: int,
    rng: np.random.Generator,
) -> OwnRegions:
    """As for a batch, from numbers of its own for each sample: for shift, amount, frames, start, then each group."""
    uniforms = rng.random((batch, 4 + len(groups)))

    def between(place: int, low: int, high: int | NDArray[np.int64]) -> NDArray[np.int64]:
        return low + (uniforms[:, place] * (high - low + 1)).astype(np.int64)

    shift = between(0, 1, max(batch - 2, 1))
    amounts = between(1, *amount)
    frames = np.minimum(between(2, *length), frames_out)
    start = between(3, 0, frames_out - frames)
    taken = uniforms[:, 4:].argsort(axis=1).argsort(axis=1) < amounts[:, None]  # (N, groups), the lowest numbers
    members = np.zeros((len(groups), sum(map(len, groups))), bool)
    for group, joints in enumerate(groups):
        members[group, list(joints)] = True
    time = np.arange(frames_out)
    pasted = (start[:, None] <= time) & (time < (start + frames)[:, None])  # (N, T')
    mask = pasted[:, :, None] & (taken @ members)[:, None, :]
    return OwnRegions(shift=torch.from_numpy(shift), pasted=torch.from_numpy(mask))


def _groups(layout: Layout, config: MixConfig) -> list[tuple[int, ...]]:
    """The joints that are pasted together or not at all; every joint is in one group."""
    if config.joints == "random":
        return [(joint,) for joint in range(len(layout.joints))]
    return list(layout.parts.values())


def _amount(layout: Layout, config: MixConfig) -> tuple[int, int]:
    """Fewest and most groups in a region."""
    groups = len(_groups(layout, config))
    if config.parts is not None:
        return config.parts
    fewest, most = _scale_bounds((2, 3), 5, groups)
    return fewest, max(1, min(most, groups - 1))


def _scale_bounds(bounds: tuple[int, int], of: int, there: int) -> tuple[int, int]:
    """What is for `there` things what `bounds` are for `of`: the lower bound rounded down, the upper one up."""
    return max(1, bounds[0] * there // of), -(-bounds[1] * there // of)
