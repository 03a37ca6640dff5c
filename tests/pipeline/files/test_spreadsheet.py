import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.files.spreadsheet import escape_cell, unescape_cell


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", "\t=1", "\r=1", "-name"])
def test_formulas_are_marked_and_read_back(text: str) -> None:
    assert escape_cell(text) == f"'{text}"
    assert unescape_cell(escape_cell(text)) == text


@pytest.mark.parametrize("text", ["-0.5", "+3", "-1e-5", "1", "walk", "", "'quoted'", "a=b"])
def test_numbers_and_other_texts_stay(text: str) -> None:
    assert escape_cell(text) == text == unescape_cell(text)


@given(st.text())
def test_every_cell_that_was_escaped_is_read_back(text: str) -> None:
    if unescape_cell(text) == text:
        assert unescape_cell(escape_cell(text)) == text
