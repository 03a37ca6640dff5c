"""The learning rate over a training."""

import math

from trainer.config import PretrainConfig


def learning_rate(config: PretrainConfig, epoch: float) -> float:
    """The rate at a moment, in epochs from the start (fractions count)."""
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / config.epochs))
