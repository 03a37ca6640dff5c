"""Input streams joint, motion and bone, derived from positions after augmentation and never stored."""

from typing import assert_never

import torch
from torch import Tensor

from pipeline.skeleton.layout import Layout
from trainer.config.method import Stream


def derive_stream(x: Tensor, stream: Stream, layout: Layout) -> Tensor:
    """Derive an input stream from a batch of positions.

    Args:
        x: (N, C, T, V, M) positions.
        stream: `joint`: the positions themselves; `motion`: the difference to the next frame (0 in the last frame);
            `bone`: the vector from each joint's parent (0 for the root).
        layout: skeleton layout of the clips.

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
