"""The fast PKU-MMD parser gives the result of the naive one bit for bit, and refuses the same files."""

import tracemalloc

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import RawFileError
from pipeline.sources.coordinate_limits import MAX_METRES
from pipeline.sources.pku.parser import parse
from pipeline.sources.text_buffer import PADDING
from tests.support.reference import BrokenTextError, parse_pku_rows

pytestmark = pytest.mark.kernels
of_megabytes = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="plain Python would take an hour")

generous = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def parse_bytes(text, max_metres=np.inf):
    buffer = np.full(len(text) + PADDING, ord("7"), np.uint8)  # what lay behind the text before must not matter
    buffer[: len(text)] = np.frombuffer(text, np.uint8)
    return parse(buffer, len(text), source="input.txt", name="0002-L", max_metres=max_metres)


def fixed(numbers):
    """Format rows like the data set: `%.6f`, with a leading blank in all rows but the first."""
    return "\n ".join(" ".join(f"{x:.6f}" for x in row) for row in numbers).encode() + b"\n"


def one_body(frames, seed=0):
    numbers = np.random.default_rng(seed).normal(0, 1.5, (frames, 150))
    numbers[:, 75:] = 0
    return numbers


SMALL = fixed(one_body(3))


def all_numbers(got):
    """(T, 150) with zeros where a body is absent."""
    numbers = np.zeros((got.frames, 2, 25, 3), np.float32)
    numbers[got.frame, got.slot] = got.xyz
    return numbers.reshape(-1, 150)


def outcome(text):
    try:
        got = parse_bytes(text)
    except RawFileError as error:
        return "refused", error.line or 1
    return got.frames, all_numbers(got).tobytes()


def twin_outcome(text):
    try:
        numbers = parse_pku_rows(text)
    except BrokenTextError as error:
        return "refused", error.line
    bodies = numbers.reshape(-1, 2, 75)
    bodies[~(np.isfinite(bodies) & (bodies != 0)).any(axis=2)] = 0
    return len(numbers), numbers.tobytes()


def refusal(text):
    with pytest.raises(RawFileError) as caught:
        parse_bytes(text)
    return caught.value


def test_a_row_is_a_frame_with_two_bodies():
    numbers = one_body(4)
    numbers[2, 75:] = 0.25
    numbers[3] = 0
    got = parse_bytes(fixed(numbers))
    assert (got.frames, got.name) == (4, "0002-L")
    assert got.frame.tolist() == [0, 1, 2, 2]
    assert got.slot.tolist() == got.body.tolist() == [0, 0, 0, 1]
    assert (got.tracking == 2).all()
    want = [[[float(f"{x:.6f}") for x in joint] for joint in body.reshape(25, 3)] for body in numbers[:3, :75]]
    np.testing.assert_array_equal(got.xyz[[0, 1, 2]], np.array(want, np.float32))


def test_a_second_body_alone_keeps_its_slot():
    numbers = np.zeros((2, 150))
    numbers[1, 80] = -0.5
    got = parse_bytes(fixed(numbers))
    assert (got.frame.tolist(), got.slot.tolist()) == ([1], [1])


def with_numbers(tokens):
    tokens = [*tokens, *[b"1"] * (-len(tokens) % 150)]
    return b"\n ".join(b" ".join(tokens[i : i + 150]) for i in range(0, len(tokens), 150)) + b"\n"


ODD = b"""
0 -0 -0.0 +1.5 .5 5. 0.000000 -0.000000 -0.000001 9.999999 -9.999999 10.000000 99.123456 123.123456 0.1234567 1.12345
0.12345 00.123456 1e5 1.5E-3 1e23 1e-23 9007199254740993 0.9007199254740993 12345678901234567890 1e39 -1e39 1e999
1.00000005960464477539062500 1.000000059604644775390625 16777217 nan NaN inf -Infinity 1.234567e0 +0.123456 1.2345678
""".split()


def test_unusual_numbers_are_converted_like_float():
    text = with_numbers(ODD)
    assert outcome(text) == twin_outcome(text)
    with np.errstate(over="ignore"):
        want = np.array([np.float32(float(token)) for token in ODD], np.float32)
    assert all_numbers(parse_bytes(text))[0, : len(ODD)].tobytes() == want.tobytes()


@pytest.mark.parametrize("token", [
    b"1_0", b"1e", b".", b"-", b"--1", b"1.2.3", b"0.12.45", b"1,5", b"0.1234x6", b"x.123456", b"0x123456", b"nanx",
    b"0.123456-", b"1.23456e", b"-.", b"1\r2", b"0.123456\r0.5", b"\xd9\xa1",
])  # fmt: skip
@pytest.mark.parametrize("index", [0, 74, 149])
def test_other_text_than_numbers_is_refused_with_its_line(token, index):
    tokens = [b"0.500000"] * 450
    tokens[150 + index] = token
    text = with_numbers(tokens)
    assert outcome(text) == twin_outcome(text) == ("refused", 2)


digits = st.text("0123456789", max_size=12)
signs = st.sampled_from(["", "-", "+"])
tokens = st.one_of(
    st.builds("{}{}{}{}{}".format, signs, digits, st.sampled_from(["", "."]), digits,
              st.just("") | st.builds("e{}{}".format, signs, st.integers(0, 60))),
    st.floats(width=32).map(repr),
    st.floats(-12, 12).map("{:.6f}".format),
)  # fmt: skip


@generous
@given(st.lists(tokens.filter(bool), min_size=1, max_size=150))
def test_generated_numbers_equal_those_of_the_naive_parser(drawn):
    text = with_numbers([token.encode() for token in drawn])
    assert outcome(text) == twin_outcome(text)
    text = with_numbers([drawn[0].encode()])
    assert outcome(text) == twin_outcome(text)


tempting_bytes = st.sampled_from(b"0129.-+e \t\r\n\0,")


@settings(parent=generous, max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, len(SMALL) - 1), tempting_bytes | st.integers(0, 255)), min_size=1, max_size=3),
    st.sampled_from(["replace", "delete", "insert"]),
)
def test_random_byte_changes_give_the_result_of_the_naive_parser(changes, how):
    text = bytearray(SMALL)
    for index, byte in changes:
        if how == "replace":
            text[min(index, len(text) - 1)] = byte
        elif how == "insert":
            text.insert(index, byte)
        else:
            del text[min(index, len(text) - 1)]
    assert outcome(bytes(text)) == twin_outcome(bytes(text))


@pytest.mark.parametrize("tail", [b"", b"\n", b"\r\n \t\r\n\n", b" "])
def test_line_ends_blanks_and_trailing_blank_lines_are_ignored(tail):
    assert outcome(SMALL + tail) == outcome(SMALL)
    assert outcome(SMALL.replace(b"\n", b"\r\n") + tail) == outcome(SMALL)
    assert outcome(SMALL.replace(b" ", b" \t ").replace(b"\n", b"  \n") + tail) == outcome(SMALL)


def test_a_last_row_without_line_end_is_used_only_if_its_last_number_is_complete():
    assert outcome(SMALL[:-1]) == outcome(SMALL)
    assert outcome(SMALL.replace(b"\n", b"\r\n")[:-1]) == outcome(SMALL)
    error = refusal(SMALL[:-2])
    assert error.line == 3
    assert "truncated" in error.reason


def test_every_file_truncated_within_a_row_is_refused():
    last = SMALL.rindex(b"\n", 0, -1)
    for size in range(last + 3, len(SMALL) - 1):
        assert outcome(SMALL[:size]) == twin_outcome(SMALL[:size]) == ("refused", 3), size


@pytest.mark.parametrize(("line", "message"), [
    (b" ".join([b"0.500000"] * 149), "row has 149 fields, expected 150 numbers: x y z of 25 joints of 2 bodies"),
    (b" ".join([b"0.500000"] * 151), "row has 151 fields, expected 150"),
    (b" ".join([b"0.500000"] * 149 + [b"0,5"]), "field 150 is '0,5', expected a number"),
    (b"", "blank line between rows"),
    (b"21,158,239,2", "row with commas"),
    (b" ".join([b"0.500000"] * 149 + [b"0.5\x0000"]), "NUL bytes in the row"),
])  # fmt: skip
def test_damage_is_reported_with_its_line(line, message):
    lines = SMALL.split(b"\n")
    lines[1] = line
    text = b"\n".join(lines)
    error = refusal(text)
    assert message in error.reason
    assert error.line == twin_outcome(text)[1] == 2
    assert str(error).startswith("input.txt:2: ")


@pytest.mark.parametrize(("text", "message"), [
    (b"", "empty"),
    (b"\n \r\n", "blank lines only"),
    (SMALL.decode().encode("utf-16"), "UTF-16"),
    (b"\xef\xbb\xbf" + SMALL, "byte order mark"),
    (b"PK\x03\x04abc", "zip"),
    (b"7z\xbc\xaf\x27\x1cabc", "7z"),
    (b"\0" * 300, "NUL bytes"),
    (b"21,158,239,2\n24,300,350,2\n", "is this a label file?"),
])  # fmt: skip
def test_files_without_rows_of_numbers_are_refused_with_their_format(text, message):
    assert message in refusal(text).reason


def test_a_recording_does_not_refer_to_the_buffer():
    buffer = np.zeros(len(SMALL) + PADDING, np.uint8)
    buffer[: len(SMALL)] = np.frombuffer(SMALL, np.uint8)
    got = parse(buffer, len(SMALL), source="there", name="0002-L")
    kept = got.xyz.tobytes()
    buffer[:] = 0
    assert got.xyz.tobytes() == kept == parse_bytes(SMALL).xyz.tobytes()


def test_a_buffer_without_padding_raises_value_error():
    with pytest.raises(ValueError, match="need a buffer of"):
        parse(np.zeros(100, np.uint8), 100, source="there", name="there")


@of_megabytes
@pytest.mark.parametrize(
    ("endless", "message"), [(b"9", "input.txt:1: a line of"), (b"1 ", "a line of"), (b" ", "blank lines only")]
)
def test_a_line_without_end_is_refused_with_little_memory(endless, message):
    size = 8_000_000
    buffer = np.zeros(size + PADDING, np.uint8)
    buffer[:size] = np.frombuffer((endless * size)[:size], np.uint8)
    parse_bytes(SMALL)  # what compiling takes is not meant
    tracemalloc.start()
    with pytest.raises(RawFileError, match=message) as caught:
        parse(buffer, size, source="input.txt", name="there")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * size
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("number", "says"),
    [(3e38, "y of right_hip is 3e+38 m, expected at most 100 m"), (-1700, "y of right_hip is -1700 m")],
)
def test_a_coordinate_that_no_sensor_measures_is_refused_with_value_and_line(number, says):
    numbers = one_body(5)
    numbers[3, 75 + 3 * 16 + 1] = number
    with pytest.raises(RawFileError) as caught:
        parse_bytes(fixed(numbers), MAX_METRES)
    assert caught.value.line == 4
    assert says in caught.value.reason
    assert parse_bytes(fixed(numbers)).frames == 5


def test_coordinates_at_the_limit_and_missing_ones_are_accepted():
    numbers = one_body(5)
    numbers[3, :4] = [100, np.nan, np.inf, -100]
    assert parse_bytes(fixed(numbers), MAX_METRES).frames == 5
