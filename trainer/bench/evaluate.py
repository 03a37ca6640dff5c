"""How fast features are taken and judged, at NTU-60's size. For `skelepipe bench eval`."""

import torch
from torch import Tensor

from pipeline.skeleton.layout import KINECT_V2
from trainer.bench.timing import Progress, Row, Way, time_interleaved
from trainer.config.evaluation import LinearConfig
from trainer.config.model import EncoderConfig
from trainer.evaluation import features, linear
from trainer.evaluation.knn import weighted_knn
from trainer.models.encoder import Encoder

TRAIN, TEST, CLASSES = 40_091, 16_487, 60
"""Clips and classes of NTU-60 xsub."""
CLIPS = 256
ALONE = 0.8
"""Share of clips with one person: 49 of NTU-60's 60 classes."""


def bench_evaluate(rounds: int, progress: Progress, device: torch.device, *, small: bool = False) -> list[Row]:
    """Time the encoder on clips most of which have one person, and protocols on random features."""
    return encoding(rounds, progress, device, small=small) + judging(rounds, progress, device, small=small)


def encoding(rounds: int, progress: Progress, device: torch.device, *, small: bool) -> list[Row]:
    """The encoder by its plain equations, fast, and fast with absent bodies encoded once."""
    config = EncoderConfig(hidden_channels=2, hidden_dim=8) if small else EncoderConfig()
    torch.manual_seed(0)
    encoder = Encoder(KINECT_V2, config).to(device)
    count, frames = (8, 16) if small else (CLIPS, 64)
    clips = torch.randn(count, 3, frames, len(KINECT_V2.joints), 2)
    clips[: round(ALONE * count), ..., 1] = 0

    def by(fast: bool, skip_absent: bool) -> None:
        encoder.fast, encoder.skip_absent = fast, skip_absent
        features.extract(encoder, clips)

    size = f"{count} clips, T {frames}, {ALONE:.0%} with one body"
    return time_interleaved(
        [
            Way("features, plain, every body", size, "clips/s", count, lambda: by(False, False)),
            Way("features, fast, every body", size, "clips/s", count, lambda: by(True, False)),
            Way("features, fast, absent bodies once", size, "clips/s", count, lambda: by(True, True)),
        ],
        rounds,
        progress,
    )


def judging(rounds: int, progress: Progress, device: torch.device, *, small: bool) -> list[Row]:
    """Linear evaluation with the reference's optimiser, and nearest neighbours, on cached features."""
    train, labels = _features(400 if small else TRAIN, seed=1)
    test, test_labels = _features(200 if small else TEST, seed=2)
    train, labels, test, test_labels = (tensor.to(device) for tensor in (train, labels, test, test_labels))
    config = LinearConfig(epochs=3) if small else linear.DEFAULTS

    def fit() -> None:
        linear.fit(train, labels, test, test_labels, CLASSES, config=config)

    def vote() -> None:
        weighted_knn(train, labels, test, CLASSES).cpu()

    size = f"{len(train):,} and {len(test):,} x {train.shape[1]}"
    ways = [
        Way(f"linear, {config.epochs} epochs", size, "s", None, fit),
        Way("kNN, k 20", size, "s", None, vote),
    ]
    return time_interleaved(ways, rounds, progress, ratios=False)


def _features(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features around a mean for each class, (count, 256), and labels (count,)."""
    means = torch.randn(CLASSES, 256, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return means[labels] + 4 * torch.randn(count, 256, generator=generator), labels
