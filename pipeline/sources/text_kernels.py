"""Compiled parsers of NTU RGB+D and PKU-MMD skeleton text, with exact conversion of numbers.

The buffer holds `PADDING` NUL bytes after the text. A NUL belongs to no field, so every loop over characters stops
there, and a block of 64 bytes can be read from any position in the text. Arithmetic on masks and mantissas is uint64
and may wrap. Functions that call each other share this file: numba's cache does not notice an edit in another file.
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

# Result codes of the parsers, and the kind of line that they refer to. ntu/parser.py and pku/parser.py make messages
# of them.
ACCEPTED, BAD_FIELD, WRONG_JOINTS, EXTRA_FIELDS, EXTRA_TEXT = range(5)
FRAMES_LINE, BODIES_LINE, HEADER_LINE, JOINTS_LINE, JOINT_LINE, END = range(6)

TAB, LF, CR, SPACE, PLUS, MINUS, DOT, ZERO, NINE, E = 9, 10, 13, 32, 43, 45, 46, 48, 57, 101
NAN, INF, INFINITY = (np.frombuffer(word, np.uint8) for word in (b"nan", b"inf", b"infinity"))
COUNT_LIMIT, POWER_LIMIT = 10**9 - 1, 10**5
ID_LIMIT = 2**63 - 1
ZERO_WORD, ONE, TEN, LAST_BIT = Word(0), Word(1), Word(10), Word(63)

# A product or quotient of two exact doubles is rounded once, hence correctly: mantissas to 2^53, powers to 10^22
# (Clinger, How to read floating point numbers accurately, 1990). Nineteen digits cannot wrap a uint64.
EXACT_MANTISSA, EXACT_DIGITS, EXACT_POWER = Word(2**53), 19, 22
POWERS = np.array([float(10**power) for power in range(EXACT_POWER + 1)])
# The text `d.dddddd` as a 64-bit word, lowest byte first. XOR with FIXED_ZEROS turns the bytes of digits into 0 to 9
# and that of the point into 0; a word has the pattern if all bytes are in range after that. When the eight digits are
# then added up in pairs, fours and eights, the digit before the point counts ten times too much: see FIXED_SHIFT.
FIXED_ZEROS, FIXED_BEYOND, FIXED_SHIFT = Word(0x3030303030302E30), Word(0x7676767676767F76), Word(9_000_000)
HIGH_BITS, SEVEN_BITS = Word(0x8080808080808080), Word(0x7F7F7F7F7F7F7F7F)
PAIRS, QUADS = Word(0x00FF00FF00FF00FF), Word(0x0000FFFF0000FFFF)

jit = numba.njit(cache=True, nogil=True)


@jit
def count_ones(mask: Word) -> int:
    """Count the set bits; LLVM recognises this loop and compiles it to one instruction."""
    ones = 0
    while mask != ZERO_WORD:
        mask &= mask - ONE
        ones += 1
    return ones


@jit
def find_breaks(text: Bytes, masks: Masks) -> None:
    """Set masks, one bit per byte, of spaces and of all bytes that break a run of plain numbers with single spaces.

    A plain number is an optional minus, digits, and at most one point next to a digit. A break is marked at most one
    byte after the character that causes it. Line ends are breaks, too, which is how the end of a plain line is found.
    So are exponents, plus signs and words; the slower functions below read these.
    """
    carry_digits = carry_points = carry_minuses = carry_spaces = carry_bare = in_fraction = ZERO_WORD
    for block in range(len(masks)):
        digits = points = minuses = spaces = ZERO_WORD
        for index in range(BLOCK):  # vectorised by LLVM: 7 GB/s with AVX-512, 3 GB/s with AVX2
            char, bit = text[block * BLOCK + index], Word(index)
            digits |= Word((char >= ZERO) & (char <= NINE)) << bit
            points |= Word(char == DOT) << bit
            minuses |= Word(char == MINUS) << bit
            spaces |= Word(char == SPACE) << bit
        after_digit = digits << ONE | carry_digits
        after_point = points << ONE | carry_points
        after_minus = minuses << ONE | carry_minuses
        after_space = spaces << ONE | carry_spaces
        bare = points & ~after_digit
        after_bare = bare << ONE | carry_bare
        # Adding a bit at the start of each fraction carries it through the digits to the character after the fraction.
        starts = points << ONE | in_fraction
        carried = digits + starts
        breaks = ~(digits | points | minuses | spaces)
        breaks |= minuses & (after_digit | after_point | after_minus)
        breaks |= after_minus & ~(digits | points)
        breaks |= after_bare & ~digits
        breaks |= spaces & after_space
        breaks |= carried & ~digits & points
        masks[block, 0], masks[block, 1] = breaks, spaces
        in_fraction = points >> LAST_BIT | Word(carried < digits)
        carry_digits, carry_points = digits >> LAST_BIT, points >> LAST_BIT
        carry_minuses, carry_spaces, carry_bare = minuses >> LAST_BIT, spaces >> LAST_BIT, bare >> LAST_BIT


@jit
def plain_end(masks: Masks, at: int) -> tuple[int, int]:
    """Return the offset of the first break from `at` on (the padding is one), and the number of spaces before it."""
    block, shift = at // BLOCK, Word(at % BLOCK)
    breaks, spaces = masks[block, 0] >> shift << shift, masks[block, 1] >> shift << shift
    space_count = 0
    while breaks == ZERO_WORD:
        space_count += count_ones(spaces)
        block += 1
        breaks, spaces = masks[block, 0], masks[block, 1]
    before_end = (breaks - ONE) & ~breaks
    return block * BLOCK + count_ones(before_end), space_count + count_ones(spaces & before_end)


@jit
def read_plain_joints(
    text: Bytes, at: int, joint: int, row: int, masks: Masks, xyz: Floats, tracking: NDArray[np.int8]
) -> tuple[int, int]:
    """Read joint rows, from `joint` on, while they are plain and their coordinates exact; return the joint and offset.

    Nearly every row is read here, so this function decides the speed. It calls no function that loops over the text:
    numba would count references to the text atomically at each call, which takes as long as everything else.
    """
    joints = tracking.shape[1]
    while joint < joints:
        start = at
        end, space_count = plain_end(masks, at)
        next_at = end + 1 + (text[end] == CR)
        state = int(text[end - 1]) - ZERO
        if space_count != 11 or text[end - 2] != SPACE or text[next_at - 1] != LF or state < 0 or state > 2:
            break
        is_plain = True
        for axis in range(3):
            first = at
            negative = text[at] == MINUS
            at += negative
            mantissa = ZERO_WORD
            while text[at] >= ZERO:
                mantissa = mantissa * TEN + (Word(text[at]) - Word(ZERO))
                at += 1
            # Only recorded: with a branch here the rest would have to wait, at a third of the speed.
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
        at = next_at
    return joint, at


@jit
def skip_blanks(text: Bytes, at: int) -> int:
    """Return the offset after spaces and tabs."""
    while text[at] == SPACE or text[at] == TAB:
        at += 1
    return at


@jit
def ends_line(text: Bytes, at: int, size: int) -> bool:
    """Whether LF, CRLF, or the end of the file with or without CR is at an offset."""
    if text[at] == CR:
        return at + 1 >= size or text[at + 1] == LF
    return text[at] == LF or at >= size


@jit
def ends_field(text: Bytes, at: int, size: int) -> bool:
    """Whether a field can end here."""
    return text[at] == SPACE or text[at] == TAB or ends_line(text, at, size)


@jit
def next_line(text: Bytes, at: int, size: int) -> int:
    """Return the start of the next line (the size when there is none), or -1 when this line has more fields."""
    at = skip_blanks(text, at)
    if not ends_line(text, at, size):
        return -1
    if text[at] == CR:
        at += 1
    return min(at + 1, size)


@jit
def read_digits(text: Bytes, at: int, mantissa: Word) -> tuple[int, Word]:
    """Return the end of the digits, and the mantissa with the digits appended."""
    while ZERO <= text[at] <= NINE:
        mantissa = mantissa * TEN + (Word(text[at]) - Word(ZERO))
        at += 1
    return at, mantissa


@jit
def read_integer(text: Bytes, at: int, limit: int) -> tuple[int, int, bool]:
    """Return the end of an integer (-1 when there is none), its value or the limit, and whether it is in the limit."""
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
    """Return the end of a number (-1 when there is none), its value, and whether that is correctly rounded."""
    negative = text[at] == MINUS
    if negative or text[at] == PLUS:
        at += 1
    end, mantissa = read_digits(text, at, ZERO_WORD)
    digits, power = end - at, 0
    if text[end] == DOT:
        at = end + 1
        end, mantissa = read_digits(text, at, mantissa)
        power = at - end
        digits -= power
    if digits == 0:
        return (read_word(text, at, size) if text[at - 1] != DOT else -1), 0.0, False
    if text[end] | 32 == E:
        end, exponent, _ = read_integer(text, end + 1, POWER_LIMIT)
        power += exponent
    if end < 0 or not ends_field(text, end, size):
        return -1, 0.0, False
    if digits > EXACT_DIGITS or mantissa > EXACT_MANTISSA or abs(power) > EXACT_POWER:
        return end, 0.0, False
    value = np.float64(mantissa)
    value = value / POWERS[-power] if power < 0 else value * POWERS[power]
    return end, -value if negative else value, True


@jit
def read_word(text: Bytes, at: int, size: int) -> int:
    """Return the end of one of the words nan, inf and infinity, or -1."""
    for word in (INFINITY, INF, NAN):
        length = 0
        while length < len(word) and text[at + length] | 32 == word[length]:
            length += 1
        if length == len(word) and ends_field(text, at + length, size):
            return at + length
    return -1


@jit
def read_joint(
    text: Bytes, at: int, size: int, xyz: Floats, inexact: Ints, n_inexact: int, index: int
) -> tuple[int, int, int, int]:
    """Read any joint row into `xyz` from `index` on; return code, offset, tracking state and the new `n_inexact`."""
    for field in range(11):
        at = skip_blanks(text, at)
        end, value, is_exact = read_number(text, at, size)
        if end < 0:
            return BAD_FIELD, at, 0, n_inexact
        if field < 3:
            xyz[index + field] = value
            if not is_exact:
                inexact[n_inexact, 0], inexact[n_inexact, 1], inexact[n_inexact, 2] = index + field, at, end - at
                n_inexact += 1
        at = end
    at = skip_blanks(text, at)
    state = int(text[at]) - ZERO
    if state < 0 or state > 2 or not ends_field(text, at + 1, size):
        return BAD_FIELD, at, 0, n_inexact
    next_at = next_line(text, at + 1, size)
    return (EXTRA_FIELDS, at + 1, 0, n_inexact) if next_at < 0 else (ACCEPTED, next_at, state, n_inexact)


@jit
def read_count_line(text: Bytes, at: int, size: int) -> tuple[int, int, int]:
    """Read a line with one count; return code, offset and count."""
    at = skip_blanks(text, at)
    end, count, fits = read_integer(text, at, COUNT_LIMIT)
    if not fits or text[at] < ZERO or end < 0 or not ends_field(text, end, size):  # signs are below the digits
        return BAD_FIELD, at, 0
    next_at = next_line(text, end, size)
    return (EXTRA_FIELDS, end, 0) if next_at < 0 else (ACCEPTED, next_at, count)


@jit
def read_header(text: Bytes, at: int, size: int, masks: Masks) -> tuple[int, int, int]:
    """Read a body's header; return code, offset and the body's id."""
    at = skip_blanks(text, at)
    end, body, fits = read_integer(text, at, ID_LIMIT)
    if not fits or end < 0 or not ends_field(text, end, size):
        return BAD_FIELD, at, 0
    plain_at, space_count = plain_end(masks, at)
    # A break caused by the last character is marked in the line end; a number that ends in a digit causes none.
    if space_count == 9 and text[plain_at - 1] >= ZERO and ends_line(text, plain_at, size):
        return ACCEPTED, next_line(text, plain_at, size), body
    for _ in range(9):
        at = skip_blanks(text, end)
        end, _, _ = read_number(text, at, size)
        if end < 0:
            return BAD_FIELD, at, 0
    next_at = next_line(text, end, size)
    return (EXTRA_FIELDS, end, 0) if next_at < 0 else (ACCEPTED, next_at, body)


@jit
def parse_ntu(
    text: Bytes, size: int, masks: Masks, keys: Ints, xyz: Floats, tracking: NDArray[np.int8], inexact: Ints
) -> tuple[int, int, int, int, int, int, int]:
    """Parse a whole NTU RGB+D file; return code, kind of line, offset, frame, frames, rows and inexact numbers.

    For at most R rows with V joints each, the outputs are `keys` (R, 3) with frame, slot and body id, `xyz`
    (R * V * 3,) with the coordinates, `tracking` (R, V) with the joints' states, and `inexact` (R * V * 3, 3) with the
    coordinates that need more than one exact operation: index in xyz, offset and length. `masks` (blocks, 2) is
    scratch space.
    """
    find_breaks(text, masks)
    joints = tracking.shape[1]
    zero = int(size < 0)  # not a literal, for which numba would compile the callees a second time
    at = row = n_inexact = frame = zero
    code, at, frames = read_count_line(text, at, size)
    if code != ACCEPTED:
        return code, FRAMES_LINE, at, frame, frames, row, n_inexact
    for frame in range(frames):
        code, at, bodies = read_count_line(text, at, size)
        if code != ACCEPTED:
            return code, BODIES_LINE, at, frame, frames, row, n_inexact
        for slot in range(bodies):
            code, at, body = read_header(text, at, size, masks)
            if code != ACCEPTED:
                return code, HEADER_LINE, at, frame, frames, row, n_inexact
            keys[row, 0], keys[row, 1], keys[row, 2] = frame, slot, body
            first = at
            code, at, joint_count = read_count_line(text, at, size)
            if code == ACCEPTED and joint_count != joints:
                code, at = WRONG_JOINTS, skip_blanks(text, first)
            if code != ACCEPTED:
                return code, JOINTS_LINE, at, frame, frames, row, n_inexact
            joint = zero
            while joint < joints:
                joint, at = read_plain_joints(text, at, joint, row, masks, xyz, tracking)
                if joint == joints:
                    break
                index = (row * joints + joint) * 3
                code, at, state, n_inexact = read_joint(text, at, size, xyz, inexact, n_inexact, index)
                if code != ACCEPTED:
                    return code, JOINT_LINE, at, frame, frames, row, n_inexact
                tracking[row, joint] = state
                joint += 1
            row += 1
    while at < size:
        next_at = next_line(text, at, size)
        if next_at < 0:
            return EXTRA_TEXT, END, skip_blanks(text, at), frame, frames, row, n_inexact
        at = next_at
    return ACCEPTED, END, at, frame, frames, row, n_inexact


@jit
def eight_digits(word: Word) -> Word:
    """Return the value of eight digits (not characters) in the bytes of a word, lowest byte first."""
    word = word * Word(10 << 8 | 1) >> Word(8) & PAIRS
    word = word * Word(100 << 16 | 1) >> Word(16) & QUADS
    return word * Word(10000 << 32 | 1) >> Word(32)


@jit
def parse_rows(text: Bytes, size: int, fields: int, numbers: Floats, inexact: Ints) -> tuple[int, int, int, int]:
    """Parse a file of rows of `fields` numbers each; return code, offset, rows and inexact numbers.

    For at most R rows, the outputs are `numbers` (R * fields,) and `inexact` (R * fields, 3) with the numbers that need
    more than one exact operation: index in numbers, offset and length. Nearly every number has one digit before the
    point and six after it: these eight bytes are read as one word, in which the point becomes a zero.
    """
    at = row = n_inexact = int(size < 0)
    while at < size:
        first = at = skip_blanks(text, at)
        if ends_line(text, at, size):
            while at < size:
                at = next_line(text, at, size)
                if at < 0:
                    return BAD_FIELD, first, row, n_inexact
            break
        for index in range(row * fields, (row + 1) * fields):
            at += text[at] == SPACE
            negative = text[at] == MINUS
            end = at + negative + 8
            word = ZERO_WORD
            for byte in range(8):
                word |= Word(text[end - 8 + byte]) << Word(8 * byte)
            word ^= FIXED_ZEROS
            not_fixed = ((word & SEVEN_BITS) + FIXED_BEYOND | word) & HIGH_BITS
            if not_fixed == ZERO_WORD and (text[end] == SPACE or text[end] == LF):
                mantissa = eight_digits(word) - FIXED_SHIFT * (word & Word(15))
                value = np.float64(mantissa) / POWERS[6]
                numbers[index] = -value if negative else value
                at = end
                continue
            at = skip_blanks(text, at)
            end, value, is_exact = read_number(text, at, size)
            if end < 0:
                return BAD_FIELD, at, row, n_inexact
            numbers[index] = value
            if not is_exact:
                inexact[n_inexact, 0], inexact[n_inexact, 1], inexact[n_inexact, 2] = index, at, end - at
                n_inexact += 1
            at = end
        next_at = next_line(text, at, size)
        if next_at < 0:
            return EXTRA_FIELDS, at, row, n_inexact
        at = next_at
        row += 1
    return ACCEPTED, at, row, n_inexact
