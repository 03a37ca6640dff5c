"""What an evaluation is made of, as one frozen value: the protocols' own settings, overridden by `--set`."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from trainer import keys
from trainer.finetune import FinetuneConfig
from trainer.knn import KnnConfig
from trainer.linear import LinearConfig
from trainer.settings import SET, Layer, build, parse_setting

SEMI = FinetuneConfig(epochs=150, decay_at=(80 / 150,), warm_up=0.0, nesterov=False)
"""The reference's semi-supervised evaluation with 10 % of the labels (czhaneva/SkeleMixCLR)."""
SEMI_ONE_PER_CENT = SEMI.model_copy(update={"learning_rate": 0.05, "weight_decay": 0.0, "decay_at": (40 / 150,)})
"""The same with 1 %."""


class EvalConfig(BaseModel):
    """Settings of all protocols; each owner says where its defaults come from."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Of everything that is random: start weights of classifiers, order of clips, dropout."""
    knn: KnnConfig = KnnConfig()
    linear: LinearConfig = LinearConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    semi: FinetuneConfig = FinetuneConfig()
    """Only what is given counts; the rest is as the reference has it for 10 % of the labels, or for 1 % and less."""

    def semi_for(self, fraction: float) -> FinetuneConfig:
        """The settings of semi-supervised evaluation with so many of the labels."""
        base = SEMI_ONE_PER_CENT if fraction <= 0.01 else SEMI
        return base.model_copy(update=self.semi.model_dump(include=self.semi.model_fields_set))


DEFAULTS = EvalConfig()


def layers(settings: Sequence[str]) -> list[Layer]:
    """What stands over the defaults: `a.b=value` settings.

    Raises:
        ConfigError: one is no KEY=VALUE.
    """
    return [Layer(SET, parse_setting(setting)) for setting in settings]


def of_layers(found: Sequence[Layer]) -> EvalConfig:
    """The settings that layers make over the defaults.

    Raises:
        ConfigError: a key or value is impossible.
    """
    return build(EvalConfig, keys.EVALUATE, found, "evaluation")


def compose(settings: Sequence[str] = ()) -> EvalConfig:
    """The defaults, overridden by `a.b=value` settings.

    Raises:
        ConfigError: a key or value is impossible.
    """
    return of_layers(layers(settings))
