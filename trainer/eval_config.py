"""What an evaluation is made of, as one frozen value: the protocols' own settings, overridden by `--set`."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import ConfigError
from trainer.config import merged, parse_setting
from trainer.finetune import FinetuneConfig
from trainer.knn import KnnConfig
from trainer.linear import LinearConfig

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


def compose(settings: Sequence[str] = ()) -> EvalConfig:
    """The defaults, overridden by `a.b=value` settings.

    Raises:
        ConfigError: a key or value is impossible.
    """
    plain: dict[str, Any] = {}
    for setting in settings:
        plain = merged(plain, parse_setting(setting))
    try:
        return EvalConfig.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        known = f"; known: {', '.join(EvalConfig.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise ConfigError(f"evaluation: {'.'.join(map(str, first['loc']))}: {first['msg']}{known}") from error
