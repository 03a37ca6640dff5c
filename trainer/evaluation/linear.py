"""Linear evaluation: one linear layer on frozen, cached features, trained as the reference trains it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import cross_entropy

from trainer.config.evaluation import LinearConfig

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
    start = torch.randn(classes, train.shape[1], generator=generator).mul_(config.init_std).to(train)
    # A GPU works for a few microseconds on each of a step's kernels, and starting one takes longer: few make it fast.
    steps = (_ManualStep if train.is_cuda else _AutogradStep)(start, train, labels, config)
    curve = []
    scores = test @ start.T
    for epoch in range(config.epochs):
        rate = config.learning_rate * (0.1 if epoch >= round(config.decay_at * config.epochs) else 1.0)
        for chosen in torch.split(torch.randperm(len(train), generator=generator).to(train.device), config.batch_size):
            steps.take(chosen, rate)
        with torch.no_grad():
            scores = test @ steps.weight.T + steps.bias
            curve.append(100 * float((scores.argmax(1) == test_labels).float().mean()))
    weight, bias = steps.weight.detach().cpu(), steps.bias.detach().cpu()
    return Fitted(scores=scores.cpu(), test_top1=curve, weight=weight, bias=bias)


class _AutogradStep:
    """Steps by torch's own derivative and optimiser; the weights start at (classes, D), the bias at zeros."""

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

    def take(self, chosen: Tensor, rate: float) -> None:
        """One step on the features of some rows."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = cross_entropy(self.train[chosen] @ self.weight.T + self.bias, self.labels[chosen])
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        self.optimiser.step()


class _ManualStep:
    """The same steps in seven kernels: the bias a column of the weights, the loss's derivative written out."""

    def __init__(self, start: Tensor, train: Tensor, labels: Tensor, config: LinearConfig) -> None:
        self.config = config
        self.rows = functional.pad(train, (0, 1), value=1.0)
        self.wanted = functional.one_hot(labels, len(start)).to(train)
        self.both = functional.pad(start, (0, 1))
        self.momenta = torch.zeros_like(self.both)
        self.weight, self.bias = self.both[:, :-1], self.both[:, -1]

    def take(self, chosen: Tensor, rate: float) -> None:
        """One step on the features of some rows."""
        rows, config = self.rows[chosen], self.config
        apart = functional.softmax(rows @ self.both.T, dim=1).sub_(self.wanted[chosen])  # derivative by the scores
        self.momenta.addmm_(apart.T, rows, beta=config.momentum, alpha=1 / len(rows))
        if config.weight_decay:
            self.momenta.add_(self.both, alpha=config.weight_decay)
        self.both.sub_(self.momenta, alpha=rate)
