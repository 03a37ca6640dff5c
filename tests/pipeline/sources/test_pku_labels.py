"""PKU-MMD label rows: values, refusals, and that an invalid row does not affect the others."""

import pytest

from pipeline.errors import RawFileError
from pipeline.sources.pku.labels import LabelRow, parse


def test_rows_are_read_in_file_order_with_line_numbers():
    assert parse(b"21,158,239,2\n24,300,350,1\n", "there") == [
        LabelRow(line=1, action=21, start=158, end=239, confidence="2"),
        LabelRow(line=2, action=24, start=300, end=350, confidence="1"),
    ]


PLAIN = parse(b"21,0,239,2\n24,300,350,1\n", "there")


@pytest.mark.parametrize("text", [
    b"21,0,239,2\r\n24,300,350,1\r\n",
    b" 21 , 0, 239 ,\t2 \n24,300,350,1",
    b"\xef\xbb\xbf21,0,239,2\n24,300,350,1\n\n \r\n",
    b"021,00,0239,2\n24,300,350,1\n",
])  # fmt: skip
def test_blanks_line_ends_and_a_byte_order_mark_are_ignored(text):
    assert parse(text, "there") == PLAIN


def test_blank_lines_are_skipped_and_counted_in_line_numbers():
    assert [row.line for row in parse(b"\n21,0,239,2\n\n24,300,350,1\n", "there")] == [2, 4]


def test_a_label_file_may_have_one_line():
    assert [row.action for row in parse(b"51,3,9,2", "there")] == [51]


@pytest.mark.parametrize(("row", "kept"), [(b"7,3,9", ""), (b"7,3,9,", ""), (b"7,3,9,1", "1"), (b"7,3,9,0.87", "0.87")])
def test_confidence_is_kept_as_written_and_is_optional(row, kept):
    (found,) = parse(row, "there")
    assert (found.confidence, found.fault) == (kept, "")


def test_overlaps_and_repeated_rows_are_kept():
    assert len(parse(b"7,3,90,2\n8,50,120,2\n7,3,90,2\n", "there")) == 3


@pytest.mark.parametrize(("row", "says"), [
    (b"52,3,9,2", "action 52 does not exist in PKU-MMD (1..51)"),
    (b"0,3,9,2", "action 0 does not exist"),
    (b"clap,3,9,2", "action id is 'clap', expected a whole number"),
    (b"7,-3,9,2", "first frame is '-3'"),
    (b"7,3.5,9,2", "first frame is '3.5'"),
    (b"7,3,,2", "last frame is ''"),
    (b"7,3,99999999999999999999,2", "last frame is '99999999999999999999'"),
    (b"7,3,9,sure", "confidence is 'sure'"),
    (b"7,3", "row has 2 fields"),
    (b"7,3,9,2,5", "row has 5 fields"),
    (b"7 3 9 2", "row has 1 fields, expected action id, first frame, last frame, confidence with commas between"),
])  # fmt: skip
def test_an_invalid_row_has_a_reason_and_does_not_affect_the_others(row, says):
    good, bad, after = parse(b"21,158,239,2\n" + row + b"\n24,300,350,1\n", "there")
    assert says in bad.fault
    assert bad.line == 2
    assert (good.action, after.action, good.fault, after.fault) == (21, 24, "", "")


@pytest.mark.parametrize(("text", "says"), [
    (b"", "no action is labelled"),
    (b"\r\n \n", "no action is labelled"),
    ("21,158,239,2\n".encode("utf-16"), "UTF-16"),
    (b"PK\x03\x04", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
])  # fmt: skip
def test_files_without_rows_are_refused(text, says):
    with pytest.raises(RawFileError, match=says):
        parse(text, "there")
