"""The optimiser and the learning-rate schedule of pre-training."""

import math
from collections.abc import Iterable

import torch
from torch.nn import Parameter

from trainer.config.pretrain import PretrainConfig

WARMUP_START_FACTOR = 0.01
"""Learning rate at the start of a warm-up, relative to the full rate; at zero the first step would do nothing."""


def build_optimiser(parameters: Iterable[Parameter], config: PretrainConfig) -> torch.optim.Optimizer:
    """Build stochastic gradient descent with the configured momentum and weight decay."""
    return torch.optim.SGD(
        parameters, lr=config.learning_rate, momentum=config.optimiser_momentum, weight_decay=config.weight_decay
    )


def learning_rate(config: PretrainConfig, epoch: float) -> float:
    """The learning rate after `epoch` epochs, which may be a fraction."""
    rate = config.learning_rate
    if epoch < config.warm_up:
        rate *= WARMUP_START_FACTOR + (1 - WARMUP_START_FACTOR) * epoch / config.warm_up
    if config.schedule == "cosine":
        return rate * 0.5 * (1 + math.cos(math.pi * epoch / config.epochs))
    return rate * 0.1 ** sum(milestone <= epoch for milestone in config.milestones)
