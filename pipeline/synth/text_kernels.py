"""Compiled loops that format the rows of synthetic recordings as NTU RGB+D and PKU-MMD print them."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

ROW_BYTES = 11 * 14 + 3
"""Maximum length of a joint row: eleven numbers of at most 13 characters with a blank each, a state, CR, LF."""

_POWERS = 10.0 ** np.arange(23)  # exact in binary


@njit(cache=True)
def write_joint_rows(
    numbers: NDArray[np.float32], states: NDArray[np.int8], out: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Write bodies' joint rows one after another.

    Args:
        numbers: (B, V, 11) finite; each 0 or of a size in 1e-16..1e7.
        states: (B, V) one digit each.
        out: where the text goes, at least B * V * ROW_BYTES long.

    Returns:
        (B,) where each body's rows end in `out`.
    """
    ends = np.empty(numbers.shape[0], np.int64)
    at = 0
    for body in range(numbers.shape[0]):
        for joint in range(numbers.shape[1]):
            for column in range(numbers.shape[2]):
                at = _write_g7(np.float64(numbers[body, joint, column]), out, at)
                out[at] = 32
                at += 1
            out[at] = 48 + states[body, joint]
            out[at + 1] = 13
            out[at + 2] = 10
            at += 3
        ends[body] = at
    return ends


@njit(cache=True)
def _write_g7(value: float, out: NDArray[np.uint8], at: int) -> int:
    """Write a number as .NET's G7 does: seven significant digits, no idle zeros, `E-05` below 1e-4; return its end."""
    if value == 0.0:
        out[at] = 48
        return at + 1
    if value < 0.0:
        out[at] = 45
        at += 1
    size = abs(value)
    exponent = int(np.floor(np.log10(size)))
    digits = int(np.rint(size * _POWERS[6 - exponent]))
    if digits < 1_000_000:  # the logarithm came out a hair too high
        exponent -= 1
        digits = int(np.rint(size * _POWERS[6 - exponent]))
    elif digits >= 10_000_000:  # or rounding carried over
        exponent += 1
        digits = 1_000_000
    kept = 7
    while kept > 1 and digits % 10 == 0:
        digits //= 10
        kept -= 1
    whole = 1 if exponent < -4 else exponent + 1  # digits before the point
    if whole <= 0:
        out[at] = 48
        out[at + 1] = 46
        out[at + 2 : at + 2 - whole] = 48
        at += 2 - whole
    written = max(kept, whole)
    width = written + (1 if 0 < whole < kept else 0)
    for place in range(written - 1, -1, -1):
        digit = 0
        if place < kept:
            digit = digits % 10
            digits //= 10
        out[at + place + (1 if 0 < whole <= place else 0)] = 48 + digit
    if 0 < whole < kept:
        out[at + whole] = 46
    at += width
    if exponent < -4:
        out[at] = 69
        out[at + 1] = 45
        out[at + 2] = 48 + (-exponent) // 10
        out[at + 3] = 48 + (-exponent) % 10
        at += 4
    return at


FIXED_BYTES = 12
"""The longest a number of a PKU-MMD row can be: a separator, a minus, three digits, a point, six digits."""


@njit(cache=True)
def write_fixed_rows(numbers: NDArray[np.float32], out: NDArray[np.uint8]) -> int:
    """Write rows as `%.6f` with blanks between; each row but the first begins with one, too. Return the text's end.

    Args:
        numbers: (T, F) finite and below 1000 in size.
        out: where the text goes, at least T * (F * FIXED_BYTES + 1) long.
    """
    at = 0
    for row in range(numbers.shape[0]):
        for column in range(numbers.shape[1]):
            if row + column > 0:
                out[at] = 32
                at += 1
            value = np.float64(numbers[row, column])
            if value < 0.0:
                out[at] = 45
                at += 1
            digits = int(np.rint(abs(value) * 1e6))  # a float32 times a million is exact in a double
            width = 7
            while width < 9 and digits >= _POWERS[width]:
                width += 1
            for place in range(width, -1, -1):
                if place == width - 6:
                    out[at + place] = 46
                else:
                    out[at + place] = 48 + digits % 10
                    digits //= 10
            at += width + 1
        out[at] = 10
        at += 1
    return at
