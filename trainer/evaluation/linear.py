"""Linear evaluation: train one linear layer on frozen features with the settings of the reference."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import cross_entropy

from trainer.config.evaluation import LinearConfig
from trainer.evaluation.divergence import require_finite_training

DEFAULTS = LinearConfig()


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearResult:
    """A trained linear classifier and its test accuracy over the epochs."""

    scores: Tensor
    """(N, classes) of the test features after the last epoch."""
    test_top1: dict[int, float]
    """Per cent by epoch, from 1. Choosing the best epoch would be model selection on the test set."""
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
    config: LinearConfig = DEFAULTS,
) -> LinearResult:
    """Train a linear classifier on features (R, D), and score the test features (N, D) every few epochs.

    Raises:
        NotFinite: the training diverged.
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(classes, train.shape[1], generator=generator).mul_(config.init_std).to(train)
    # On a GPU launching a kernel takes longer than running it here, so fewer kernels make a step faster.
    stepper = (_ManualStep if train.is_cuda else _AutogradStep)(start, train, labels, config)
    test_top1: dict[int, float] = {}
    scores = test @ start.T
    used = len(train) - len(train) % config.batch_size if config.drop_last else 0
    for epoch in range(config.epochs):
        rate = config.learning_rate * (0.1 if epoch >= round(config.decay_at * config.epochs) else 1.0)
        order = torch.randperm(len(train), generator=generator)[: used or None].to(train.device)
        for chosen in torch.split(order, config.batch_size):
            stepper.step(chosen, rate)
        if (epoch + 1) % config.test_every == 0 or epoch + 1 == config.epochs:
            with torch.no_grad():
                scores = test @ stepper.weight.T + stepper.bias
                tensors = {"the weight": stepper.weight, "the bias": stepper.bias, "a test score": scores}
                require_finite_training(tensors, epoch + 1)
                test_top1[epoch + 1] = 100 * float((scores.argmax(1) == test_labels).float().mean())
    weight, bias = stepper.weight.detach().cpu(), stepper.bias.detach().cpu()
    return LinearResult(scores=scores.cpu(), test_top1=test_top1, weight=weight, bias=bias)


class _AutogradStep:
    """Steps with autograd and torch's optimiser. Weights (classes, D) start at `start`, the bias at zeros."""

    def __init__(self, start: Tensor, train: Tensor, labels: Tensor, config: LinearConfig) -> None:
        self.train, self.labels = train, labels
        self.weight = start.clone().requires_grad_()
        self.bias = start.new_zeros(len(start)).requires_grad_()
        self.optimiser = torch.optim.SGD(
            [self.weight, self.bias],
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )

    def step(self, chosen: Tensor, rate: float) -> None:
        """Train one step on the chosen rows of the training features."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = cross_entropy(self.train[chosen] @ self.weight.T + self.bias, self.labels[chosen])
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        self.optimiser.step()


class _ManualStep:
    """The same steps in seven kernels: the bias is a column of the weights, the gradient of the loss is written out."""

    def __init__(self, start: Tensor, train: Tensor, labels: Tensor, config: LinearConfig) -> None:
        self.config = config
        self.rows = functional.pad(train, (0, 1), value=1.0)
        self.targets = functional.one_hot(labels, len(start)).to(train)
        self.parameters = functional.pad(start, (0, 1))
        self.momenta = torch.zeros_like(self.parameters)
        self.weight, self.bias = self.parameters[:, :-1], self.parameters[:, -1]

    def step(self, chosen: Tensor, rate: float) -> None:
        """Train one step on the chosen rows of the training features."""
        rows, config = self.rows[chosen], self.config
        gradient = functional.softmax(rows @ self.parameters.T, dim=1).sub_(
            self.targets[chosen]
        )  # of the loss by the scores
        self.momenta.addmm_(gradient.T, rows, beta=config.momentum, alpha=1 / len(rows))
        if config.weight_decay:
            self.momenta.add_(self.parameters, alpha=config.weight_decay)
        self.parameters.sub_(self.momenta, alpha=rate)
