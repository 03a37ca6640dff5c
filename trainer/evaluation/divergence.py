"""Stop an evaluation when a training on labels diverges, or when features are NaN or infinite."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from pipeline.errors import NotFinite
from trainer.runs.safetensors_file import first_not_finite


def require_finite_training(tensors: Mapping[str, Tensor], epoch: int) -> None:
    """Check the tensors of a training after an epoch, counted from 1.

    Raises:
        NotFinite: one has a NaN or infinite value.
    """
    if name := first_not_finite(tensors):
        raise NotFinite(f"the training diverged: {name} is not finite after epoch {epoch}; lower the learning rate")


def require_finite_features(features: Tensor) -> None:
    """Check features (N, D) of clips.

    Raises:
        NotFinite: a clip has a NaN or infinite feature, or features so large that their length overflows, so that
            clips cannot be compared by cosine similarity.
    """
    bad = int((~torch.isfinite(torch.linalg.vector_norm(features, dim=1))).sum())
    if bad:
        raise NotFinite(
            f"the encoder's features of {bad} of {len(features)} clips are not finite or too large: the encoder is"
            " damaged, or these clips have extreme coordinates"
        )


@contextmanager
def named_errors(title: str) -> Iterator[None]:
    """Put the protocol and the row of the results before the message of `NotFinite`."""
    try:
        yield
    except NotFinite as error:
        raise NotFinite(f"{title}: {error}") from error
