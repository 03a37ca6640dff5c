"""Cells of CSV files that a spreadsheet would run as a formula: mark them with an apostrophe, and undo it."""

import re

FORMULA_START = re.compile(r"[=+\-@\t\r]")
"""First characters of cells that spreadsheets run as a formula (OWASP, CSV injection)."""
MARK = "'"


def escape_cell(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would run; numbers such as -0.5 are kept."""
    if FORMULA_START.match(text) and not _is_number(text):
        return MARK + text
    return text


def unescape_cell(text: str) -> str:
    """Undo `escape_cell`."""
    return text[1:] if text.startswith(MARK) and FORMULA_START.match(text, 1) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
