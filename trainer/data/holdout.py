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
"""Share of the groups that is held out when none are named."""

RARE_SHARE = 0.01
"""`fit_to_data` ignores a second body that fewer clips have than this share: twice the time for little data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldoutSplit:
    """The training side of a split, divided into rows to train on and rows held out for validation."""

    column: str
    """Column whose values are held out; empty if nothing is held out."""
    values: list[Any]
    """Values of the column that are held out."""
    train_rows: NDArray[np.int64]
    """(n,) store rows to train on."""
    held_out_rows: NDArray[np.int64]
    """(m,) store rows that are held out."""

    def to_json(self) -> dict[str, Any]:
        """Return the record that is stored in the run."""
        return {"column": self.column, "values": self.values, "clips": len(self.held_out_rows)}


def split_holdout(store: Store, split: Split, config: PretrainConfig) -> HoldoutSplit:
    """Divide the training rows of a split: all are used without validation, else some groups are held out.

    Groups are the values of the column that the split keeps disjoint, or subjects if it has none. About a fifth of them
    is held out, spread evenly over the sorted values and independent of the seed, unless `held_out` names others.

    Raises:
        ConfigError: there are fewer than two groups, a named group does not exist, or clips have no labels.
    """
    rows = split.train
    if not config.validate_every:
        if config.held_out is not None:
            raise ConfigError("held_out: has no effect with validate_every=0; use --set validate_every=5, or remove it")
        return HoldoutSplit(column="", values=[], train_rows=rows, held_out_rows=rows[:0])
    column = split.disjoint_column or "subject"
    values = store.values(column)[rows]
    groups = np.unique(values)
    if len(groups) < 2:
        raise ConfigError(f"validate_every: the training clips have only one {column}, so none can be held out")
    count = max(1, round(HOLDOUT_SHARE * len(groups)))
    chosen = groups[(2 * np.arange(count) + 1) * len(groups) // (2 * count)]
    if config.held_out is not None:
        chosen = groups[np.isin(groups.astype(str), [str(value) for value in config.held_out])]
        if len(chosen) != len(set(map(str, config.held_out))) or len(chosen) == len(groups):
            raise ConfigError(
                f"held_out: must be some, not all, of the {column} values {', '.join(map(str, groups))} of the "
                "training clips"
            )
    is_held_out = np.isin(values, chosen)
    is_labelled = store.columns["label"][rows] >= 0
    for side in (is_held_out, ~is_held_out):
        if not (side & is_labelled).any():
            raise ConfigError(
                "validate_every: no training clip to validate with has a label; --set validate_every=0 needs no labels"
            )
    return HoldoutSplit(
        column=column, values=chosen.tolist(), train_rows=rows[~is_held_out], held_out_rows=rows[is_held_out]
    )


def fit_to_data(store: Store, split: Split, config: PretrainConfig) -> tuple[PretrainConfig, HoldoutSplit]:
    """Return the configuration fitted to the training clips, and the held-out groups.

    Raises:
        ConfigError: the batch is larger than the training set, or a group to hold out does not exist.
    """
    holdout = split_holdout(store, split, config)
    count, clips = _second_bodies(store, holdout)
    bodies = 2 if count and not _is_rare(count, clips) else 1
    return config.fitted(len(holdout.train_rows), bodies), holdout


def rare_bodies_notes(store: Store, split: Split, requested: PretrainConfig, fitted: PretrainConfig) -> list[str]:
    """Return a note if `fit_to_data` ignored a second body because it is rare; else nothing."""
    count, clips = _second_bodies(store, split_holdout(store, split, fitted))
    if not requested.fit_to_data or "bodies" in requested.model_fields_set or fitted.bodies > 1 or not count:
        return []
    return [
        f"bodies = 1: only {count} of {clips} training clips have a second body, less than {RARE_SHARE:.0%}; "
        "--set bodies=2 trains on it"
    ]


def _second_bodies(store: Store, holdout: HoldoutSplit) -> tuple[int, int]:
    """Count the clips to train on that have a second body, and all clips to train on."""
    return int((store.columns["bodies"][holdout.train_rows] > 1).sum()), len(holdout.train_rows)


def _is_rare(count: int, clips: int) -> bool:
    return count < RARE_SHARE * clips


def changed_keys(before: PretrainConfig, after: PretrainConfig) -> list[str]:
    """Return the keys, as `a.b`, whose values differ."""
    old = flatten_model(before)
    return [key for key, value in flatten_model(after).items() if value != old[key]]
