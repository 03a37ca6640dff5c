"""Configuration of a pre-training run."""

from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.errors import ConfigError
from trainer.config.keys import MAX_FLOAT, ConfigModel
from trainer.config.method import AugmentConfig, MethodConfig, Stream
from trainer.config.model import EncoderConfig, PairConfig

MAX_FRAMES = 1_000_000
"""More than nine hours at 30 frames per second."""
MAX_STEPS = 99_999_999
"""Names of checkpoints have eight digits."""


class PretrainConfig(ConfigModel):
    """A pre-training run; the defaults are SkeleMixCLR+ as released (czhaneva/SkeleMixCLR at 4538d6c)."""

    frames: int = Field(default=64, ge=4, le=MAX_FRAMES)
    """Number of frames T to which every clip is resized."""
    bodies: Literal[1, 2] = 2
    """Number of bodies M encoded per clip, the most active first."""
    stream: Stream = "joint"
    """Input stream: joint positions, motion (difference of consecutive frames) or bone vectors."""
    epochs: int = Field(default=300, ge=1, le=MAX_STEPS)
    """Number of passes over the training clips."""
    batch_size: int = Field(default=128, ge=2, lt=2**31)
    """Number of clips N per optimiser step, summed over all processes. The learning rate depends on it."""
    micro_batch: int | None = Field(default=None, ge=2)
    """Gradient accumulation: number of clips per forward and backward pass, summed over all processes. Default: the
    whole batch. Batch-norm statistics are those of the micro-batch."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Numerical precision. bf16 runs the encoders' forward passes in half precision (autocast); weights, batch norm,
    queue and losses stay float32. Both are reproducible on CPUs, but bf16 results depend on the type of processor."""
    learning_rate: float = Field(default=0.1, gt=0, le=MAX_FLOAT)
    """Learning rate of SGD for the whole batch."""
    schedule: Literal["constant", "step", "cosine"] = "constant"
    """Learning rate schedule. The released one steps after epoch 300 of 300, so it is constant."""
    milestones: tuple[int, ...] = ()
    """With schedule `step`: epochs after which the learning rate is divided by ten. CrosSCLR and AimCLR: 250 of 300."""
    warm_up: float = Field(default=0, ge=0)
    """Number of warm-up epochs, in which the learning rate rises linearly from a hundredth of the schedule's value."""
    optimiser_momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD. The momentum of the key encoder is `pair.momentum`."""
    weight_decay: float = Field(default=1e-4, ge=0, le=MAX_FLOAT)
    """Weight decay (L2 penalty) of SGD."""
    fit_to_data: bool = False
    """Fit `bodies`, `pair.queue_size` and `pair.momentum` to the training set where they are not given."""
    stream_buffer: int = Field(default=65536, ge=1)
    """Size of the shuffle buffer in clips. Smaller training sets are fully permuted."""
    validate_every: int = Field(default=0, ge=0)
    """Epochs between validations on held-out training subjects, which select the best checkpoint. 0: no validation."""
    held_out: tuple[int | str, ...] | None = Field(default=None, min_length=1)
    """Which subjects (or cameras, setups: whatever the split keeps disjoint) to hold out for validation. Default: about
    20 %."""
    recipe: str | None = None
    """Recipe that the store must have been made with. Default: any."""
    seed: int = Field(default=0, ge=0, lt=2**64)
    """Random seed for initial weights, clip order, crops, shears, mixing and dropout."""
    method: MethodConfig = MethodConfig()
    """Method and contrastive loss."""
    pair: PairConfig = PairConfig()
    """Key encoder and queue of negatives."""
    encoder: EncoderConfig = EncoderConfig()
    """Architecture of the encoder."""
    augment: AugmentConfig = AugmentConfig()
    """Augmentation of views."""

    @property
    def micro_batches(self) -> int:
        """Number of micro-batches per optimiser step."""
        return -(-self.batch_size // (self.micro_batch or self.batch_size))

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        if (self.schedule == "step") != bool(self.milestones):
            raise ValueError("schedule = step takes milestones, as in milestones = [250]; no other schedule does")
        if any(not below < above < self.epochs for below, above in pairwise((0, *self.milestones))):
            raise ValueError(
                f"milestones: must be increasing and less than {self.epochs} epochs, found {self.milestones}"
            )
        if self.warm_up > self.epochs:
            raise ValueError(f"warm_up: {self.warm_up} is more than the {self.epochs} epochs")
        return self

    @model_validator(mode="after")
    def _check_micro_batches(self) -> Self:
        if self.batch_size // self.micro_batches < 2:
            raise ValueError(
                f"a batch of {self.batch_size} in micro-batches of at most {self.micro_batch} leaves one with a single "
                "clip, which has no variance for batch norm; choose another micro_batch"
            )
        return self

    def fitted(self, clips: int, bodies: int) -> "PretrainConfig":
        """Return this configuration, fitted to a training set of `clips` clips with at most `bodies` bodies each.

        With `fit_to_data`, the queue size becomes the largest power of two that is at most half the number of clips (a
        longer queue would hold stale copies of every clip as negatives). The momentum is set so that the key encoder
        averages over as many epochs as on NTU-60 xsub (3.2). `bodies` becomes the number of bodies in the data. Values
        that were given explicitly are kept.

        Raises:
            ConfigError: the batch size is larger than the training set.
        """
        if clips < self.batch_size:
            raise ConfigError(
                f"batch_size {self.batch_size} is more than the {clips} training clips; use --set batch_size=N"
            )
        if not self.fit_to_data:
            return self
        momentum = 1 - 1 / (KEY_AVERAGE_EPOCHS * (clips // self.batch_size))
        pair = {"queue_size": 1 << ((clips // 2).bit_length() - 1), "momentum": min(0.999, max(0.9, momentum))}
        given = self.pair.model_dump(include=self.pair.model_fields_set)
        return self.model_copy(
            update={
                "bodies": self.bodies if "bodies" in self.model_fields_set else min(max(bodies, 1), 2),
                "pair": self.pair.model_copy(update=pair | given),
            },
        )


FITTED_KEYS = ("bodies", "pair.queue_size", "pair.momentum")
"""Keys that `fit_to_data` sets where they are not given."""
KEY_AVERAGE_EPOCHS = 1000 / (40_091 // 128)
"""1 / (1 - 0.999) = 1,000 steps, in epochs of NTU-60 xsub's 40,091 training clips with a batch size of 128."""
