"""How good an encoder is while it trains, by people (or cameras) of the training side whom it does not train on.

The test side has no part in it. Held-out groups are left out of pre-training, too: nearest neighbours of clips that the
contrast has seen would reward remembering clips. Their labels, and those of the rest, choose the `best` checkpoint; the
last one is chosen by nothing.
"""

import numpy as np
import torch

from pipeline.store.store import Store
from trainer.config.pretrain import PretrainConfig
from trainer.data.holdout import HoldoutSplit
from trainer.evaluation import features
from trainer.evaluation.knn import weighted_knn
from trainer.models.encoder import Encoder


class HoldoutValidation:
    """Nearest-neighbour accuracy of held-out clips among those that are trained on."""

    def __init__(self, store: Store, division: HoldoutSplit, config: PretrainConfig) -> None:
        self._store, self._division, self._config = store, division, config
        both = np.concatenate([division.train_rows, division.held_out_rows])
        labels, positions = np.unique(store.columns["label"][both], return_inverse=True)
        self._classes = len(labels)
        self._labels = torch.split(torch.from_numpy(positions), [len(division.train_rows), len(division.held_out_rows)])

    def score(self, encoder: Encoder) -> float:
        """Top-1 per cent by `knn.weighted` with its defaults, of backbone features; the encoder is left as it was."""
        was_training = encoder.training
        bank, queries = (
            features.extract_rows(encoder, self._store, rows, self._config)
            for rows in (self._division.train_rows, self._division.held_out_rows)
        )
        encoder.train(was_training)
        said = weighted_knn(bank, self._labels[0], queries, self._classes).argmax(1)
        return round(100 * float((said == self._labels[1]).double().mean()), 4)
