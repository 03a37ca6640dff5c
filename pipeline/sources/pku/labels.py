"""Parse PKU-MMD label files; an invalid row does not affect the others."""

import re
from dataclasses import dataclass

from pipeline.errors import RawFileError
from pipeline.sources.pku.names import CLASSES
from pipeline.sources.text_buffer import explain_foreign_format, quote

_INTEGER = re.compile(rb"\d{1,9}")
_CONFIDENCE = re.compile(rb"[+-]?\d{1,9}(\.\d{1,9})?|")
_FIELDS = "action id, first frame, last frame, confidence"


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelRow:
    """One annotated action, or a row that cannot be read as one."""

    line: int
    """Line number in the file, from 1."""
    action: int = 0
    """Number of the class, 1..51."""
    start: int = 0
    end: int = 0
    """Frame numbers as written in the file; their meaning depends on the frame-index convention."""
    confidence: str = ""
    """As written in the file, 1 (slight) or 2 (strong); empty when the row has none."""
    fault: str = ""
    """Why the row cannot be used; empty when it can."""


def parse(text: bytes, source: str) -> list[LabelRow]:
    """Parse the rows `action,start,end,confidence` of a label file, in file order.

    Blanks around fields, blank lines, CR LF and a byte order mark are ignored. The confidence may be missing.
    Intervals may overlap and leave gaps, and rows may be repeated.

    Args:
        text: the whole file.
        source: the file as the user knows it, for messages.

    Raises:
        RawFileError: the file has no row, or is not a text file.
    """
    text = text.removeprefix(b"\xef\xbb\xbf")
    if reason := explain_foreign_format(text):
        raise RawFileError(source, 1, reason)
    rows = [_row(number, line) for number, line in enumerate(text.split(b"\n"), 1) if line.strip()]
    if not rows:
        raise RawFileError(source, 0, f"no action is labelled; expected rows of {_FIELDS}, or remove the video")
    return rows


def _row(line: int, text: bytes) -> LabelRow:
    fields = [field.strip() for field in text.split(b",")]
    if len(fields) not in (3, 4):
        return LabelRow(
            line=line, fault=f"row has {len(fields)} fields, expected {_FIELDS} with commas between: {quote(text)}"
        )
    action, start, end, confidence = (*fields, b"")[:4]
    for name, field in (("action id", action), ("first frame", start), ("last frame", end)):
        if not _INTEGER.fullmatch(field):
            return LabelRow(line=line, fault=f"{name} is {quote(field)}, expected a whole number, not negative")
    if not 1 <= int(action) <= len(CLASSES):
        return LabelRow(line=line, fault=f"action {int(action)} does not exist in PKU-MMD (1..{len(CLASSES)})")
    if not _CONFIDENCE.fullmatch(confidence):
        return LabelRow(line=line, fault=f"confidence is {quote(confidence)}, expected a number")
    return LabelRow(line=line, action=int(action), start=int(start), end=int(end), confidence=confidence.decode())
