"""What a pre-training is made of, as one frozen value: presets, a file, `--set`, in rising order of precedence."""

from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.errors import ConfigError
from trainer.config.keys import ConfigModel
from trainer.config.method import AugmentConfig, MethodConfig, Stream
from trainer.config.model import EncoderConfig, PairConfig


class PretrainConfig(ConfigModel):
    """A pre-training run; the defaults are SkeleMixCLR+ as released (czhaneva/SkeleMixCLR at 4538d6c)."""

    frames: int = Field(default=64, ge=4)
    """T: every clip is resized to so many frames."""
    bodies: Literal[1, 2] = 2
    """M: bodies of a clip that are encoded, the most active first."""
    stream: Stream = "joint"
    """What of a clip is encoded: where joints are, how they move, or which way bones point."""
    epochs: int = Field(default=300, ge=1)
    """Passes over the training clips."""
    batch_size: int = Field(default=128, ge=2)
    """N, clips of an optimiser step, over all processes: the learning rate belongs to it."""
    micro_batch: int | None = Field(default=None, ge=2)
    """Clips of one forward and backward, over all processes; their gradients are added up to the batch's. All at once
    when not given. Batch-norm statistics are those of these clips."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: the encoders' forward passes in half precision (autocast); weights, batch norm, queue and losses stay
    float32. On CPUs bits are repeated with fp32 and with bf16, but bf16's depend on the processor's kind."""
    learning_rate: float = Field(default=0.1, gt=0)
    """Of stochastic gradient descent, for a whole batch."""
    schedule: Literal["constant", "step", "cosine"] = "constant"
    """The released configuration steps down after epoch 300 of 300: never."""
    milestones: tuple[int, ...] = ()
    """With `step`: after each of so many epochs the rate is divided by ten. CrosSCLR and AimCLR: 250 of 300."""
    warm_up: float = Field(default=0, ge=0)
    """Epochs in which the rate rises evenly from a hundredth; it is a factor on the schedule."""
    optimiser_momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of stochastic gradient descent; the key encoder's is `pair.momentum`."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """How much of each weight is added to its gradient."""
    fit_to_data: bool = False
    """Take from the training set what of `bodies`, `pair.queue_size` and `pair.momentum` is not given; see `fitted`."""
    stream_buffer: int = Field(default=65536, ge=1)
    """Clips among which the order of an epoch is mixed, wherever they lie; up to so many are simply permuted."""
    validate_every: int = Field(default=0, ge=0)
    """Epochs between looks at training groups that are held out, to name the best checkpoint; 0 holds out nothing."""
    held_out: tuple[int | str, ...] | None = Field(default=None, min_length=1)
    """Whom to hold out, by the column that the split keeps apart; about a fifth when not given."""
    recipe: str | None = None
    """The recipe that the store must have; any when not given."""
    seed: int = Field(default=0, ge=0, lt=2**64)
    """Of all that is random: start weights, order of clips, crops, shears, mixing, dropout."""
    method: MethodConfig = MethodConfig()
    pair: PairConfig = PairConfig()
    encoder: EncoderConfig = EncoderConfig()
    augment: AugmentConfig = AugmentConfig()

    @property
    def micro_batches(self) -> int:
        """How many forwards and backwards make a step."""
        return -(-self.batch_size // (self.micro_batch or self.batch_size))

    @model_validator(mode="after")
    def _schedule_fits(self) -> Self:
        if (self.schedule == "step") != bool(self.milestones):
            raise ValueError("schedule = step takes milestones, as in milestones = [250], and no other schedule does")
        if any(not below < above < self.epochs for below, above in pairwise((0, *self.milestones))):
            raise ValueError(f"milestones: must rise and lie within the {self.epochs} epochs, found {self.milestones}")
        if self.warm_up > self.epochs:
            raise ValueError(f"warm_up: {self.warm_up} is more than the {self.epochs} epochs")
        return self

    @model_validator(mode="after")
    def _parts_have_a_variance(self) -> Self:
        if self.batch_size // self.micro_batches < 2:
            raise ValueError(
                f"a batch of {self.batch_size} in parts of at most {self.micro_batch} leaves one of a single clip, "
                "which has no variance for batch norm; take another micro_batch"
            )
        return self

    def fitted(self, clips: int, bodies: int) -> "PretrainConfig":
        """This configuration for a training set of `clips` clips of at most `bodies` bodies.

        With `fit_to_data` the queue is the largest power of two that holds at most half the clips (a longer one holds
        stale copies of every clip as negatives), the key encoder averages over as many epochs as on NTU-60 xsub (3.2),
        and as many bodies are encoded as there are; what was given by name stays as it was given.

        Raises:
            ConfigError: the batch is larger than the training set.
        """
        if clips < self.batch_size:
            raise ConfigError(
                f"batch_size {self.batch_size} is more than the {clips} training clips; --set batch_size=N"
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
"""What `fit_to_data` sets where it is not given."""
KEY_AVERAGE_EPOCHS = 1000 / (40_091 // 128)
"""1 / (1 - 0.999) steps, in epochs of NTU-60 xsub's 40,091 training clips at 128 a step."""
