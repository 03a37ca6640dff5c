"""Validation during pre-training: kNN accuracy on held-out subjects (or cameras, setups) of the training side.

The test side is not used. Held-out groups are not pre-trained on, because the nearest neighbours of clips that the
contrastive loss has seen would reward memorising clips. The labels of the training side choose the `best` checkpoint;
the `last` checkpoint does not depend on labels.
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
    """kNN accuracy of held-out clips, with the clips that are trained on as neighbours.

    Clips without label are left out.
    """

    def __init__(self, store: Store, holdout: HoldoutSplit, config: PretrainConfig) -> None:
        self._store, self._config = store, config
        is_labelled = store.columns["label"] >= 0
        self._sides = [rows[is_labelled[rows]] for rows in (holdout.train_rows, holdout.held_out_rows)]
        labels, positions = np.unique(store.columns["label"][np.concatenate(self._sides)], return_inverse=True)
        self._classes = len(labels)
        self._labels = torch.split(torch.from_numpy(positions), [len(rows) for rows in self._sides])

    def score(self, encoder: Encoder) -> float:
        """Top-1 accuracy in per cent by `weighted_knn` on backbone features; keeps the encoder's training mode."""
        was_training = encoder.training
        train, held_out = (features.extract_rows(encoder, self._store, rows, self._config) for rows in self._sides)
        encoder.train(was_training)
        predicted = weighted_knn(train, self._labels[0], held_out, self._classes).argmax(1)
        return round(100 * float((predicted == self._labels[1]).double().mean()), 4)
