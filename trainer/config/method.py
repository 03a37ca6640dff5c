"""Configuration of the method: temperature, mixing, augmentation and stream."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from trainer.config.keys import ConfigModel

Stream = Literal["joint", "motion", "bone"]


Fill = Literal["swap", "zeros", "noise"]


class AugmentConfig(ConfigModel):
    """How far views stray from the clip; the defaults are those of CrosSCLR and SkeleMixCLR."""

    crop_ratio: int = Field(default=6, ge=1)
    """A crop may start up to T // crop_ratio frames before the clip or end as many after it."""
    shear: float = Field(default=0.5, ge=0.0)
    """Largest share of one coordinate that is added to another."""
    same_every_epoch: bool = False
    """Draw for the place in an epoch, not for sample and epoch: every epoch's views then have the same crops and shears
    in the same order, and only the samples that they meet change. So CrosSCLR's, AimCLR's and SkeleMixCLR's workers do,
    which start each epoch from the same seeds."""


class MixConfig(ConfigModel):
    """What is pasted; the defaults are SkeleMixCLR+'s released configuration (`[2, 3, 7, 11, 3, 1.]`)."""

    joints: Literal["parts", "random"] = "parts"
    """Whole parts of the body, or joints at random, two to three fifths of them (the reference: 10 to 15 of 25)."""
    parts: tuple[int, int] | None = None
    """Fewest and most parts in a region. When not given, two to three fifths: 2 to 3 of the five of Kinect's layout."""
    frames: tuple[int, int] | None = None
    """Fewest and most frames of a region, counted in the encoder's output; a clip with fewer gives all it has.

    When not given, 7 to 11 of each 16, rounded down and up: so the reference's configurations have it at 64, 48, 32
    and 16 input frames (7 to 11, 5 to 9, 3 to 6, 1 to 3).
    """
    repeats: int = Field(default=3, ge=1)
    """Mixed clips for each query in a step."""
    fill: Fill = "swap"
    """What fills a region: the partner's joints; zeros; Gaussian noise of deviation 1, as in the reference's ablations.

    What was pasted is held against the partner's key whatever it is: so the reference has it.
    """
    per: Literal["batch", "sample"] = "batch"
    """One region and one distance to the partner for a whole batch, as published, or for each sample its own."""

    @field_validator("parts", "frames")
    @classmethod
    def _rises_from_one(cls, bounds: tuple[int, int] | None) -> tuple[int, int] | None:
        if bounds is not None and not 1 <= bounds[0] <= bounds[1]:
            raise ValueError(f"must be two numbers, 1 <= fewest <= most, found {bounds}")
        return bounds

    @model_validator(mode="after")
    def _parts_are_parts(self) -> Self:
        if self.joints == "random" and self.parts is not None:
            raise ValueError("parts: joints = random takes no parts; leave one of the two out")
        return self


class MethodConfig(ConfigModel):
    """Which method, and the numbers of its contrast; the defaults are SkeleMixCLR+'s released configuration."""

    name: Literal["skeletonclr", "skelemixclr", "skelemixclr+"] = "skelemixclr+"
    """SkeletonCLR contrasts plain views; SkeleMixCLR adds the mean over mixed clips, SkeleMixCLR+ their sum."""
    temperature: float = Field(default=0.2, gt=0.0)
    """What cosines are divided by. SkeletonCLR's release has 0.07."""
    decoupled: bool = False
    """Decoupled contrast (Yeh et al. 2022), an option of the reference: the positive is not among what it is held
    against."""
    mix: MixConfig = MixConfig()
    """What SkeleMix pastes; SkeletonCLR leaves it aside."""
