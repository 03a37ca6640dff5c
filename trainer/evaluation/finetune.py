"""Fine-tuning: train a whole encoder with labels, from pre-trained or from initial weights."""

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
from trainer.data.stored_clips import Clips, read_batches, read_blocks
from trainer.evaluation import features
from trainer.evaluation.divergence import require_finite_training
from trainer.evaluation.training_state import TrainingProgress, TrainingState
from trainer.models.encoder import Encoder


@dataclass(frozen=True, kw_only=True, slots=True)
class Sides:
    """Labelled training and test clips."""

    train: Clips
    """(R, 3, T, V, M) positions in metres."""
    train_labels: Tensor
    """(R,) classes from 0."""
    test: Clips
    """(N, 3, T, V, M)."""
    test_labels: Tensor
    """(N,)."""
    classes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneResult:
    """A trained network and its test accuracy over the epochs."""

    encoder: Encoder
    weight: Tensor
    """(classes, D)."""
    bias: Tensor
    """(classes,)."""
    scores: Tensor
    """(N, classes) of the test clips after the last epoch."""
    test_top1: dict[int, float]
    """Per cent by epoch, from 1. Choosing the best epoch would be model selection on the test set."""


def fit(
    start: Encoder,
    sides: Sides,
    to_stream: Callable[[Tensor], Tensor],
    config: FinetuneConfig,
    *,
    views: AugmentConfig,
    seed: int,
    state: TrainingState | None = None,
    progress: Callable[[int, int], None] = lambda epoch, epochs: None,
) -> FinetuneResult:
    """Train a copy of an encoder with a new linear classifier on its backbone; deterministic on a CPU.

    Args:
        start: the encoder to copy; it is not changed.
        sides: the clips.
        to_stream: converts positions to the run's stream.
        config: the settings of the training.
        views: strength of the augmentations, if the settings ask for augmentation.
        seed: of the classifier's initial weights, the order of clips, augmentations and dropout.
        state: where the state of the training is kept; a training that was stopped continues with the same numbers.
        progress: called after every epoch with the number of finished epochs and their total.

    Raises:
        NotFinite: the training diverged.
        OutputFailed, OutputLocked: the state cannot be saved.
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
        modules = {"encoder": encoder, "layer": layer}
        resumed = state.load(modules, optimiser, device) if state else TrainingProgress(0, {})
        test_top1 = resumed.test_top1
        scores = torch.empty(0)
        for epoch in range(resumed.epoch, config.epochs):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(config, epoch)
            encoder.train(not config.frozen_statistics)
            order = torch.randperm(len(sides.train))
            batches = order.tensor_split(math.ceil(len(order) / config.batch_size))
            for chosen, positions in read_batches(sides.train, iter(batches)):
                clips = positions.to(device)
                if config.augmented:
                    uniforms = counter_rng.uniform(seed, epoch, chosen.to(device), 0, augment.DRAWS_PER_VIEW)
                    clips = augment.random_view(clips, uniforms, views)
                with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                    scores = layer(encoder.backbone(to_stream(clips)))
                loss = cross_entropy(scores.float(), sides.train_labels[chosen].to(device))
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
            if (epoch + 1) % config.test_every == 0 or epoch + 1 == config.epochs:
                scores = _scores(encoder, layer, sides.test, to_stream, device)
                weights = {f"the encoder's {name}": value for name, value in encoder.state_dict().items()}
                weights |= {"the classifier's weight": layer.weight, "the classifier's bias": layer.bias}
                require_finite_training({**weights, "a test score": scores}, epoch + 1)
                test_top1[epoch + 1] = 100 * float((scores.argmax(1) == sides.test_labels).float().mean())
                if state:
                    reached = TrainingProgress(epoch + 1, test_top1)
                    state.save(modules, optimiser, device, reached, is_last=epoch + 1 == config.epochs)
            progress(epoch + 1, config.epochs)
        if resumed.epoch == config.epochs:
            scores = _scores(encoder, layer, sides.test, to_stream, device)
    return FinetuneResult(
        encoder=encoder.eval(),
        weight=layer.weight.detach().cpu(),
        bias=layer.bias.detach().cpu(),
        scores=scores,
        test_top1=test_top1,
    )


def learning_rate(config: FinetuneConfig, epoch: int) -> float:
    """The learning rate of an epoch, from 0."""
    warm_up_epochs = round(config.warm_up * config.epochs)
    decays = sum(epoch >= round(share * config.epochs) for share in config.decay_at)
    return config.learning_rate * min(1.0, (epoch + 1) / max(warm_up_epochs, 1)) * 0.1**decays


@torch.no_grad()
def _scores(
    encoder: Encoder, layer: nn.Linear, clips: Clips, to_stream: Callable[[Tensor], Tensor], device: torch.device
) -> Tensor:
    """Class scores (N, classes), float32 on the CPU, independent for each clip."""
    encoder.eval()
    return torch.cat(
        [
            layer(encoder.backbone(to_stream(batch.to(device)))).cpu()
            for _, block in read_blocks(clips)
            for batch in torch.split(block, features.batch_clips(device))
        ]
    )
