"""Training a whole encoder with labels: fine-tuning a pre-trained one, or the same architecture from its start."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainer.config.evaluation import FinetuneConfig
from trainer.config.method import AugmentConfig
from trainer.data import augment, counter_rng
from trainer.evaluation import features
from trainer.models.encoder import Encoder


@dataclass(frozen=True, kw_only=True, slots=True)
class Sides:
    """Labelled clips to train on and to test on."""

    train: Tensor
    """(R, 3, T, V, M) positions in metres."""
    train_labels: Tensor
    """(R,) from 0."""
    test: Tensor
    """(N, 3, T, V, M)."""
    test_labels: Tensor
    """(N,)."""
    classes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Finetuned:
    """A trained network and how its test accuracy went."""

    encoder: Encoder
    weight: Tensor
    """(classes, D)."""
    bias: Tensor
    """(classes,)."""
    scores: Tensor
    """(N, classes) of the test clips after the last epoch."""
    test_top1: dict[int, float]
    """Epoch, from 1, to per cent. Choosing the best of them is choosing on the test set."""


def fit(
    start: Encoder,
    sides: Sides,
    show: Callable[[Tensor], Tensor],
    config: FinetuneConfig,
    *,
    views: AugmentConfig,
    seed: int,
    progress: Callable[[int, int], None] = lambda epoch, epochs: None,
) -> Finetuned:
    """Train a copy of an encoder and a new linear classifier on its backbone; a function of its arguments on a CPU.

    Args:
        start: where to begin; stays as it is.
        sides: the clips.
        show: positions to what the encoder is shown: the run's stream.
        config: the optimiser.
        views: how far views stray, when they are asked for.
        seed: of the classifier's start, the order of clips, views and dropout.
        progress: told after every epoch.
    """
    encoder = copy.deepcopy(start)
    device = next(encoder.parameters()).device
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        layer = nn.Linear(encoder.config.hidden_dim, sides.classes)
        nn.init.normal_(layer.weight, 0.0, config.init_std)
        nn.init.zeros_(layer.bias)
        layer.to(device)
        network = [
            *(value for name, value in encoder.named_parameters() if not name.startswith("head.")),
            *layer.parameters(),
        ]
        optimiser = torch.optim.SGD(
            network,
            lr=config.learning_rate,
            momentum=config.optimiser_momentum,
            weight_decay=config.weight_decay,
            nesterov=config.nesterov,
        )
        curve: dict[int, float] = {}
        scores = torch.empty(0)
        for epoch in range(config.epochs):
            for group in optimiser.param_groups:
                group["lr"] = rate(config, epoch)
            encoder.train(not config.frozen_statistics)
            order = torch.randperm(len(sides.train))
            for chosen in order.tensor_split(math.ceil(len(order) / config.batch_size)):
                clips = sides.train[chosen].to(device)
                if config.augmented:
                    uniforms = counter_rng.uniform(seed, epoch, chosen.to(device), 0, augment.DRAWS_PER_VIEW)
                    clips = augment.random_view(clips, uniforms, views)
                with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                    scores = layer(encoder.backbone(show(clips)))
                loss = cross_entropy(scores.float(), sides.train_labels[chosen].to(device))
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
            if (epoch + 1) % config.test_every == 0 or epoch + 1 == config.epochs:
                scores = _scores(encoder, layer, sides.test, show, device)
                curve[epoch + 1] = 100 * float((scores.argmax(1) == sides.test_labels).float().mean())
            progress(epoch + 1, config.epochs)
    return Finetuned(
        encoder=encoder.eval(),
        weight=layer.weight.detach().cpu(),
        bias=layer.bias.detach().cpu(),
        scores=scores,
        test_top1=curve,
    )


def rate(config: FinetuneConfig, epoch: int) -> float:
    """The learning rate of an epoch, from 0."""
    rising = round(config.warm_up * config.epochs)
    fallen = sum(epoch >= round(share * config.epochs) for share in config.decay_at)
    return config.learning_rate * min(1.0, (epoch + 1) / max(rising, 1)) * 0.1**fallen


@torch.no_grad()
def _scores(
    encoder: Encoder, layer: nn.Linear, clips: Tensor, show: Callable[[Tensor], Tensor], device: torch.device
) -> Tensor:
    """(N, classes) float32 on the CPU, each clip on its own."""
    encoder.eval()
    return torch.cat(
        [
            layer(encoder.backbone(show(block.to(device)))).cpu()
            for block in torch.split(clips, features.batch_clips(device))
        ]
    )
