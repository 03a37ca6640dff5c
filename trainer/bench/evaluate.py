"""Benchmark of evaluation for `skelepipe bench eval`: features, linear evaluation and kNN at NTU-60's size."""

import torch
from torch import Tensor

from pipeline.skeleton.layout import KINECT_V2
from trainer.bench.timing import Progress, Row, Variant, time_interleaved
from trainer.config.evaluation import LinearConfig
from trainer.config.model import EncoderConfig
from trainer.evaluation import features, linear
from trainer.evaluation.knn import weighted_knn
from trainer.models.encoder import Encoder

TRAIN_CLIPS, TEST_CLIPS, CLASSES = 40_091, 16_487, 60
"""NTU-60 xsub."""
ENCODED_CLIPS = 256
ONE_PERSON_FRACTION = 0.8
"""Fraction of clips with one person: 49 of the 60 classes of NTU-60."""


def bench_evaluate(rounds: int, progress: Progress, device: torch.device, *, small: bool = False) -> list[Row]:
    """Measure the encoder on clips of mostly one person, and the protocols on random features."""
    return bench_encoder(rounds, progress, device, small=small) + bench_protocols(rounds, progress, device, small=small)


def bench_encoder(rounds: int, progress: Progress, device: torch.device, *, small: bool) -> list[Row]:
    """Measure the plain encoder, the fast one, and the fast one that encodes absent bodies only once."""
    config = EncoderConfig(hidden_channels=2, hidden_dim=8) if small else EncoderConfig()
    torch.manual_seed(0)
    encoder = Encoder(KINECT_V2, config).to(device)
    count, frames = (8, 16) if small else (ENCODED_CLIPS, 64)
    clips = torch.randn(count, 3, frames, len(KINECT_V2.joints), 2)
    clips[: round(ONE_PERSON_FRACTION * count), ..., 1] = 0

    def extract(fast: bool, skip_absent: bool) -> None:
        encoder.fast, encoder.skip_absent = fast, skip_absent
        features.extract(encoder, clips)

    size = f"{count} clips, T {frames}, {ONE_PERSON_FRACTION:.0%} with one body"
    return time_interleaved(
        [
            Variant("features, plain, every body", size, "clips/s", count, lambda: extract(False, False)),
            Variant("features, fast, every body", size, "clips/s", count, lambda: extract(True, False)),
            Variant("features, fast, absent bodies once", size, "clips/s", count, lambda: extract(True, True)),
        ],
        rounds,
        progress,
    )


def bench_protocols(rounds: int, progress: Progress, device: torch.device, *, small: bool) -> list[Row]:
    """Measure linear evaluation with the optimiser of the released code, and kNN, on random features."""
    train, labels = _features(400 if small else TRAIN_CLIPS, seed=1)
    test, test_labels = _features(200 if small else TEST_CLIPS, seed=2)
    train, labels, test, test_labels = (tensor.to(device) for tensor in (train, labels, test, test_labels))
    config = LinearConfig(epochs=3) if small else linear.DEFAULTS

    def fit() -> None:
        linear.fit(train, labels, test, test_labels, CLASSES, config=config)

    def vote() -> None:
        weighted_knn(train, labels, test, CLASSES).cpu()

    size = f"{len(train):,} and {len(test):,} x {train.shape[1]}"
    variants = [
        Variant(f"linear, {config.epochs} epochs", size, "s", None, fit),
        Variant("kNN, k 20", size, "s", None, vote),
    ]
    return time_interleaved(variants, rounds, progress, ratios=False)


def _features(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return random features (count, 256) around a mean for each class, and labels (count,)."""
    means = torch.randn(CLASSES, 256, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return means[labels] + 4 * torch.randn(count, 256, generator=generator), labels
