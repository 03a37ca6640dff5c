"""SkeleMix: cut body parts out of a stretch of a clip and paste a partner's, the same region for a whole batch.

SkeleMixCLR's `ske_swap`, with what is drawn (`draw`) apart from what is done with it (`mix`): steps can be repeated.
"""

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.layout import Layout


class MixConfig(BaseModel):
    """How much is pasted; the defaults are SkeleMixCLR+'s released configuration (`[2, 3, 7, 11, 3, 1.]`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    parts: tuple[int, int] = (2, 3)
    """Fewest and most body parts in a region."""
    frames: tuple[int, int] = (7, 11)
    """Fewest and most frames of a region, counted in the encoder's output; a clip with fewer gives all it has."""
    repeats: int = Field(default=3, ge=1)
    """Mixed clips for each query in a step."""

    @field_validator("parts", "frames")
    @classmethod
    def _rises_from_one(cls, bounds: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= bounds[0] <= bounds[1]:
            raise ValueError(f"must be two numbers, 1 <= fewest <= most, found {bounds}")
        return bounds


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """What one mixing pastes, and from whom."""

    shift: int
    """Sample i takes from sample (i + shift) mod N."""
    joints: tuple[int, ...]
    """The joints pasted, rising."""
    start: int
    """First pasted frame, in the encoder's output."""
    frames: int
    """Pasted frames, in the encoder's output."""


def draw(layout: Layout, config: MixConfig, batch: int, frames_out: int, rng: np.random.Generator) -> Region:
    """Draw a region for a batch.

    Args:
        layout: whose parts are cut.
        config: how much is pasted.
        batch: N; the shift is uniform over 1..N-2, as in the reference (N-1 never occurs), and 1 for N = 2.
        frames_out: T', frames of the encoder's output.
        rng: source of the five draws.

    Raises:
        ConfigError: the region could take every part of the layout, or nobody is there to be the partner.
    """
    if config.parts[1] >= (most := len(layout.parts)):
        remedy = f"at most {most - 1}" if most > 1 else "divide the skeleton into parts, or train skeletonclr"
        raise ConfigError(
            f"mix.parts: {config.parts[1]} of layout {layout.name}'s {most} parts could be pasted, "
            f"which leaves nothing of the host; {remedy}"
        )
    if batch < 2:
        raise ConfigError(f"mixing needs a partner: a batch of {batch} has none; at least 2 samples")
    shift = int(rng.integers(1, max(batch - 1, 2)))
    parts = list(layout.parts.values())
    chosen = rng.choice(len(parts), size=rng.integers(config.parts[0], config.parts[1] + 1), replace=False)
    frames = min(int(rng.integers(config.frames[0], config.frames[1] + 1)), frames_out)
    return Region(
        shift=shift,
        joints=tuple(sorted(joint for part in chosen for joint in parts[part])),
        start=int(rng.integers(0, frames_out - frames + 1)),
        frames=frames,
    )


def mix(x: Tensor, region: Region, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """Paste a region of each sample's partner, both bodies together.

    Args:
        x: (N, C, T, V, M).
        region: what to paste; its frames stand for `stride` input frames each, the last cut at T.
        stride: the encoder's input frames per output frame.

    Returns:
        The mixed clips, as x; the mask (T', V), true where pasted, T' being T / stride rounded up; each sample's
        partner (N,).
    """
    samples, _, frames, joints, _ = x.shape
    mask = torch.zeros(-(-frames // stride), joints, dtype=torch.bool)
    mask[region.start : region.start + region.frames, list(region.joints)] = True
    mask = mask.to(x.device, non_blocking=True)
    pasted = mask.repeat_interleave(stride, dim=0)[:frames, :, None]  # (T, V, 1)
    mixed = torch.where(pasted, x.roll(-region.shift, dims=0), x)
    partner = (torch.arange(samples, device=x.device) + region.shift) % samples
    return mixed, mask, partner
