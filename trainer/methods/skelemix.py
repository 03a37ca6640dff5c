"""SkeleMix mixing: replace some joints in some frames of a clip by those of a partner.

This is SkeleMixCLR's `ske_swap`, with drawing (`draw_region`) separated from mixing (`mix`), so that training steps can
be repeated exactly.
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
    """The pasted region and the partner offset, the same for all samples of a batch."""

    shift: int
    """The partner of sample i is sample (i + shift) mod N."""
    joints: tuple[int, ...]
    """The pasted joints, in increasing order."""
    start: int
    """First pasted frame, counted in the encoder's output."""
    frames: int
    """Number of pasted frames, counted in the encoder's output."""
    fill: Fill = "swap"
    """Content of the region; see `MixConfig.fill`."""
    noise: int = 0
    """Random seed of the noise, if that is the fill."""

    def mask(self, frames_out: int, joints: int) -> Tensor:
        """Return the mask of the region: (T', V) bool, true where pasted."""
        mask = torch.zeros(frames_out, joints, dtype=torch.bool)
        mask[self.start : self.start + self.frames, list(self.joints)] = True
        return mask


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PerSampleRegions:
    """A pasted region and a partner offset for each sample of a batch."""

    shift: Tensor
    """(N,) int64: the partner of sample i is sample (i + shift[i]) mod N."""
    pasted: Tensor
    """(N, T', V) bool, true where pasted."""
    fill: Fill = "swap"
    """Content of the regions; see `MixConfig.fill`."""
    noise: int = 0
    """Random seed of the noise, if that is the fill."""

    def mask(self, frames_out: int, joints: int) -> Tensor:
        """Return the masks of the regions: (N, T', V) bool, true where pasted."""
        assert self.pasted.shape[1:] == (frames_out, joints)
        return self.pasted


Regions = Region | PerSampleRegions
"""What is pasted into the clips of a batch."""


class MixedClips(NamedTuple):
    """The mixed clips of a whole batch."""

    clips: Tensor
    """(N, C, T, V, M)."""
    mask: Tensor
    """bool, (T', V) or (N, T', V) as in the region; true where pasted. T' is T / stride, rounded up."""
    partner: Tensor
    """(N,) int64: index of the partner of each sample."""


def check_mixing(layout: Layout, config: MixConfig, batch: int) -> None:
    """Check that regions can be drawn.

    Raises:
        ConfigError: a region could cover the whole clip, or the batch has no partner to mix with.
    """
    groups, (_, max_groups) = _joint_groups(layout, config), _group_bounds(layout, config)
    if len(groups) < 2:
        kind, remedy = "joint", ""
        if config.joints == "parts":
            kind, remedy = "part", "divide the skeleton into parts, use --set method.mix.joints=random, or "
        raise ConfigError(
            f"mix.joints: layout {layout.name} has only one {kind}, and pasting it would replace the whole clip; "
            f"{remedy}train skeletonclr"
        )
    if max_groups >= len(groups):
        raise ConfigError(
            f"mix.parts: {max_groups} of layout {layout.name}'s {len(groups)} parts could be pasted, "
            f"which would replace the whole clip; use at most {len(groups) - 1}"
        )
    if batch < 2:
        raise ConfigError(f"mixing needs a partner: a batch of {batch} has none; use at least 2 samples")


def draw_region(layout: Layout, config: MixConfig, batch: int, frames_out: int, rng: np.random.Generator) -> Regions:
    """Draw what is pasted into the clips of a batch.

    Args:
        layout: skeleton layout of the clips.
        config: size and content of regions.
        batch: N; the shift is uniform over 1..N-2, as in the reference (N-1 never occurs), and 1 for N = 2.
        frames_out: T', frames of the encoder's output.
        rng: source of the draws. With one region per sample, the draws of sample i do not depend on the batch size.

    Raises:
        ConfigError: see `check_mixing`.
    """
    check_mixing(layout, config, batch)
    groups, group_bounds = _joint_groups(layout, config), _group_bounds(layout, config)
    min_frames, max_frames = config.frames or _scale_bounds((7, 11), 16, frames_out)
    drawn: Regions
    if config.per == "sample":
        drawn = _draw_per_sample(groups, group_bounds, (min_frames, max_frames), batch, frames_out, rng)
    else:
        shift = int(rng.integers(1, max(batch - 1, 2)))
        chosen = rng.choice(len(groups), size=rng.integers(group_bounds[0], group_bounds[1] + 1), replace=False)
        frames = min(int(rng.integers(min_frames, max_frames + 1)), frames_out)
        drawn = Region(
            shift=shift,
            joints=tuple(sorted(joint for group in chosen for joint in groups[group])),
            start=int(rng.integers(0, frames_out - frames + 1)),
            frames=frames,
        )
    noise = int(rng.integers(2**63)) if config.fill == "noise" else 0
    return replace(drawn, fill=config.fill, noise=noise)


def mix(x: Tensor, region: Regions, stride: int) -> MixedClips:
    """Paste the region of each sample's partner, or its fill, into all bodies of the sample.

    Args:
        x: (N, C, T, V, M).
        region: what to paste; each of its frames covers `stride` input frames, up to T.
        stride: input frames per output frame of the encoder.
    """
    samples, _, frames, joints, _ = x.shape
    mask = region.mask(-(-frames // stride), joints).to(x.device, non_blocking=True)
    shift = region.shift if isinstance(region.shift, int) else region.shift.to(x.device, non_blocking=True)
    partner = (torch.arange(samples, device=x.device) + shift) % samples
    pasted = mask.repeat_interleave(stride, dim=-2)[..., :frames, :, None]  # (T, V, 1) or (N, T, V, 1)
    pasted = pasted if mask.ndim == 2 else pasted[:, None]
    return MixedClips(torch.where(pasted, _fill_values(x, region, partner), x), mask, partner)


def _fill_values(x: Tensor, region: Regions, partner: Tensor) -> Tensor:
    """Return the values to paste into clips (N, C, T, V, M): of the same shape, or a scalar."""
    if region.fill == "zeros":
        return x.new_zeros(())
    if region.fill == "noise":
        return (
            counter_rng.normal(region.noise, torch.arange(len(x), device=x.device), x[0].numel()).view_as(x).to(x.dtype)
        )
    return x[partner]


def _draw_per_sample(
    groups: list[tuple[int, ...]],
    group_bounds: tuple[int, int],
    frame_bounds: tuple[int, int],
    batch: int,
    frames_out: int,
    rng: np.random.Generator,
) -> PerSampleRegions:
    """Draw a region for each sample. Its numbers are for: shift, number of groups, frames, start, then each group."""
    uniforms = rng.random((batch, 4 + len(groups)))

    def scale(column: int, low: int, high: int | NDArray[np.int64]) -> NDArray[np.int64]:
        return low + (uniforms[:, column] * (high - low + 1)).astype(np.int64)

    shift = scale(0, 1, max(batch - 2, 1))
    amounts = scale(1, *group_bounds)
    frames = np.minimum(scale(2, *frame_bounds), frames_out)
    start = scale(3, 0, frames_out - frames)
    chosen = uniforms[:, 4:].argsort(axis=1).argsort(axis=1) < amounts[:, None]  # (N, groups): the lowest numbers
    members = np.zeros((len(groups), sum(map(len, groups))), bool)
    for group, joints in enumerate(groups):
        members[group, list(joints)] = True
    time = np.arange(frames_out)
    in_frames = (start[:, None] <= time) & (time < (start + frames)[:, None])  # (N, T')
    mask = in_frames[:, :, None] & (chosen @ members)[:, None, :]
    return PerSampleRegions(shift=torch.from_numpy(shift), pasted=torch.from_numpy(mask))


def _joint_groups(layout: Layout, config: MixConfig) -> list[tuple[int, ...]]:
    """Return groups of joints that are pasted together; every joint is in one group."""
    if config.joints == "random":
        return [(joint,) for joint in range(len(layout.joints))]
    return list(layout.parts.values())


def _group_bounds(layout: Layout, config: MixConfig) -> tuple[int, int]:
    """Return the minimum and maximum number of groups in a region."""
    groups = len(_joint_groups(layout, config))
    if config.parts is not None:
        return config.parts
    low, high = _scale_bounds((2, 3), 5, groups)
    return low, max(1, min(high, groups - 1))


def _scale_bounds(bounds: tuple[int, int], total: int, count: int) -> tuple[int, int]:
    """Scale bounds for `total` things to `count` things: the lower bound is rounded down, the upper one up."""
    return max(1, bounds[0] * count // total), -(-bounds[1] * count // total)
