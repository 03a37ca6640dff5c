"""How good an encoder is while it trains, by people (or cameras) of the training side whom it does not train on.

The test side has no part in it. Held-out groups are left out of pre-training, too: nearest neighbours of clips that the
contrast has seen would reward remembering clips. Their labels, and those of the rest, choose the `best` checkpoint; the
last one is chosen by nothing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.splits import Split
from pipeline.store import Store
from trainer import features, knn
from trainer.config import PretrainConfig
from trainer.encoder import Encoder

SHARE = 0.2
"""Of the groups that are held out when none are named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Division:
    """The training side of a split, divided."""

    column: str
    """What divides it; empty when nothing is held out."""
    values: list[Any]
    """Of the column: those held out."""
    kept: NDArray[np.int64]
    """Rows that are trained on."""
    held_out: NDArray[np.int64]
    """Rows that are not."""

    def to_json(self) -> dict[str, Any]:
        """What a run says of it."""
        return {"column": self.column, "values": self.values, "clips": len(self.held_out)}


def divide(store: Store, split: Split, config: PretrainConfig) -> Division:
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
        return Division(column="", values=[], kept=rows, held_out=rows[:0])
    column = split.separates or "subject"
    values = store.values(column)[rows]
    groups = np.unique(values)
    if len(groups) < 2:
        raise ConfigError(f"validate_every: the training clips have one {column} only, none can be held out")
    count = max(1, round(SHARE * len(groups)))
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
    return Division(column=column, values=chosen.tolist(), kept=rows[~apart], held_out=rows[apart])


class Monitor:
    """Nearest-neighbour accuracy of held-out clips among those that are trained on."""

    def __init__(self, store: Store, division: Division, config: PretrainConfig) -> None:
        self._store, self._division, self._config = store, division, config
        both = np.concatenate([division.kept, division.held_out])
        labels, positions = np.unique(store.columns["label"][both], return_inverse=True)
        self._classes = len(labels)
        self._labels = torch.split(torch.from_numpy(positions), [len(division.kept), len(division.held_out)])

    def score(self, encoder: Encoder) -> float:
        """Top-1 per cent by `knn.weighted` with its defaults, of backbone features; the encoder is left as it was."""
        was_training = encoder.training
        bank, queries = (
            features.of_rows(encoder, self._store, rows, self._config)
            for rows in (self._division.kept, self._division.held_out)
        )
        encoder.train(was_training)
        said = knn.weighted(bank, self._labels[0], queries, self._classes).argmax(1)
        return round(100 * float((said == self._labels[1]).double().mean()), 4)
