"""The optimiser of a training, and its learning rate over the epochs."""

import math
from collections.abc import Iterable

import torch
from torch.nn import Parameter

from trainer.config.pretrain import PretrainConfig

WARMUP_START_FACTOR = 0.01
"""Share of the rate that a warm-up starts from: a rate of zero would make of the first step none."""


def build_optimiser(parameters: Iterable[Parameter], config: PretrainConfig) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum, as the configuration has it."""
    return torch.optim.SGD(
        parameters, lr=config.learning_rate, momentum=config.optimiser_momentum, weight_decay=config.weight_decay
    )


def learning_rate(config: PretrainConfig, epoch: float) -> float:
    """The rate at a moment, in epochs from the start (fractions count)."""
    rate = config.learning_rate
    if epoch < config.warm_up:
        rate *= WARMUP_START_FACTOR + (1 - WARMUP_START_FACTOR) * epoch / config.warm_up
    if config.schedule == "cosine":
        return rate * 0.5 * (1 + math.cos(math.pi * epoch / config.epochs))
    return rate * 0.1 ** sum(milestone <= epoch for milestone in config.milestones)
