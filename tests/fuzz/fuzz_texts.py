"""Fuzz targets: texts that are parsed line by line; most are compared with a slow twin."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RawFileError, SkelepipeError
from pipeline.sources.coordinate_limits import MAX_METRES
from pipeline.sources.pku import labels as pku_labels
from pipeline.store import split_file
from tests.fuzz import damage
from tests.fuzz.fuzz_judging import MAX_MESSAGE_CHARACTERS, Judge, Outcome, Target, Wrong, ask, same
from tests.pipeline.artifacts import test_format_versions as versions
from tests.pipeline.sources import test_ntu_parser, test_pku_parser
from tests.support import reference
from trainer.runs.log import RunLog, read_log


def ntu_text(_: Path) -> tuple[Sequence[bytes], Judge]:
    body = test_ntu_parser.BODY
    one = test_ntu_parser.skeleton([[body]])
    odd = test_ntu_parser.with_numbers(test_ntu_parser.ODD_NUMBERS[:75])
    golden = min((path.read_bytes() for path in test_ntu_parser.RAW), key=len)
    first_frame = b"1\r\n" + b"".join(golden.splitlines(keepends=True)[1:29])
    seeds = [one, one.replace(b"\r\n", b"\n"), test_ntu_parser.skeleton([[], [body], []]), odd, first_frame]

    def judge(content: bytes) -> Outcome:
        found = ask(lambda: test_ntu_parser.parse_bytes(content), "input.skeleton", content.count(b"\n") + 1)
        wanted = test_ntu_parser.twin_outcome(content)
        if isinstance(found, RawFileError):
            same(("refused", found.line or 1), wanted)
            return Outcome(True, True)
        rows = zip(found.frame, found.slot, found.body, found.xyz, found.tracking, strict=True)
        same((found.frames, [(int(f), int(s), int(b), x.tobytes(), t.tobytes()) for f, s, b, x, t in rows]), wanted)
        judge_limit(content, found.xyz, lambda: test_ntu_parser.parse_bytes(content, MAX_METRES), "input.skeleton")
        return Outcome(False, True)

    return seeds, judge


def judge_limit(content: bytes, xyz: NDArray[np.float32], parse: Callable[[], object], source: str) -> None:
    """Check that a text is refused if a coordinate is too large, with a line that has a number that is too large."""
    limited = ask(parse, source, content.count(b"\n") + 1)
    is_refused = isinstance(limited, RawFileError)
    same(is_refused, bool((np.isfinite(xyz) & (np.abs(xyz) > MAX_METRES)).any()))
    if isinstance(limited, RawFileError):
        numbers = content.split(b"\n")[limited.line - 1].split()
        same(any(abs(float(number)) > MAX_METRES for number in numbers), True)


def pku_text(_: Path) -> tuple[Sequence[bytes], Judge]:
    two = test_pku_parser.fixed(test_pku_parser.one_body(2))
    both = test_pku_parser.one_body(1)
    both[:, 75:] = 0.25
    seeds = [
        two,
        test_pku_parser.fixed(both),
        two.replace(b"\n", b"\r\n"),
        test_pku_parser.with_numbers(test_pku_parser.ODD),
    ]

    def judge(content: bytes) -> Outcome:
        found = ask(lambda: test_pku_parser.parse_bytes(content), "input.txt", content.count(b"\n") + 1)
        wanted = test_pku_parser.twin_outcome(content)
        if isinstance(found, RawFileError):
            same(("refused", found.line or 1), wanted)
            return Outcome(True, True)
        same((found.frames, test_pku_parser.all_numbers(found).tobytes()), wanted)
        judge_limit(content, found.xyz, lambda: test_pku_parser.parse_bytes(content, MAX_METRES), "input.txt")
        return Outcome(False, True)

    return seeds, judge


LABELS = (
    b"21,158,239,2\n24,300,350,1\n",
    b" 51 , 3,9 \r\n\r\n7,3,90,\r\n",
    b"\xef\xbb\xbf1,0,1,0.87\n2,1,2,+1\n3,2,3,2",
)


def pku_label_rows(_: Path) -> tuple[Sequence[bytes], Judge]:
    def judge(content: bytes) -> Outcome:
        found = ask(lambda: pku_labels.parse(content, "input.txt"), "input.txt", content.count(b"\n") + 1)
        wanted = reference.parse_label_rows(content)
        if isinstance(found, RawFileError):
            same(found.line == 1 or not wanted, True)  # not a text file, judged by its first bytes, or without any row
            return Outcome(True, True)
        rows = [(row.line, None if row.fault else (row.action, row.start, row.end, row.confidence)) for row in found]
        same(rows, wanted)
        for row in found:
            if len(row.fault) > MAX_MESSAGE_CHARACTERS or not row.fault.isprintable():
                raise Wrong(f"the fault is not one plain line: {row.fault[:300]!r}")
        return Outcome(False, True)

    return LABELS, judge


def split_list(folder: Path) -> tuple[Sequence[bytes], Judge]:
    path = folder / "cross-subject.txt"
    shipped = b"Training videos: \n0002-L, 0002-M, 0002-R\nValidataion videos: \n0291-L, 0291-M\n"
    seeds = [shipped, shipped.replace(b"\n", b"\r\n"), shipped.replace(b", ", b",\n"), b"train:a\nTest clips:b.c,d-e"]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        found = ask(lambda: split_file.read_split_file(path), str(path))
        wanted = reference.parse_split_names(content)
        if isinstance(found, SkelepipeError):
            line = re.match(rf"{re.escape(str(path))}:(\d+): ", str(found))
            if line and int(line[1]) > len(re.split(rb"\r\n|\n|\r", content)):
                raise Wrong(f"the message names a line that does not exist: {found}")
            same(None, wanted if not str(found).startswith(f"{path}: this is") else None)
            return Outcome(True, True)
        same((found.train, found.test), wanted)
        return Outcome(False, True)

    return seeds, judge


def log(folder: Path) -> tuple[Sequence[bytes], Judge]:
    path = folder / "log.jsonl"
    whole = (versions.V1 / versions.RUN / "log.jsonl").read_bytes()
    seeds = [whole, whole * 2, b'{"step": 3}\n{"step": 4}\n{"ste']

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        wanted = reference.log_lines(content)
        same(repr(ask(lambda: read_log(path), str(path))), repr(wanted))

        def truncate() -> list[Any]:
            with RunLog(path, 1):
                return read_log(path)

        same(repr(ask(truncate, str(path))), repr([event for event in wanted if event["step"] < 1]))
        return Outcome(False, True)

    return seeds, judge


TARGETS = (
    Target(name="ntu text", start=ntu_text, ways=damage.TEXT, share=270),
    Target(name="pku text", start=pku_text, ways=damage.TEXT, share=200),
    Target(name="pku labels", start=pku_label_rows, ways=damage.TEXT, share=150, times=300),
    Target(name="split lists", start=split_list, ways=damage.TEXT, share=60, times=100),
    Target(name="log.jsonl", start=log, ways=(*damage.JSON, *damage.TEXT), share=20, times=100),
)
