"""What an evaluation says beyond one number: top-5, per class, confusion, and how sure the number is."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def summarise(scores: NDArray[Any], labels: NDArray[np.int64], classes: Sequence[int]) -> dict[str, Any]:
    """Accuracy of class scores.

    Args:
        scores: (N, len(classes)), higher is likelier.
        labels: (N,) true classes as positions in `classes`.
        classes: the data set's class ids, in the order of the scores' columns.

    Returns:
        top1, top5 (per cent; a class that ties with the true one counts as before it, so that classes nobody voted for
        are no answers), interval95 (per cent, Wilson 1927), per_class (per cent; null for a class without test
        clips), confusion (rows true, columns said), clips.
    """
    said = scores.argmax(1)
    hits = int((said == labels).sum())
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    rank = (~(scores < own)).sum(axis=1)  # from 1; a score that is no number is beaten by all
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (labels, said), 1)
    support = confusion.sum(1)
    return {
        "top1": 100 * hits / len(labels),
        "top5": 100 * float(((rank <= 5) | (said == labels)).mean()),
        "interval95": [100 * bound for bound in wilson(hits, len(labels))],
        "per_class": [
            100 * int(confusion[c, c]) / int(support[c]) if support[c] else None for c in range(len(classes))
        ],
        "classes": list(classes),
        "confusion": confusion.tolist(),
        "clips": len(labels),
    }


def spread(top1: Sequence[float]) -> dict[str, Any]:
    """Several draws of one number: top1 their mean, deviation their standard deviation (n - 1; null for one)."""
    return {"top1": statistics.fmean(top1), "deviation": statistics.stdev(top1) if len(top1) > 1 else None}


def wilson(hits: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927): honest near 0 and 1 and for few trials."""
    share, weight = hits / trials, z * z / trials
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)
