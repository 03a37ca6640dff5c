"""Hold out training subjects for validation, and fit a configuration to the training clips."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.store.splits import Split
from pipeline.store.store import Store
from trainer.config.layers import flatten_model
from trainer.config.pretrain import PretrainConfig

HOLDOUT_SHARE = 0.2
"""Of the groups that are held out when none are named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldoutSplit:
    """The training side of a split, divided."""

    column: str
    """What divides it; empty when nothing is held out."""
    values: list[Any]
    """Of the column: those held out."""
    train_rows: NDArray[np.int64]
    """Rows that are trained on."""
    held_out_rows: NDArray[np.int64]
    """Rows that are not."""

    def to_json(self) -> dict[str, Any]:
        """What a run says of it."""
        return {"column": self.column, "values": self.values, "clips": len(self.held_out_rows)}


def split_holdout(store: Store, split: Split, config: PretrainConfig) -> HoldoutSplit:
    """Which training rows a pre-training uses: all without monitoring, else what it does not hold out.

    Groups are those of the column that the split keeps apart, or subjects where it names none. About a fifth of them is
    held out, evenly over their sorted values, whatever the seed; `held_out` names others.

    Raises:
        ConfigError: there are no two groups, a named one is not there, or clips lack labels.
    """
    rows = split.train
    if not config.validate_every:
        if config.held_out is not None:
            raise ConfigError("held_out: means nothing with validate_every=0; --set validate_every=5, or leave it out")
        return HoldoutSplit(column="", values=[], train_rows=rows, held_out_rows=rows[:0])
    column = split.disjoint_column or "subject"
    values = store.values(column)[rows]
    groups = np.unique(values)
    if len(groups) < 2:
        raise ConfigError(f"validate_every: the training clips have one {column} only, none can be held out")
    count = max(1, round(HOLDOUT_SHARE * len(groups)))
    chosen = groups[(2 * np.arange(count) + 1) * len(groups) // (2 * count)]
    if config.held_out is not None:
        chosen = groups[np.isin(groups.astype(str), [str(value) for value in config.held_out])]
        if len(chosen) != len(set(map(str, config.held_out))) or len(chosen) == len(groups):
            raise ConfigError(
                f"held_out: must be some, not all, of the {column} values {', '.join(map(str, groups))} of the "
                "training clips"
            )
    if (store.columns["label"][rows] < 0).any():
        raise ConfigError("validate_every: some training clips have no label; --set validate_every=0 needs none")
    apart = np.isin(values, chosen)
    return HoldoutSplit(column=column, values=chosen.tolist(), train_rows=rows[~apart], held_out_rows=rows[apart])


def fit_to_data(store: Store, split: Split, config: PretrainConfig) -> tuple[PretrainConfig, HoldoutSplit]:
    """A configuration as a training set will have it, and the groups that are held out.

    Raises:
        ConfigError: the batch is larger than the training set, or what is to be held out is not there.
    """
    division = split_holdout(store, split, config)
    most = int(store.columns["bodies"][division.train_rows].max(initial=1))
    return config.fitted(len(division.train_rows), most), division


def changed_keys(before: PretrainConfig, after: PretrainConfig) -> list[str]:
    """The values, by `a.b`, that fitting has changed."""
    were = flatten_model(before)
    return [key for key, value in flatten_model(after).items() if value != were[key]]
