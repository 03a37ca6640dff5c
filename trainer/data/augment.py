"""A random view of each clip: a temporal crop of the clip mirrored at its ends, and a shear.

Batched functions of clips (N, C, T, V, M) and of numbers drawn beforehand (`draws.uniform`), on any device.
"""

from typing import Final

import torch
from torch import Tensor

from trainer.config.method import AugmentConfig

DRAWS_PER_VIEW: Final = 7
"""Numbers that one view takes: the crop's start, then the shear's six."""


def random_view(x: Tensor, uniforms: Tensor, config: AugmentConfig) -> Tensor:
    """One view of each clip.

    Args:
        x: (N, C, T, V, M), C = 3; zeros stay zeros.
        uniforms: (N, COUNT) in [0, 1).
        config: how far to stray.

    Returns:
        (N, C, T, V, M).
    """
    return shear(crop(x, uniforms[:, 0], config.crop_ratio), uniforms[:, 1:], config.shear)


def crop(x: Tensor, uniforms: Tensor, ratio: int) -> Tensor:
    """Move each clip in time by up to T // ratio frames either way.

    Beyond an end the clip runs backwards, its edge frame repeated: the reference's crop of a mirrored clip.

    Args:
        x: (N, C, T, V, M).
        uniforms: (N,) in [0, 1), spread evenly over the 2 * (T // ratio) + 1 shifts.
        ratio: as `AugmentConfig.crop_ratio`; over T it leaves x as it is.

    Returns:
        (N, C, T, V, M).
    """
    N, C, frames = x.shape[:3]
    reach = frames // ratio
    # A product just under the count of shifts may round up to it.
    start = (uniforms * (2 * reach + 1)).long().clamp(max=2 * reach) - reach
    frame = start[:, None] + torch.arange(frames, device=x.device)
    frame = torch.where(frame < 0, -1 - frame, frame)
    frame = torch.where(frame >= frames, 2 * frames - 1 - frame, frame)  # (N, T)
    # Whole frames are copied: seven times as fast on a CPU as to gather number by number.
    rows = torch.arange(N * C, device=x.device).view(N, C, 1) * frames + frame[:, None]
    return x.reshape(N * C * frames, -1).index_select(0, rows.flatten()).view_as(x)


def shear(x: Tensor, uniforms: Tensor, amplitude: float) -> Tensor:
    """Multiply each clip's points by a matrix with ones on its diagonal and U(-amplitude, amplitude) off it.

    Args:
        x: (N, 3, T, V, M).
        uniforms: (N, 6) in [0, 1), for the entries off the diagonal, row by row.
        amplitude: as `AugmentConfig.shear`.

    Returns:
        (N, 3, T, V, M).
    """
    drawn = amplitude * (2 * uniforms.to(x.dtype) - 1)
    one = torch.ones_like(drawn[:, 0])
    a, b, c, d, e, f = drawn.unbind(1)
    matrix = torch.stack([one, a, b, c, one, d, e, f, one], dim=1).view(-1, 3, 3)
    return (matrix @ x.flatten(2)).view_as(x)
