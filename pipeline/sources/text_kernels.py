"""Compiled loops over the bytes of skeleton texts, NTU RGB+D's and PKU-MMD's: from line to line, numbers exact.

Behind the text the buffer holds `PADDING` NUL bytes, and a NUL is no part of any field: every loop over characters
stops there by itself, and a block of 64 can be read from any place in the text. Arithmetic on masks and mantissas is
uint64 and may wrap. Functions that call each other share this file: numba's cache does not see an edit in another one.
"""

import numba
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Masks = NDArray[np.uint64]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Word = np.uint64

BLOCK = 64
PADDING = BLOCK

# What the walk ends with, and on which kind of line; pipeline/sources/ntu/parser.py and pku_text.py put it into words.
ACCEPTED, BAD_FIELD, WRONG_JOINTS, LINE_GOES_ON, FILE_GOES_ON = range(5)
FRAMES_LINE, BODIES_LINE, HEADER_LINE, JOINTS_LINE, JOINT_LINE, END = range(6)

TAB, LF, CR, SPACE, PLUS, MINUS, DOT, ZERO, NINE, E = 9, 10, 13, 32, 43, 45, 46, 48, 57, 101
NAN, INF, INFINITY = (np.frombuffer(word, np.uint8) for word in (b"nan", b"inf", b"infinity"))
COUNT_LIMIT, POWER_LIMIT = 10**9 - 1, 10**5
ID_LIMIT = 2**63 - 1
NOTHING, ONE, TEN, LAST_BIT = Word(0), Word(1), Word(10), Word(63)

# A product or quotient of two exact doubles is rounded once, hence correctly: mantissas to 2^53, powers to 10^22
# (Clinger, How to read floating point numbers accurately, 1990). Nineteen digits cannot wrap a uint64.
EXACT_MANTISSA, EXACT_DIGITS, EXACT_POWER = Word(2**53), 19, 22
POWERS = np.array([float(10**power) for power in range(EXACT_POWER + 1)])
# `d.dddddd` in a word, lowest byte first: digits' bytes become 0 to 9 and the point's nought, which is how the pattern
# is known; added up in pairs, fours and all eight, the digit before the point counts ten times too much.
FIXED_ZEROS, FIXED_BEYOND, FIXED_SHIFT = Word(0x3030303030302E30), Word(0x7676767676767F76), Word(9_000_000)
HIGH_BITS, SEVEN_BITS = Word(0x8080808080808080), Word(0x7F7F7F7F7F7F7F7F)
PAIRS, QUADS = Word(0x00FF00FF00FF00FF), Word(0x0000FFFF0000FFFF)

jit = numba.njit(cache=True, nogil=True)


@jit
def count_ones(mask: Word) -> int:
    """Number of set bits; LLVM knows this loop and makes it one instruction."""
    ones = 0
    while mask != NOTHING:
        mask &= mask - ONE
        ones += 1
    return ones


@jit
def mark(text: Bytes, marks: Masks) -> None:
    """Mark, one bit a byte, the spaces and whatever breaks a run of plain numbers with single spaces between them.

    Plain is an optional minus, digits, and at most one point that touches a digit. A breach is marked where it shows,
    at the latest one byte behind the character at fault. Everything else is marked too: line ends, which is how the
    end of a sound line is found, but also exponents, signs and words that the walk then reads with more care.
    """
    old_digits = old_points = old_minuses = old_spaces = old_bare = in_fraction = NOTHING
    for block in range(len(marks)):
        digits = points = minuses = blanks = NOTHING
        for place in range(BLOCK):  # vectorised by LLVM: 7 GB/s with AVX-512, 3 GB/s with AVX2
            char, bit = text[block * BLOCK + place], Word(place)
            digits |= Word((char >= ZERO) & (char <= NINE)) << bit
            points |= Word(char == DOT) << bit
            minuses |= Word(char == MINUS) << bit
            blanks |= Word(char == SPACE) << bit
        behind_digit = digits << ONE | old_digits
        behind_point = points << ONE | old_points
        behind_minus = minuses << ONE | old_minuses
        behind_space = blanks << ONE | old_spaces
        bare = points & ~behind_digit
        behind_bare = bare << ONE | old_bare
        # Adding a bit at the start of each fraction carries it through the digits to the character behind the fraction.
        starts = points << ONE | in_fraction
        carried = digits + starts
        broken = ~(digits | points | minuses | blanks)
        broken |= minuses & (behind_digit | behind_point | behind_minus)
        broken |= behind_minus & ~(digits | points)
        broken |= behind_bare & ~digits
        broken |= blanks & behind_space
        broken |= carried & ~digits & points
        marks[block, 0], marks[block, 1] = broken, blanks
        in_fraction = points >> LAST_BIT | Word(carried < digits)
        old_digits, old_points = digits >> LAST_BIT, points >> LAST_BIT
        old_minuses, old_spaces, old_bare = minuses >> LAST_BIT, blanks >> LAST_BIT, bare >> LAST_BIT


@jit
def sound_end(marks: Masks, at: int) -> tuple[int, int]:
    """The first unsound byte from `at` on (the padding is unsound, so there is one), and the spaces before it."""
    block, shift = at // BLOCK, Word(at % BLOCK)
    broken, passed = marks[block, 0] >> shift << shift, marks[block, 1] >> shift << shift
    blanks = 0
    while broken == NOTHING:
        blanks += count_ones(passed)
        block += 1
        broken, passed = marks[block, 0], marks[block, 1]
    before_end = (broken - ONE) & ~broken
    return block * BLOCK + count_ones(before_end), blanks + count_ones(passed & before_end)


@jit
def read_sound(
    text: Bytes, at: int, joint: int, row: int, marks: Masks, xyz: Floats, tracking: NDArray[np.int8]
) -> tuple[int, int]:
    """Read joint rows from `joint` on while they are sound and their coordinates short; joint and place reached.

    This is nearly every row, so speed is made here. Functions with loops over the text stay outside: numba would count
    references to it, atomically, at each call, which takes as long as all the rest.
    """
    joints = tracking.shape[1]
    while joint < joints:
        start = at
        end, blanks = sound_end(marks, at)
        after = end + 1 + (text[end] == CR)
        state = int(text[end - 1]) - ZERO
        if blanks != 11 or text[end - 2] != SPACE or text[after - 1] != LF or state < 0 or state > 2:
            break
        is_plain = True
        for axis in range(3):
            first = at
            negative = text[at] == MINUS
            at += negative
            mantissa = NOTHING
            while text[at] >= ZERO:
                mantissa = mantissa * TEN + (Word(text[at]) - Word(ZERO))
                at += 1
            # Only noted: a branch here would make the rest wait for the answer, at a third of the speed.
            point, has_point = at, text[at] == DOT
            at += 1
            while text[at] >= ZERO:
                mantissa = mantissa * TEN + (Word(text[at]) - Word(ZERO))
                at += 1
            is_plain &= has_point & (at - first <= EXACT_DIGITS) & (mantissa <= EXACT_MANTISSA)
            value = np.float64(mantissa) / POWERS[min(at - point - 1, EXACT_POWER)]
            xyz[(row * joints + joint) * 3 + axis] = -value if negative else value
            at += 1
        if not is_plain:
            return joint, start
        tracking[row, joint] = state
        joint += 1
        at = after
    return joint, at


@jit
def skip_blanks(text: Bytes, at: int) -> int:
    """Where the spaces and tabs end."""
    while text[at] == SPACE or text[at] == TAB:
        at += 1
    return at


@jit
def ends_line(text: Bytes, at: int, size: int) -> bool:
    """Whether there is LF, CRLF, or the end of the file with or without CR."""
    if text[at] == CR:
        return at + 1 >= size or text[at + 1] == LF
    return text[at] == LF or at >= size


@jit
def ends_field(text: Bytes, at: int, size: int) -> bool:
    """Whether a field can end here."""
    return text[at] == SPACE or text[at] == TAB or ends_line(text, at, size)


@jit
def next_line(text: Bytes, at: int, size: int) -> int:
    """Start of the next line (the size when there is none), or -1 when this line goes on."""
    at = skip_blanks(text, at)
    if not ends_line(text, at, size):
        return -1
    if text[at] == CR:
        at += 1
    return min(at + 1, size)


@jit
def read_digits(text: Bytes, at: int, mantissa: Word) -> tuple[int, Word]:
    """End of the digits, and the mantissa with them appended."""
    while ZERO <= text[at] <= NINE:
        mantissa = mantissa * TEN + (Word(text[at]) - Word(ZERO))
        at += 1
    return at, mantissa


@jit
def read_integer(text: Bytes, at: int, limit: int) -> tuple[int, int, bool]:
    """End of an integer (-1 when there is none), its value or the limit, and whether it is within the limit."""
    negative = text[at] == MINUS
    if negative or text[at] == PLUS:
        at += 1
    first, value, fits = at, 0, True
    while ZERO <= text[at] <= NINE:
        digit = int(text[at]) - ZERO
        fits &= value <= (limit - digit) // 10
        value = value * 10 + digit if fits else limit
        at += 1
    return at if at > first else -1, -value if negative else value, fits


@jit
def read_number(text: Bytes, at: int, size: int) -> tuple[int, float, bool]:
    """End of a number, its value as a double, and whether that is exact; the end is -1 when it is no number."""
    negative = text[at] == MINUS
    if negative or text[at] == PLUS:
        at += 1
    end, mantissa = read_digits(text, at, NOTHING)
    digits, power = end - at, 0
    if text[end] == DOT:
        at = end + 1
        end, mantissa = read_digits(text, at, mantissa)
        power = at - end
        digits -= power
    if digits == 0:
        return (read_word(text, at, size) if text[at - 1] != DOT else -1), 0.0, False
    if text[end] | 32 == E:
        end, raised, _ = read_integer(text, end + 1, POWER_LIMIT)
        power += raised
    if end < 0 or not ends_field(text, end, size):
        return -1, 0.0, False
    if digits > EXACT_DIGITS or mantissa > EXACT_MANTISSA or abs(power) > EXACT_POWER:
        return end, 0.0, False
    value = np.float64(mantissa)
    value = value / POWERS[-power] if power < 0 else value * POWERS[power]
    return end, -value if negative else value, True


@jit
def read_word(text: Bytes, at: int, size: int) -> int:
    """End of a word that stands for no finite number, or -1."""
    for word in (INFINITY, INF, NAN):
        length = 0
        while length < len(word) and text[at + length] | 32 == word[length]:
            length += 1
        if length == len(word) and ends_field(text, at + length, size):
            return at + length
    return -1


@jit
def read_joint(
    text: Bytes, at: int, size: int, xyz: Floats, left: Ints, n_left: int, place: int
) -> tuple[int, int, int, int]:
    """Read any joint row, coordinates to `place`: what it ends with, where, tracking state, and the numbers left."""
    for field in range(11):
        at = skip_blanks(text, at)
        end, value, is_exact = read_number(text, at, size)
        if end < 0:
            return BAD_FIELD, at, 0, n_left
        if field < 3:
            xyz[place + field] = value
            if not is_exact:
                left[n_left, 0], left[n_left, 1], left[n_left, 2] = place + field, at, end - at
                n_left += 1
        at = end
    at = skip_blanks(text, at)
    state = int(text[at]) - ZERO
    if state < 0 or state > 2 or not ends_field(text, at + 1, size):
        return BAD_FIELD, at, 0, n_left
    after = next_line(text, at + 1, size)
    return (LINE_GOES_ON, at + 1, 0, n_left) if after < 0 else (ACCEPTED, after, state, n_left)


@jit
def read_count_line(text: Bytes, at: int, size: int) -> tuple[int, int, int]:
    """What a line with one count ends with, where, and the count."""
    at = skip_blanks(text, at)
    end, count, fits = read_integer(text, at, COUNT_LIMIT)
    if not fits or text[at] < ZERO or end < 0 or not ends_field(text, end, size):  # signs are below the digits
        return BAD_FIELD, at, 0
    after = next_line(text, end, size)
    return (LINE_GOES_ON, end, 0) if after < 0 else (ACCEPTED, after, count)


@jit
def read_header(text: Bytes, at: int, size: int, marks: Masks) -> tuple[int, int, int]:
    """What a body's header ends with, where, and the body's id."""
    at = skip_blanks(text, at)
    end, body, fits = read_integer(text, at, ID_LIMIT)
    if not fits or end < 0 or not ends_field(text, end, size):
        return BAD_FIELD, at, 0
    sound, blanks = sound_end(marks, at)
    # A breach in the very last character shows behind it, in the line end; no number with a digit there has one.
    if blanks == 9 and text[sound - 1] >= ZERO and ends_line(text, sound, size):
        return ACCEPTED, next_line(text, sound, size), body
    for _ in range(9):
        at = skip_blanks(text, end)
        end, _, _ = read_number(text, at, size)
        if end < 0:
            return BAD_FIELD, at, 0
    after = next_line(text, end, size)
    return (LINE_GOES_ON, end, 0) if after < 0 else (ACCEPTED, after, body)


@jit
def walk(
    text: Bytes, size: int, marks: Masks, keys: Ints, xyz: Floats, tracking: NDArray[np.int8], left: Ints
) -> tuple[int, int, int, int, int, int, int]:
    """Walk the whole file: code, kind of line, offset, frame, frames, rows, numbers left to Python.

    Of a file of `size` bytes with R rows at most and V joints a row, `keys` (R, 3) takes frame, slot and body id, `xyz`
    (R * V * 3,) the coordinates, `tracking` (R, V) the joints' states, and `left` (R * V * 3, 3) the coordinates that
    no single exact operation gives: index in xyz, offset and length. `marks` (blocks, 2) is scratch.
    """
    mark(text, marks)
    joints = tracking.shape[1]
    nought = int(size < 0)  # no literal, for which numba would compile the callees once more
    at = row = n_left = frame = nought
    code, at, frames = read_count_line(text, at, size)
    if code != ACCEPTED:
        return code, FRAMES_LINE, at, frame, frames, row, n_left
    for frame in range(frames):
        code, at, bodies = read_count_line(text, at, size)
        if code != ACCEPTED:
            return code, BODIES_LINE, at, frame, frames, row, n_left
        for slot in range(bodies):
            code, at, body = read_header(text, at, size, marks)
            if code != ACCEPTED:
                return code, HEADER_LINE, at, frame, frames, row, n_left
            keys[row, 0], keys[row, 1], keys[row, 2] = frame, slot, body
            first = at
            code, at, found = read_count_line(text, at, size)
            if code == ACCEPTED and found != joints:
                code, at = WRONG_JOINTS, skip_blanks(text, first)
            if code != ACCEPTED:
                return code, JOINTS_LINE, at, frame, frames, row, n_left
            joint = nought
            while joint < joints:
                joint, at = read_sound(text, at, joint, row, marks, xyz, tracking)
                if joint == joints:
                    break
                place = (row * joints + joint) * 3
                code, at, state, n_left = read_joint(text, at, size, xyz, left, n_left, place)
                if code != ACCEPTED:
                    return code, JOINT_LINE, at, frame, frames, row, n_left
                tracking[row, joint] = state
                joint += 1
            row += 1
    while at < size:
        after = next_line(text, at, size)
        if after < 0:
            return FILE_GOES_ON, END, skip_blanks(text, at), frame, frames, row, n_left
        at = after
    return ACCEPTED, END, at, frame, frames, row, n_left


@jit
def eight_digits(word: Word) -> Word:
    """Value of eight digits (not characters) in the bytes of a word, the lowest byte first: pairs, fours, eight."""
    word = word * Word(10 << 8 | 1) >> Word(8) & PAIRS
    word = word * Word(100 << 16 | 1) >> Word(16) & QUADS
    return word * Word(10000 << 32 | 1) >> Word(32)


@jit
def walk_rows(text: Bytes, size: int, fields: int, numbers: Floats, left: Ints) -> tuple[int, int, int, int]:
    """Walk a file of rows of so many numbers each: code, offset, rows, numbers left to Python.

    Of a file of `size` bytes with R rows at most, `numbers` (R * fields,) takes the numbers and `left` (R * fields, 3)
    those that no single exact operation gives: index in numbers, offset and length. Nearly every number has one digit
    before the point and six behind it: those eight bytes are read as one word, in which the point becomes a nought.
    """
    at = row = n_left = int(size < 0)
    while at < size:
        first = at = skip_blanks(text, at)
        if ends_line(text, at, size):
            while at < size:
                at = next_line(text, at, size)
                if at < 0:
                    return BAD_FIELD, first, row, n_left
            break
        for place in range(row * fields, (row + 1) * fields):
            at += text[at] == SPACE
            negative = text[at] == MINUS
            end = at + negative + 8
            word = NOTHING
            for byte in range(8):
                word |= Word(text[end - 8 + byte]) << Word(8 * byte)
            word ^= FIXED_ZEROS
            other = ((word & SEVEN_BITS) + FIXED_BEYOND | word) & HIGH_BITS
            if other == NOTHING and (text[end] == SPACE or text[end] == LF):
                mantissa = eight_digits(word) - FIXED_SHIFT * (word & Word(15))
                value = np.float64(mantissa) / POWERS[6]
                numbers[place] = -value if negative else value
                at = end
                continue
            at = skip_blanks(text, at)
            end, value, is_exact = read_number(text, at, size)
            if end < 0:
                return BAD_FIELD, at, row, n_left
            numbers[place] = value
            if not is_exact:
                left[n_left, 0], left[n_left, 1], left[n_left, 2] = place, at, end - at
                n_left += 1
            at = end
        after = next_line(text, at, size)
        if after < 0:
            return LINE_GOES_ON, at, row, n_left
        at = after
        row += 1
    return ACCEPTED, at, row, n_left
