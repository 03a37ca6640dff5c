"""The fast NTU parser gives the result of the naive one bit for bit, and refuses the same files in the same line."""

import io
import os
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.errors import RawFileError
from pipeline.sources.coordinate_limits import MAX_METRES
from pipeline.sources.ntu.parser import MAX_EMPTY_SHARE, MAX_FRAMES, parse
from pipeline.sources.text_buffer import PADDING, PIECE_BYTES, TextReader
from tests.support.reference import BrokenTextError, parse_skeleton
from trainer.bench.ingest import read_with_reference_reader

pytestmark = pytest.mark.kernels
of_megabytes = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="plain Python would take an hour")

RAW = sorted((Path(__file__).parents[2] / "golden" / "raw").glob("*.skeleton"))
HEADER = b"72057594037931101 0 1 1 1 1 0 0.02764709 0.05745083 2"
JOINT = b"0.2181153 -0.1725972 3.785547 277.419 191.8218 1036.233 519.1677 -0.2059419 0.05349901 0.9692109 -0.1239193 2"

LF = b"\n"

generous = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def parse_bytes(text, max_metres=np.inf):
    buffer = np.full(len(text) + PADDING, ord("7"), np.uint8)  # what lay behind the text before must not matter
    buffer[: len(text)] = np.frombuffer(text, np.uint8)
    return parse(buffer, len(text), source="input.skeleton", name="there", max_metres=max_metres)


def skeleton(frames, eol=b"\r\n"):
    """Format frames, each a list of bodies, each a header and joint rows."""
    lines = [b"%d" % len(frames)]
    for bodies in frames:
        lines.append(b"%d" % len(bodies))
        for header, rows in bodies:
            lines += [header, b"%d" % len(rows), *rows]
    return eol.join(lines) + eol


BODY = (HEADER, [JOINT] * 25)
SMALL = skeleton([[BODY], [], [BODY, BODY]])


def with_line(number, line):
    lines = SMALL.split(b"\r\n")
    lines[number - 1] = line
    return b"\r\n".join(lines)


def with_numbers(tokens):
    """Format tokens as coordinates, with a frame for every 25 rows."""
    tokens = [*tokens, *[b"0"] * (-len(tokens) % 75)]
    rows = [b" ".join(tokens[i : i + 3]) + b" 0 0.5 -1 2 3 4 5 6 2" for i in range(0, len(tokens), 3)]
    return skeleton([[(HEADER, rows[i : i + 25])] for i in range(0, len(rows), 25)])


def outcome(text):
    """Return the result of the parser for a text, in a form that can be compared exactly."""
    try:
        got = parse_bytes(text)
    except RawFileError as error:
        return "refused", error.line or 1  # an empty file has no line 1, but that is where the twin stops
    rows = zip(got.frame, got.slot, got.body, got.xyz, got.tracking, strict=True)
    return got.frames, [(int(f), int(s), int(b), x.tobytes(), t.tobytes()) for f, s, b, x, t in rows]


def twin_outcome(text):
    try:
        frames, rows = parse_skeleton(text)
    except BrokenTextError as error:
        return "refused", error.line
    return frames, [(f, s, b, x.tobytes(), t.tobytes()) for f, s, b, x, t in rows]


@pytest.mark.parametrize("path", RAW, ids=lambda path: path.stem)
def test_coordinates_equal_those_of_the_reference_readers(path):
    recording = parse_bytes(path.read_bytes())
    first_two = recording.slot < 2
    xyz = np.zeros((3, recording.frames, 25, 2), np.float32)
    xyz[:, recording.frame[first_two], :, recording.slot[first_two]] = recording.xyz[first_two].transpose(0, 2, 1)
    np.testing.assert_array_equal(xyz, read_with_reference_reader(path).astype(np.float32))


def refusal(text):
    with pytest.raises(RawFileError) as caught:
        parse_bytes(text)
    return caught.value


@pytest.mark.parametrize("path", RAW, ids=lambda path: path.stem)
def test_golden_files_parse_like_the_naive_parser(path):
    text = path.read_bytes()
    assert len(RAW) == 11
    assert outcome(text) == twin_outcome(text)


ODD_NUMBERS = b"""
0 -0 -0.0 +1.5 .5 5. -.5 +5. 007 00.100 1e5 1E-5 1e+05 1.e3 .5e-3 -7.5E+00 1e22 1e23 1e-22 1e-23 9007199254740992
9007199254740993 9007199254740993. 0.9007199254740993 900719925474099.3 1.00000000000000000000001 12345678901234567890
18446744073709551615 18446744073709551616 99999999999999999999 0.00000000000000000001 0.000000000000000000012345
1.7976931348623157e308 1e308 1e309 1e999 -1e999 1e-400 1e99999999999 1e-99999999999 0e999 4.9e-324
2.4703282292062327e-324 2.2250738585072014e-308 2.2250738585072011e-308 1e-45 1.4e-45 7e-46 7.1e-46 1.1754942e-38
3.4028235e38 3.4028236e38 3.40282356779733661637539e38 3.40282356779733661637540e38 16777217 16777219 33554435
1.00000005960464477539062500 1.000000059604644775390625 1.0000000596046448 1.0000000596046447
1.00000017881393432617187500 1.0000001788139343 0.50000002980232238769531250 8388608.5 8388609.5 16777216.999999999
0.1 0.2 0.3 0.30000001192092896 nan NaN -nan +NAN inf -inf Infinity -INFINITY +iNf 1.23456789 1.234567890
12345678.12345678 123456789.123456789 0.1234567 0.12345678 0.123456789 0.00012345 -0.00000001 1234.5678 277.419
3.785547
""".split()


def test_unusual_numbers_are_converted_like_float():
    text = with_numbers(ODD_NUMBERS)
    assert outcome(text) == twin_outcome(text)
    first = np.float32([float(token) for token in (b"0", b"-0", b"-0.0")])
    assert (parse_bytes(text).xyz.reshape(-1)[:3].view(np.uint32) == first.view(np.uint32)).all()


@pytest.mark.parametrize("token", [
    b"1_0", b"0x1", b"1e", b"1e+", b"1e5.", b".", b"-", b"+", b"-.", b"1.2.3", b"1..2", b"--1", b"+-1", b"1-", b"1.5-2",
    b"-1.#IND", b"1,5", b"nan(1)", b"nanx", b".nan", b"infinit", b"in", b"e5", b".e5", b"1f", b"1\x0b2",
    b"\xd9\xa1", b"1.2.3.4.5", b"1\r2", b"1.2.3.4", b"12.34.56.78", b"1.2-3.4", b"1.-2", b"1.2345678.1.2",
])  # fmt: skip
@pytest.mark.parametrize("column", [0, 2, 3, 10])
def test_numbers_outside_the_grammar_are_refused_even_if_float_or_c_accepts_them(token, column):
    fields = JOINT.split()
    fields[column] = token
    text = with_line(10, b" ".join(fields))
    assert outcome(text) == twin_outcome(text) == ("refused", 10)


digits = st.text("0123456789", max_size=22)
signs = st.sampled_from(["", "-", "+"])
exponent = st.just("") | st.builds("{}{}{}".format, st.sampled_from("eE"), signs, st.integers(0, 345))
tokens = st.one_of(
    st.builds("{}{}{}{}{}".format, signs, digits, st.sampled_from(["", "."]), digits, exponent),
    st.floats(width=32).map(repr),
    st.floats().map(repr),
    st.floats(-5, 5).map("{:.7g}".format),
    # Halfway between two floats, and very near to it: rounding twice and rounding once may differ there.
    st.builds(lambda bits, hair: f"{(bits + 0.5) * 2.0**-23:.40f}".rstrip("0") + hair, st.integers(2**23, 2**24 - 1),
              st.sampled_from(["", "0001", "00000000000000001"])),
)  # fmt: skip


@generous
@given(st.lists(tokens.filter(bool), min_size=1, max_size=75))
def test_generated_numbers_equal_those_of_the_naive_parser(drawn):
    text = with_numbers([token.encode() for token in drawn])
    assert outcome(text) == twin_outcome(text)
    for token in drawn[:3]:  # alone in a sound file, so that one bad number does not hide the others
        text = with_numbers([token.encode()])
        assert outcome(text) == twin_outcome(text)


@pytest.mark.parametrize("eol", [b"\n", b"\r\n"])
@pytest.mark.parametrize("tail", [b"", b"\n", b"\r\n \t\r\n\n", b" "])
def test_line_ends_and_trailing_blank_lines_are_ignored(eol, tail):
    text = SMALL.replace(b"\r\n", eol)
    assert outcome(text + tail) == outcome(SMALL)
    assert outcome(text.removesuffix(eol)) == outcome(SMALL)


def test_repeated_and_trailing_blanks_are_ignored():
    text = SMALL.replace(b" ", b" \t ").replace(b"\r\n", b"  \t\r\n ")
    assert outcome(text) == twin_outcome(text) == outcome(SMALL)


def test_frames_without_bodies_are_counted_and_have_no_row():
    got = parse_bytes(SMALL)
    assert (got.frames, got.frame.tolist(), got.slot.tolist()) == (3, [0, 2, 2], [0, 0, 1])
    assert got.body.tolist() == [72057594037931101] * 3
    nothing = parse_bytes(b"0\r\n")
    assert (nothing.frames, nothing.xyz.shape, nothing.tracking.shape) == (0, (0, 25, 3), (0, 25))
    assert parse_bytes(b"2\n0\n0").frames == 2


@pytest.mark.parametrize("body", [0, -5, 2**53 + 1, 2**63 - 1, -(2**63) + 1])
def test_body_ids_are_exact_integers(body):
    header = HEADER.replace(b"72057594037931101", b"%d" % body)
    assert parse_bytes(skeleton([[(header, [JOINT] * 25)]])).body.tolist() == [body]


@pytest.mark.parametrize(("line", "damage", "says"), [
    (1, b"", "blank line, expected a number of frames"),
    (1, b"-3", "'-3'"),
    (1, b"9999999999", "'9999999999'"),
    (1, b"3 4", "number of frames has 2 fields, expected 1"),
    (1, b"2", ""),
    (2, b"one", "number of bodies: field 1 is 'one'"),
    (2, b"-1", "'-1'"),
    (3, HEADER[:-2], "body header has 9 fields, expected 10"),
    (3, HEADER + b" 0", "body header has 11 fields, expected 10"),
    (3, HEADER.replace(b"72057594037931101", b"9223372036854775808"), "expected a body id"),
    (3, HEADER.replace(b"72057594037931101", b"7.2e16"), "'7.2e16', expected a body id"),
    (3, HEADER.replace(b"0.0276", b"0.02.76"), "field 8"),
    (3, HEADER[:-1] + b".", "body header: field 10 is '.', expected a number"),
    (3, HEADER[:-1] + b"-", "body header: field 10 is '-', expected a number"),
    (4, b"3", "3 joints, expected 25"),
    (4, b"25 25", "number of joints has 2 fields"),
    (9, b" ".join(JOINT.split()[:7]), "joint row has 7 fields, expected 12"),
    (9, JOINT + b" 1", "joint row has 13 fields, expected 12"),
    (9, JOINT[:-1] + b"3", "field 12 is '3', expected a tracking state (0, 1 or 2)"),
    (9, JOINT[:-1] + b"02", "'02'"),
    (9, JOINT[:-1] + b"2.0", "'2.0'"),
    (9, b"", "blank line, expected a joint row"),
    (9, JOINT[:20] + b"\0\0\0" + JOINT[23:], "NUL bytes in frame 1 of 3"),
    (9, JOINT.replace(b"277.419", b"277,419"), "field 4 is '277,419', expected a number"),
    (9, JOINT.replace(b" ", b"\r", 1), "11 fields"),
    (30, b"x" * 500, "xxx"),
])  # fmt: skip
def test_damage_is_reported_with_its_line(line, damage, says):
    text = with_line(line, damage)
    if damage == b"2" and line == 1:  # one frame fewer than there are: the surplus starts behind the second
        line, says = 31, "expected the end after 2 frames, found '2'"
    error = refusal(text)
    assert says in error.reason
    assert error.line == line == twin_outcome(text)[1]
    assert str(error).startswith(f"input.skeleton:{line}: ")
    assert len(str(error)) < 300


@pytest.mark.parametrize(("text", "says"), [
    (b"", "empty"),
    (SMALL.decode().encode("utf-16"), "UTF-16"),
    (b"\xef\xbb\xbf" + SMALL, "byte order mark"),
    (b"PK\x03\x04abc", "zip"),
    (b"\0" * 300, "NUL bytes"),
    (b"\n", "blank line"),
    (b" ", "before the number of frames"),
    (b"50\r\n", "file ends in frame 1 of 50: truncated? download it again"),
    (b"999999999\n999999999\n", "file ends in frame 1 of 999999999"),
    (SMALL[:-200], "file ends in frame 3 of 3: truncated?"),
    (SMALL[: SMALL.rindex(b"-0.1239193") + 1], "joint row has 11 fields, expected 12; file ends here, in frame 3 of 3"),
])  # fmt: skip
def test_binary_and_truncated_files_are_refused_with_a_remedy(text, says):
    assert says in refusal(text).reason


def test_every_truncated_file_is_refused_unless_only_the_last_line_end_is_missing():
    text = skeleton([[BODY], []])
    for size in range(len(text)):
        if size > len(text) - 3:
            assert outcome(text[:size]) == outcome(text)
        else:
            assert outcome(text[:size])[0] == "refused", size
            assert outcome(text[:size])[1] == text[:size].count(b"\n") + 1
    text = skeleton([[], [BODY]], b"\n")
    for size in range(len(text)):
        assert (outcome(text[:size])[0] == "refused") == (size < len(text) - 1), size


tempting_bytes = st.sampled_from(b"0129.-+eEnN \t\r\n\0x")


@settings(parent=generous, max_examples=400)
@given(
    st.lists(st.tuples(st.integers(0, len(SMALL) - 1), tempting_bytes | st.integers(0, 255)), min_size=1, max_size=3),
    st.sampled_from(["replace", "delete", "insert"]),
)
@example([(0, ord("9"))], "replace")
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


@settings(parent=generous, max_examples=200)
@given(st.lists(st.text("0123456789.- ", min_size=60, max_size=110), min_size=1, max_size=3), st.integers(0, 63))
def test_rows_of_number_characters_give_the_result_of_the_naive_parser_at_all_block_offsets(drawn, shift):
    rows = [JOINT] * 25
    for index, row in enumerate(drawn):
        rows[index * 7] = row.encode() + b" 1"
    text = b"0" * shift + skeleton([[(HEADER, rows)]])
    assert outcome(text) == twin_outcome(text)


@settings(parent=generous, max_examples=200)
@given(st.lists(tokens.filter(bool), min_size=11, max_size=11), st.integers(0, 63))
def test_any_eleven_tokens_give_the_result_of_the_naive_parser_at_all_block_offsets(drawn, shift):
    row = " ".join(drawn).encode() + b" 1"
    text = b"0" * shift + skeleton([[(HEADER, [row] + [JOINT] * 24)]])
    assert outcome(text) == twin_outcome(text)


def test_a_recording_does_not_refer_to_the_buffer():
    reader = TextReader()
    texts = [path.read_bytes() for path in RAW[:3]]
    recordings = []
    for path, text in zip(RAW, texts, strict=False):
        assert reader.read_file(path) == (len(text), zlib.crc32(text))
        recordings.append(parse(reader.text, len(text), source=str(path), name=path.stem))
    reader.text[:] = 0
    for text, got in zip(texts, recordings, strict=True):
        assert got.xyz.tobytes() == parse_bytes(text).xyz.tobytes()
        for kept in (got.frame, got.slot, got.body, got.xyz, got.tracking):
            assert kept.flags.c_contiguous
            assert kept.base is None
            assert len(kept) == len(got.body)


def test_the_buffer_grows_for_long_files_and_short_reads_are_continued():
    class Trickle(io.BytesIO):
        def readinto(self, buffer):
            return super().readinto(memoryview(buffer)[:100_001])

    text = bytes(range(256)) * 8000
    reader = TextReader()
    assert reader.read(Trickle(text)) == (len(text), zlib.crc32(text))
    assert reader.text[: len(text)].tobytes() == text
    assert len(reader.text) >= len(text) + PADDING
    assert reader.read(io.BytesIO(b"")) == (0, 0)


def test_a_buffer_without_padding_raises_value_error():
    with pytest.raises(ValueError, match="need a buffer of"):
        parse(np.zeros(100, np.uint8), 100, source="there", name="there")


CHECK = """
import sys, warnings
warnings.simplefilter("error")
sys.path[:0] = ["."]
from tests.pipeline.sources import test_ntu_parser as t

broken = t.SMALL[:-1], t.SMALL[:-2], t.with_line(9, b"1"), b"", b"9", b"1\\n1\\n"
for text in (t.SMALL, t.with_numbers(t.ODD_NUMBERS), *broken):
    assert t.outcome(text) == t.twin_outcome(text), text
for size in range(0, len(t.SMALL), 97):
    assert t.outcome(t.SMALL[:size]) == t.twin_outcome(t.SMALL[:size]), size
"""


@pytest.mark.parametrize("setting", ["NUMBA_BOUNDSCHECK", "NUMBA_DISABLE_JIT"])
@pytest.mark.slow
def test_bounds_checked_and_interpreted_kernels_give_the_same_result(setting, tmp_path):
    """With bounds checks a read outside an array raises; without compilation wrapping arithmetic must not warn."""
    # Checked code must not enter the shared cache.
    environment = {**os.environ, setting: "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    command, folder = [sys.executable, "-c", CHECK], Path(__file__).parents[3]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("tail", [b"\x0b", b"\x0c\r\n", b"\x1c \n", b"\rx"])
def test_python_whitespace_after_the_last_frame_is_reported(tail):
    assert outcome(SMALL + tail) == twin_outcome(SMALL + tail)
    assert "expected the end after 3 frames, found" in refusal(SMALL + tail).reason


@pytest.mark.parametrize(("joints", "says"), [(b"1", "1 joints, expected 25"), (b"", "0 joints, expected 25")])
def test_a_wrong_count_with_thousands_of_leading_zeros_is_reported(joints, says):
    text = with_line(4, b"0" * 5000 + joints)
    assert outcome(text) == twin_outcome(text) == ("refused", 4)
    assert says in refusal(text).reason


@of_megabytes
@pytest.mark.parametrize("begin", [b"", b"1\r\n1\r\n" + HEADER + b"\r\n25\r\n0.5 "])
@pytest.mark.parametrize("endless", [b"9", b" ", b"1 ", b"\0"])
def test_a_line_without_end_is_refused_with_little_memory(begin, endless):
    size = 8_000_000
    buffer = np.zeros(size + PADDING, np.uint8)
    buffer[:size] = np.frombuffer((begin + endless * size)[:size], np.uint8)
    parse_bytes(SMALL)  # what compiling takes is not meant
    tracemalloc.start()
    with pytest.raises(RawFileError, match=rf":{1 + begin.count(LF)}: a line of \d+ bytes") as caught:
        parse(buffer, size, source="there", name="there")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * size
    assert len(str(caught.value)) < 200


@of_megabytes
@pytest.mark.parametrize("shift", [*range(-3, 4)])
def test_line_at_finds_lines_across_piece_boundaries(shift):
    text = SMALL[:-2] + b"\r\n" * (PIECE_BYTES // 2) + b" " * (shift + 9) + b"here\n" + b"\n" * PIECE_BYTES
    assert refusal(text).line == text[: text.index(b"here")].count(b"\n") + 1
    assert "found 'here'" in refusal(text).reason


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (b"3e38", "x of right_hip is 3e+38 m, expected at most 100 m"),
        (b"-1.7e3", "x of right_hip is -1700 m"),
        (b"100.00001", "x of right_hip is 100 m"),
    ],
)
def test_a_coordinate_that_no_sensor_measures_is_refused_with_value_and_line(number, says):
    line = len(SMALL.split(b"\r\n")) - 9  # of joint 16 of the last body
    text = with_line(line, number + b" -0.1725972 3.785547 0 0 0 0 0 0 0 0 2")
    with pytest.raises(RawFileError) as caught:
        parse_bytes(text, MAX_METRES)
    assert caught.value.line == line
    assert says in caught.value.reason
    assert parse_bytes(text).frames == 3


def test_memory_for_empty_frames_is_bounded_by_the_frames_with_a_body():
    few = skeleton([[BODY]] + [[]] * (MAX_FRAMES - 2) + [[BODY]])
    assert parse_bytes(few).frames == MAX_FRAMES
    many = skeleton([[BODY]] + [[]] * (MAX_FRAMES - 1) + [[BODY, BODY]])
    assert refusal(many).line == 1
    assert refusal(many).reason == f"{MAX_FRAMES + 1} frames, but a body in 2 only: cut out the part with people"
    sparse = skeleton([[BODY], *[[]] * (MAX_EMPTY_SHARE - 1)] * (MAX_FRAMES // MAX_EMPTY_SHARE + 1))
    assert parse_bytes(sparse).frames > MAX_FRAMES


@pytest.mark.parametrize("number", [b"100", b"-99.9", b"nan", b"inf", b"-inf"])
def test_coordinates_at_the_limit_and_missing_ones_are_accepted(number):
    text = with_line(5, number + b" -0.1725972 3.785547 0 0 0 0 0 0 0 0 2")
    assert parse_bytes(text, MAX_METRES).frames == 3
