"""Linear evaluation: one linear layer on frozen, cached features, trained as the reference trains it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from trainer.replay import Replay


class LinearConfig(BaseModel):
    """The reference's optimiser (czhaneva/SkeleMixCLR, linear evaluation configuration)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(default=150, ge=1)
    learning_rate: float = Field(default=3.0, gt=0)
    decay_at: float = Field(default=80 / 150, ge=0, le=1)
    """Share of the epochs after which the rate is a tenth."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    batch_size: int = Field(default=128, ge=1)
    init_std: float = Field(default=0.02, ge=0)


REFERENCE = LinearConfig()


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """A trained linear classifier and how its test accuracy went."""

    scores: Tensor
    """(N, classes) of the test features after the last epoch."""
    test_top1: list[float]
    """Per cent after every epoch. Choosing the best of them is choosing on the test set."""
    weight: Tensor
    """(classes, D) after the last epoch."""
    bias: Tensor
    """(classes,)."""


def fit(
    train: Tensor,
    labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    classes: int,
    seed: int = 0,
    config: LinearConfig = REFERENCE,
) -> Fitted:
    """Train a linear classifier on features (R, D) and score the test features (N, D) after every epoch."""
    generator = torch.Generator().manual_seed(seed)
    weight = (
        torch.randn(classes, train.shape[1], generator=generator)
        .mul_(config.init_std)
        .to(train.device)
        .requires_grad_()
    )
    bias = torch.zeros(classes, device=train.device, requires_grad=True)
    optimiser = torch.optim.SGD(
        [weight, bias], lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )

    def step(chosen: Tensor) -> tuple[()]:
        loss = cross_entropy(train[chosen] @ weight.T + bias, labels[chosen])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        return ()

    moved = [weight, bias]
    if train.is_cuda:  # the optimiser's momenta, which it would make at its first step
        for parameter in (weight, bias):
            optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            moved.append(optimiser.state[parameter]["momentum_buffer"])
    whole_step: Callable[[Tensor], tuple[Tensor, ...]] = step
    recorded_at = None
    curve = []
    scores = test @ weight.detach().T
    for epoch in range(config.epochs):
        rate = config.learning_rate * (0.1 if epoch >= round(config.decay_at * config.epochs) else 1.0)
        for group in optimiser.param_groups:
            group["lr"] = rate
        if train.is_cuda and rate != recorded_at:  # a recorded step keeps its rate
            whole_step, recorded_at = Replay(step, moved), rate
        for chosen in torch.split(torch.randperm(len(train), generator=generator).to(train.device), config.batch_size):
            (whole_step if len(chosen) == config.batch_size else step)(chosen)
        with torch.no_grad():
            scores = test @ weight.T + bias
            curve.append(100 * float((scores.argmax(1) == test_labels).float().mean()))
    return Fitted(scores=scores.cpu(), test_top1=curve, weight=weight.detach().cpu(), bias=bias.detach().cpu())
