"""Accuracy metrics: top-1, top-5, per class, confusion matrix, confidence interval, mean over draws."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def summarise(scores: NDArray[Any], labels: NDArray[np.int64], classes: Sequence[int]) -> dict[str, Any]:
    """Compute accuracy metrics of class scores.

    Args:
        scores: (N, len(classes)), higher is more probable.
        labels: (N,) true classes as positions in `classes`.
        classes: the data set's class ids, in the order of the scores' columns.

    Returns:
        top1, top5 (per cent; a class with the same score as the true class ranks before it, so that classes without
        votes do not count as answers), interval95 (per cent, Wilson 1927), per_class (per cent; null for a class
        without test clips), confusion (rows true, columns predicted), clips.
    """
    predicted = scores.argmax(1)
    hits = int((predicted == labels).sum())
    true_scores = np.take_along_axis(scores, labels[:, None], axis=1)
    rank = (~(scores < true_scores)).sum(axis=1)  # from 1; NaN ranks last
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    support = confusion.sum(1)
    return {
        "top1": 100 * hits / len(labels),
        "top5": 100 * float(((rank <= 5) | (predicted == labels)).mean()),
        "interval95": [100 * bound for bound in wilson(hits, len(labels))],
        "per_class": [
            100 * int(confusion[c, c]) / int(support[c]) if support[c] else None for c in range(len(classes))
        ],
        "classes": list(classes),
        "confusion": confusion.tolist(),
        "clips": len(labels),
    }


def spread(top1: Sequence[float]) -> dict[str, Any]:
    """Summarise draws of one accuracy: mean as top1, standard deviation as deviation (n - 1; null for one draw)."""
    return {"top1": statistics.fmean(top1), "deviation": statistics.stdev(top1) if len(top1) > 1 else None}


def wilson(hits: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927), which is accurate near 0 and 1 and for few trials."""
    share, weight = hits / trials, z * z / trials
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)
