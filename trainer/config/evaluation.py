"""Configuration of an evaluation: settings of each protocol, overridden by `--set`."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from trainer.config.keys import MAX_FLOAT, ConfigModel
from trainer.config.layers import SET_ORIGIN, ConfigLayer, build_config, parse_setting
from trainer.config.presets import load_preset, preset_names

MAX_EPOCHS = 1_000_000
"""More than anyone waits for: an epoch of linear training on 1,000 clips takes about a millisecond."""
FeatureLayer = Literal["backbone", "head"]


class KnnConfig(ConfigModel):
    """Weighted k-nearest-neighbour classification. The reference's monitor uses layer `head` and augments all clips."""

    k: int = Field(default=20, ge=1, lt=2**31)
    """Number of nearest neighbours that vote. SkeleMixCLR's monitor prints 10, 20 and 40."""
    temperature: float = Field(default=0.1, gt=0)
    """Temperature of the votes: each neighbour is weighted by exp(cosine similarity / temperature)."""
    layer: FeatureLayer = "backbone"
    """Features to compare: those before the projection head (`backbone`) or its output (`head`)."""
    augmented: bool = False
    """Compare one random view of each clip (the crop and shear of pre-training) instead of the clip itself."""


class LinearConfig(ConfigModel):
    """Linear evaluation; the defaults are the reference's (czhaneva/SkeleMixCLR, linear evaluation configuration)."""

    epochs: int = Field(default=150, ge=1, le=MAX_EPOCHS)
    """Number of passes over the training features."""
    learning_rate: float = Field(default=3.0, gt=0, le=MAX_FLOAT)
    """Learning rate of SGD."""
    decay_at: float = Field(default=80 / 150, ge=0, le=1)
    """Fraction of the epochs after which the learning rate is divided by ten."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD."""
    weight_decay: float = Field(default=0.0, ge=0, le=MAX_FLOAT)
    """Weight decay (L2 penalty) of SGD."""
    batch_size: int = Field(default=128, ge=1, lt=2**31)
    """Number of clips per optimiser step."""
    drop_last: bool = True
    """Leave out the last, incomplete batch of every epoch, as the reference does, unless it is the only one."""
    init_std: float = Field(default=0.02, ge=0, le=MAX_FLOAT)
    """Standard deviation of the classifier's initial weights."""
    test_every: int = Field(default=5, ge=1)
    """Epochs between evaluations on the test clips. The last epoch is always evaluated."""


class FinetuneConfig(ConfigModel):
    """Fine-tuning; the defaults are the reference's (czhaneva/SkeleMixCLR), except for `frozen_statistics`.

    Times are fractions of all epochs, so that a shorter schedule has the same shape.
    """

    epochs: int = Field(default=110, ge=1, le=MAX_EPOCHS)
    """Number of passes over the training clips."""
    learning_rate: float = Field(default=0.1, gt=0, le=MAX_FLOAT)
    """Learning rate of SGD."""
    warm_up: float = Field(default=10 / 110, ge=0, lt=1)
    """Fraction of the epochs over which the learning rate rises linearly to its full value."""
    decay_at: tuple[float, ...] = (50 / 110, 70 / 110, 90 / 110)
    """Fractions of the epochs after each of which the learning rate is divided by ten."""
    nesterov: bool = True
    """Use Nesterov momentum."""
    optimiser_momentum: float = Field(default=0.9, gt=0, lt=1)
    """Momentum of SGD."""
    weight_decay: float = Field(default=1e-4, ge=0, le=MAX_FLOAT)
    """Weight decay (L2 penalty) of SGD."""
    batch_size: int = Field(default=128, ge=2, lt=2**31)
    """Maximum number of clips per optimiser step. The batch sizes of an epoch differ by at most one clip."""
    init_std: float = Field(default=0.02, ge=0, le=MAX_FLOAT)
    """Standard deviation of the new classifier's initial weights."""
    augmented: bool = False
    """Augment training clips with the crop and shear of pre-training, redrawn in every epoch; not in the reference."""
    frozen_statistics: bool = False
    """Train in evaluation mode (batch-norm statistics of the pre-training, no dropout), as the reference does."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Numerical precision. bf16 runs the forward passes of training in half precision; weights, batch norm, the loss
    and the test scores stay float32."""
    test_every: int = Field(default=5, ge=1)
    """Epochs between evaluations on the test clips. The last epoch is always evaluated."""


SEMI_SUPERVISED = FinetuneConfig(epochs=150, decay_at=(80 / 150,), warm_up=0.0, nesterov=False)
"""The reference's semi-supervised evaluation with 10 % of the labels (czhaneva/SkeleMixCLR)."""
SEMI_SUPERVISED_ONE_PER_CENT = SEMI_SUPERVISED.model_copy(
    update={"learning_rate": 0.05, "weight_decay": 0.0, "decay_at": (40 / 150,)}
)
"""The same with 1 % of the labels."""


class EvalConfig(ConfigModel):
    """Settings of all evaluation protocols."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Random seed for initial classifier weights, clip order, dropout and augmentation."""
    knn: KnnConfig = KnnConfig()
    """k-nearest-neighbour classification."""
    linear: LinearConfig = LinearConfig()
    """Linear evaluation."""
    finetune: FinetuneConfig = FinetuneConfig()
    """Fine-tuning."""
    semi: FinetuneConfig = FinetuneConfig()
    """Semi-supervised evaluation. Settings that are not given are the reference's for 10 % of the labels, or those for
    1 % if at most that fraction is used."""

    def semi_for(self, fraction: float) -> FinetuneConfig:
        """Return the settings of semi-supervised evaluation with a given fraction of the labels."""
        base = SEMI_SUPERVISED_ONE_PER_CENT if fraction <= 0.01 else SEMI_SUPERVISED
        return base.model_copy(update=self.semi.model_dump(include=self.semi.model_fields_set))


def eval_layers(settings: Sequence[str] = (), preset: str | None = None) -> list[ConfigLayer]:
    """Return the layers of an evaluation configuration over the defaults: a run's preset, `a.b=value` settings.

    Runs with imported weights, and runs whose preset this version does not have, have no layer of a preset.

    Raises:
        ConfigError: a setting is not KEY=VALUE.
    """
    values = load_preset(preset).evaluation if preset in preset_names() else {}
    layers = [ConfigLayer(f"preset {preset}", values)] if values else []
    return layers + [ConfigLayer(SET_ORIGIN, parse_setting(setting)) for setting in settings]


def eval_config_from_layers(layers: Sequence[ConfigLayer]) -> EvalConfig:
    """Build the evaluation configuration from layers over the defaults.

    Raises:
        ConfigError: a key or value is invalid.
    """
    return build_config(EvalConfig, layers, "evaluation")


def compose_eval(settings: Sequence[str] = (), preset: str | None = None) -> EvalConfig:
    """Build the evaluation configuration from the defaults, a run's preset and `a.b=value` settings.

    Raises:
        ConfigError: a key or value is invalid.
    """
    return eval_config_from_layers(eval_layers(settings, preset))
