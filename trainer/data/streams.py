"""Joint, motion and bone: what of a clip the encoder is shown, derived after augmentation and never stored."""

from typing import assert_never

import torch
from torch import Tensor

from pipeline.skeleton.layout import Layout
from trainer.config.method import Stream


def derive_stream(x: Tensor, stream: Stream, layout: Layout) -> Tensor:
    """One stream of a batch of positions.

    Args:
        x: (N, C, T, V, M) positions.
        stream: joint, the positions themselves; motion, the way to the next frame (the last frame 0); bone, the way
            from each joint's parent (the root 0).
        layout: whose joints and parents these are.

    Returns:
        (N, C, T, V, M).
    """
    if stream == "joint":
        return x
    if stream == "motion":
        motion = torch.zeros_like(x)
        motion[:, :, :-1] = x[:, :, 1:] - x[:, :, :-1]
        return motion
    if stream == "bone":
        parents = [joint if parent == -1 else parent for joint, parent in enumerate(layout.parents)]
        return x - x[:, :, :, parents]
    assert_never(stream)
