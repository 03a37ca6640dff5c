"""The baseline without a network: the nearest training clip by Euclidean distance, with blocks of clips in memory."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from trainer.data.stored_clips import BLOCK_CLIPS, read_blocks
from trainer.evaluation.finetune import Sides
from trainer.evaluation.knn import nearest_neighbour

TEST_BYTES = 256 << 20
"""Test clips in memory at a time. For each such part, all training clips are read once."""


def classify_raw_coordinates(sides: Sides, to_stream: Callable[[Tensor], Tensor]) -> Tensor:
    """One-hot class scores (N, classes) of the test clips: the class of the nearest training clip in the run's stream.

    As in `nearest_neighbour`, distances are computed in float64.
    """
    if max(len(sides.train), len(sides.test)) <= BLOCK_CLIPS:
        train, test = (to_stream(side[0 : len(side)]).flatten(1) for side in (sides.train, sides.test))
        return nearest_neighbour(train, sides.train_labels, test, sides.classes)
    clips_per_part = max(BLOCK_CLIPS, TEST_BYTES // (4 * sides.test[0:1].numel()) // BLOCK_CLIPS * BLOCK_CLIPS)
    predicted = [
        _nearest(to_stream(sides.test[start : start + clips_per_part]).flatten(1), sides, to_stream)
        for start in range(0, len(sides.test), clips_per_part)
    ]
    return one_hot(torch.cat(predicted), sides.classes).float()


def _nearest(test: Tensor, sides: Sides, to_stream: Callable[[Tensor], Tensor]) -> Tensor:
    """The classes (n,) of the training clips that are nearest to some test clips (n, D); of the first, if several."""
    best = torch.full((len(test),), torch.inf, dtype=torch.float64)
    predicted = torch.zeros(len(test), dtype=torch.int64)
    for first, block in read_blocks(sides.train):
        train = to_stream(block).flatten(1).double()
        lengths = torch.linalg.vector_norm(train, dim=1).square()
        labels = sides.train_labels[first : first + len(train)]
        # Squared distances without the squared length of the test clip, which does not change the nearest neighbour.
        for start in range(0, len(test), BLOCK_CLIPS):
            part = slice(start, start + BLOCK_CLIPS)
            distances, neighbours = (lengths - 2 * test[part].double() @ train.T).min(1)
            is_nearer = distances < best[part]
            best[part] = torch.where(is_nearer, distances, best[part])
            predicted[part] = torch.where(is_nearer, labels[neighbours], predicted[part])
    return predicted
