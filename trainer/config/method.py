"""Configuration of the method and its data: temperature, mixing, augmentation and stream."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from trainer.config.keys import MAX_FLOAT, ConfigModel

Stream = Literal["joint", "motion", "bone"]
Fill = Literal["swap", "zeros", "noise"]


class AugmentConfig(ConfigModel):
    """Augmentation of views; the defaults are those of CrosSCLR and SkeleMixCLR."""

    crop_ratio: int = Field(default=6, ge=1)
    """Temporal crop: a view is shifted by at most T // crop_ratio frames; the mirrored clip fills the ends."""
    shear: float = Field(default=0.5, ge=0.0, le=MAX_FLOAT)
    """Shear amplitude: the largest share of one coordinate that is added to another."""
    same_every_epoch: bool = False
    """Draw the same sequence of crops and shears in every epoch. Only the samples they are applied to change. This is a
    quirk of CrosSCLR, AimCLR and SkeleMixCLR, whose data loader workers restart from the same seeds every epoch."""


class MixConfig(ConfigModel):
    """SkeleMix mixing; the defaults are SkeleMixCLR+'s released configuration (`[2, 3, 7, 11, 3, 1.]`)."""

    joints: Literal["parts", "random"] = "parts"
    """How pasted joints are chosen: whole body parts, or two to three fifths of all joints at random."""
    parts: tuple[int, int] | None = None
    """Minimum and maximum number of pasted body parts. Default: two to three fifths (2 to 3 of Kinect's 5)."""
    frames: tuple[int, int] | None = None
    """Minimum and maximum number of pasted frames, counted in the encoder's output. Shorter clips use all their frames.

    Default: 7 to 11 of every 16 frames, rounded down and up. This matches the reference's configurations for 64, 48, 32
    and 16 input frames (7 to 11, 5 to 9, 3 to 6, 1 to 3).
    """
    repeats: int = Field(default=3, ge=1, le=1000)
    """Number of mixed clips per query in each training step."""
    fill: Fill = "swap"
    """Content of the pasted region: the partner's joints, zeros, or Gaussian noise with standard deviation 1.

    Zeros and noise are the reference's ablations. As in the reference, the partner's key is the positive of the pasted
    region whatever its content.
    """
    per: Literal["batch", "sample"] = "batch"
    """Draw one region and one partner offset for the whole batch (as published), or one for each sample."""

    @field_validator("parts", "frames")
    @classmethod
    def _check_bounds(cls, bounds: tuple[int, int] | None) -> tuple[int, int] | None:
        if bounds is not None and not 1 <= bounds[0] <= bounds[1]:
            raise ValueError(f"must be two numbers with 1 <= minimum <= maximum, found {bounds}")
        return bounds

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        if self.joints == "random" and self.parts is not None:
            raise ValueError("parts: cannot be combined with joints = random; remove one of the two")
        return self


class MethodConfig(ConfigModel):
    """The method and its contrastive loss; the defaults are SkeleMixCLR+'s released configuration."""

    name: Literal["skeletonclr", "skelemixclr", "skelemixclr+"] = "skelemixclr+"
    """Training method. SkeletonCLR contrasts plain views; SkeleMixCLR adds the mean loss of mixed clips, SkeleMixCLR+
    adds their sum."""
    temperature: float = Field(default=0.2, gt=0.0)
    """Temperature of the InfoNCE loss. SkeletonCLR's released code uses 0.07."""
    decoupled: bool = False
    """Decoupled contrastive loss (Yeh et al. 2022): leave the positive out of the denominator. An option of the
    reference."""
    mix: MixConfig = MixConfig()
    """Mixing settings; SkeletonCLR ignores them."""
