"""What an evaluation is made of, as one frozen value: the protocols' own settings, overridden by `--set`."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from trainer.config.keys import ConfigModel
from trainer.config.layers import SET_ORIGIN, ConfigLayer, build_config, parse_setting

FeatureLayer = Literal["backbone", "head"]


class KnnConfig(ConfigModel):
    """Who votes; the reference's own monitor has layer `head` and augmented clips on both sides."""

    k: int = Field(default=20, ge=1)
    """Neighbours that vote; SkeleMixCLR's monitor prints 10, 20 and 40."""
    temperature: float = Field(default=0.1, gt=0)
    """How fast votes fall with similarity."""
    layer: Literal["backbone", "head"] = "backbone"
    """Features before the projection head, or what comes out of it."""
    augmented: bool = False
    """Compare a random view (the pre-training's crop and shear) of each clip in place of the clip."""


class LinearConfig(ConfigModel):
    """The reference's optimiser (czhaneva/SkeleMixCLR, linear evaluation configuration)."""

    epochs: int = Field(default=150, ge=1)
    learning_rate: float = Field(default=3.0, gt=0)
    decay_at: float = Field(default=80 / 150, ge=0, le=1)
    """Share of the epochs after which the rate is a tenth."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    batch_size: int = Field(default=128, ge=1)
    init_std: float = Field(default=0.02, ge=0)


class FinetuneConfig(ConfigModel):
    """The optimiser; the defaults are the reference's fine-tuning (czhaneva/SkeleMixCLR), but for `frozen_statistics`.

    Moments are shares of all epochs, so that a shorter schedule has the same shape.
    """

    epochs: int = Field(default=110, ge=1)
    learning_rate: float = Field(default=0.1, gt=0)
    warm_up: float = Field(default=10 / 110, ge=0, lt=1)
    """Share of the epochs over which the rate rises evenly to its full height."""
    decay_at: tuple[float, ...] = (50 / 110, 70 / 110, 90 / 110)
    """Shares of the epochs after which the rate is a tenth of what it was."""
    nesterov: bool = True
    optimiser_momentum: float = Field(default=0.9, gt=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    batch_size: int = Field(default=128, ge=2)
    """Largest batch; an epoch's batches are of equal size but for one clip."""
    init_std: float = Field(default=0.02, ge=0)
    """Of the new classifier's weights."""
    augmented: bool = False
    """Show a random view of each clip (the pre-training's crop and shear) in every epoch; the reference does not."""
    frozen_statistics: bool = False
    """Train in evaluation mode (pre-training's batch-norm statistics, no dropout), as the reference does."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: training's forward passes in half precision; weights, batch norm, the loss and the test clips' scores stay
    float32."""
    test_every: int = Field(default=5, ge=1)
    """Epochs between looks at the test clips; the last epoch is always looked at."""


SEMI_SUPERVISED = FinetuneConfig(epochs=150, decay_at=(80 / 150,), warm_up=0.0, nesterov=False)
"""The reference's semi-supervised evaluation with 10 % of the labels (czhaneva/SkeleMixCLR)."""


SEMI_SUPERVISED_ONE_PER_CENT = SEMI_SUPERVISED.model_copy(
    update={"learning_rate": 0.05, "weight_decay": 0.0, "decay_at": (40 / 150,)}
)
"""The same with 1 %."""


class EvalConfig(ConfigModel):
    """Settings of all protocols; each owner says where its defaults come from."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Of everything that is random: start weights of classifiers, order of clips, dropout."""
    knn: KnnConfig = KnnConfig()
    linear: LinearConfig = LinearConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    semi: FinetuneConfig = FinetuneConfig()
    """Only what is given counts; the rest is as the reference has it for 10 % of the labels, or for 1 % and less."""

    def semi_for(self, fraction: float) -> FinetuneConfig:
        """The settings of semi-supervised evaluation with so many of the labels."""
        base = SEMI_SUPERVISED_ONE_PER_CENT if fraction <= 0.01 else SEMI_SUPERVISED
        return base.model_copy(update=self.semi.model_dump(include=self.semi.model_fields_set))


EVAL_DEFAULTS = EvalConfig()


def eval_layers(settings: Sequence[str]) -> list[ConfigLayer]:
    """What stands over the defaults: `a.b=value` settings.

    Raises:
        ConfigError: one is no KEY=VALUE.
    """
    return [ConfigLayer(SET_ORIGIN, parse_setting(setting)) for setting in settings]


def eval_config_from_layers(found: Sequence[ConfigLayer]) -> EvalConfig:
    """The settings that layers make over the defaults.

    Raises:
        ConfigError: a key or value is impossible.
    """
    return build_config(EvalConfig, found, "evaluation")


def compose_eval(settings: Sequence[str] = ()) -> EvalConfig:
    """The defaults, overridden by `a.b=value` settings.

    Raises:
        ConfigError: a key or value is impossible.
    """
    return eval_config_from_layers(eval_layers(settings))
