"""Augmentation: random temporal crop (mirrored at the ends) and random shear of each clip.

Batched functions of clips (N, C, T, V, M) and of random numbers (`counter_rng.uniform`), on any device.
"""

from typing import Final

import torch
from torch import Tensor

from trainer.config.method import AugmentConfig

DRAWS_PER_VIEW: Final = 7
"""Random numbers per view: one for the crop, then six for the shear."""


def random_view(x: Tensor, uniforms: Tensor, config: AugmentConfig) -> Tensor:
    """Return one random view of each clip.

    Args:
        x: (N, C, T, V, M), C = 3; zeros stay zeros.
        uniforms: (N, COUNT) in [0, 1).
        config: amplitudes of crop and shear.

    Returns:
        (N, C, T, V, M).
    """
    return shear(crop(x, uniforms[:, 0], config.crop_ratio), uniforms[:, 1:], config.shear)


def crop(x: Tensor, uniforms: Tensor, ratio: int) -> Tensor:
    """Shift each clip in time by up to T // ratio frames in either direction.

    Beyond an end, the clip is mirrored and its edge frame repeated, as in the reference's temporal crop.

    Args:
        x: (N, C, T, V, M).
        uniforms: (N,) in [0, 1), mapped evenly to the 2 * (T // ratio) + 1 shifts.
        ratio: see `AugmentConfig.crop_ratio`; if it is larger than T, x is unchanged.

    Returns:
        (N, C, T, V, M).
    """
    N, C, frames = x.shape[:3]
    max_shift = frames // ratio
    # The product can round up to the number of shifts.
    start = (uniforms * (2 * max_shift + 1)).long().clamp(max=2 * max_shift) - max_shift
    frame = start[:, None] + torch.arange(frames, device=x.device)
    frame = torch.where(frame < 0, -1 - frame, frame)
    frame = torch.where(frame >= frames, 2 * frames - 1 - frame, frame)  # (N, T)
    # Copying whole frames is seven times as fast on a CPU as gathering single numbers.
    rows = torch.arange(N * C, device=x.device).view(N, C, 1) * frames + frame[:, None]
    return x.reshape(N * C * frames, -1).index_select(0, rows.flatten()).view_as(x)


def shear(x: Tensor, uniforms: Tensor, amplitude: float) -> Tensor:
    """Multiply each clip's points by a matrix with ones on the diagonal and U(-amplitude, amplitude) elsewhere.

    Args:
        x: (N, 3, T, V, M).
        uniforms: (N, 6) in [0, 1), for the entries off the diagonal, row by row.
        amplitude: see `AugmentConfig.shear`.

    Returns:
        (N, 3, T, V, M).
    """
    drawn = amplitude * (2 * uniforms.to(x.dtype) - 1)
    one = torch.ones_like(drawn[:, 0])
    a, b, c, d, e, f = drawn.unbind(1)
    matrix = torch.stack([one, a, b, c, one, d, e, f, one], dim=1).view(-1, 3, 3)
    return (matrix @ x.flatten(2)).view_as(x)
