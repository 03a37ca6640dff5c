"""Damaged files of every kind are refused or read as the twin reads them, and the fuzzer notices planted faults."""

import dataclasses
import faulthandler
import os
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import RawFileError
from pipeline.sources.pku import labels as pku_labels
from tests.fuzz import big_files, fuzz, fuzz_texts
from tests.fuzz.fuzz_judging import Outcome, Target, Wrong
from tests.fuzz.fuzz_targets import BY_NAME, TARGETS

CASES = {True: 150, False: 8}
"""Number of cases for a quick target and for one that opens whole artifacts."""


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_damaged_files_are_refused_or_read_like_the_twin(target: Target, tmp_path: Path) -> None:
    seeds, judge = target.start(tmp_path)
    refused = []
    for content in seeds:
        judge(content)
    for number in range(CASES[target.share >= 10]):
        content = target.content(seeds, 7, number)
        found = fuzz.run_case(target, judge, content, traced=number % 30 == 0)
        refused.append(found[0])
    assert any(refused) or target.name in ("log.jsonl", "linear.classifier-MANIFEST.json")
    assert len({target.content(seeds, 7, number) for number in range(20)}) > 9


generous = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])

digits = st.text("0123456789", max_size=12)
numbers = st.one_of(
    st.builds(
        "{}{}{}{}{}".format,
        *(st.sampled_from(["", "-", "+"]), digits, st.sampled_from(["", "."]), digits),
        st.just("") | st.builds("e{}{}".format, st.sampled_from(["", "-", "+"]), digits),
    ),
    st.floats(width=32).map(repr),
    st.sampled_from(["1e999", "nan", "-inf", "Infinity", "-1.#IND", "1,5", "0x1", "1_0", ".", "-", "1e-400"]),
    st.sampled_from(["0.5", "-0.123456", "12", "1.25"]),
)
usual = st.sampled_from(["0.5", "-0.123456", "1.25", "3", "-2.5e-3"])
counts = st.one_of(st.integers(0, 3), st.integers(0, 3), st.sampled_from([-1, 999_999_999, 10**9, 10**40])).map(str)
ends = st.sampled_from(["\n", "\r\n", "\n", "\r\n", " \n", "\r", "\n\n"])


@st.composite
def ntu_texts(draw: st.DrawFn) -> bytes:
    """Frames, bodies and joints that mostly match their counts, with occasional damage."""
    end, rare = draw(ends), st.integers(0, 24).map(lambda drawn: drawn == 0)

    def line(fields: list[str]) -> str:
        if draw(rare):
            fields[draw(st.integers(0, len(fields) - 1))] = draw(numbers)
        return " ".join(fields)

    def body() -> list[str]:
        header = line([draw(st.integers(-(2**63), 2**63).map(str)), *["0"] * 9])
        row = [*[draw(usual) for _ in range(11)], draw(st.sampled_from("0122"))]
        return [header, "25" if not draw(rare) else draw(counts), *(line(row.copy()) for _ in range(25))]

    frames = draw(st.integers(0, 2))
    lines = [str(frames) if not draw(rare) else draw(counts)]
    for _ in range(frames):
        bodies = draw(st.integers(0, 2))
        lines.append(str(bodies) if not draw(rare) else draw(counts))
        for _ in range(bodies):
            lines += body()
    if draw(rare):
        del lines[draw(st.integers(0, len(lines) - 1))]
    text = end.join(lines) + draw(st.sampled_from([end, end, "", " ", "\0"]))
    return text.encode()[: draw(st.none() | st.integers(0, len(text)))]


@st.composite
def pku_texts(draw: st.DrawFn) -> bytes:
    """Rows of mostly 150 numbers."""
    row = [draw(usual) for _ in range(10)] * 15
    rows = [row.copy() for _ in range(draw(st.integers(1, 3)))]
    for _ in range(draw(st.integers(0, 2))):
        chosen = rows[draw(st.integers(0, len(rows) - 1))]
        column = draw(st.integers(0, 149))
        chosen[column : column + draw(st.sampled_from([1, 1, 1, 0, 2]))] = [draw(numbers)]
    gap, end = draw(st.sampled_from([" ", " ", "  ", "\t"])), draw(ends)
    text = end.join(gap.join(row) for row in rows) + draw(st.sampled_from([end, end, "", "\n \n"]))
    return text.encode()[: draw(st.none() | st.integers(0, len(text)))]


whole = st.one_of(st.integers(0, 60), st.integers(-1, 10**10)).map(str)
label_rows = st.builds(
    lambda fields, gap, mark: f"{gap}{mark.join(fields)}{gap}",
    st.lists(whole | numbers, min_size=2, max_size=5) | st.tuples(whole, whole, whole, st.sampled_from(["1", "2", ""])),
    st.sampled_from(["", " ", "\t", "\x0b", "\xa0"]),
    st.sampled_from([",", ",", ", ", ";", " "]),
)
label_texts = st.lists(label_rows, max_size=5).flatmap(lambda rows: ends.map(lambda end: end.join(rows).encode()))


@pytest.mark.parametrize(
    ("name", "texts"), [("ntu text", ntu_texts()), ("pku text", pku_texts()), ("pku labels", label_texts)]
)
def test_texts_generated_from_the_grammar_are_read_like_the_twin(
    name: str, texts: st.SearchStrategy[bytes], tmp_path: Path
) -> None:
    judge = BY_NAME[name].start(tmp_path)[1]
    accepted = []

    @settings(parent=generous, max_examples=150, derandomize=True, database=None)
    @given(texts)
    def ask(text: bytes) -> None:
        outcome = judge(text)
        assert outcome.twin
        accepted.append(not outcome.refused)

    ask()
    assert any(accepted)
    assert not all(accepted)


LABELS = BY_NAME["pku labels"]


def shifts_start(content: bytes, source: str) -> list[pku_labels.LabelRow]:
    return [dataclasses.replace(row, start=row.start + 1) for row in parse(content, source)]


def raises(error: Exception) -> Callable[[bytes, str], list[pku_labels.LabelRow]]:
    def fail(_: bytes, __: str) -> list[pku_labels.LabelRow]:
        raise error

    return fail


def takes_memory(content: bytes, source: str) -> list[pku_labels.LabelRow]:
    np.ones(LABELS.room + LABELS.times * len(content), np.uint8)
    return parse(content, source)


parse = pku_labels.parse
FAULTS = {
    "wrong value": (shifts_start, "differs from the twin"),
    "a Python exception": (raises(IndexError("list index out of range")), "IndexError: list index"),
    "file not named": (raises(RawFileError("elsewhere", 1, "wrong")), "does not name 'input.txt'"),
    "line does not exist": (raises(RawFileError("input.txt", 99, "wrong")), "names no line"),
    "memory": (takes_memory, "bytes of memory for a file of"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_parser_is_detected(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds, judge = LABELS.start(tmp_path)
    fuzz.run_case(LABELS, judge, seeds[0], traced=True)
    parser, message = FAULTS[fault]
    monkeypatch.setattr(pku_labels, "parse", parser)
    with pytest.raises(Wrong, match=message):
        fuzz.run_case(LABELS, judge, seeds[0], traced=True)


@pytest.fixture
def findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Redirect findings to a temporary folder."""
    monkeypatch.setattr(fuzz, "FINDINGS_FOLDER", tmp_path / "findings")
    return tmp_path / "findings"


def test_a_process_that_dies_or_hangs_is_reported_and_the_other_cases_still_run(
    findings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {number: LABELS.content(fuzz_texts.LABELS, 3, number) for number in range(50)}
    unique = [n for n, text in contents.items() if [*contents.values(), *fuzz_texts.LABELS].count(text) == 1]
    first, second = unique[5], unique[15]
    deadly, endless = contents[first], contents[second]

    def judge(content: bytes) -> Outcome:
        if content == deadly:
            faulthandler.disable()
            os.kill(os.getpid(), signal.SIGSEGV)
        if content == endless:
            time.sleep(60)
        return Outcome(refused=False, twin=True)

    target = dataclasses.replace(LABELS, start=lambda _: (fuzz_texts.LABELS, judge))
    monkeypatch.setitem(BY_NAME, LABELS.name, target)
    lane, tally = fuzz.Lane(seed=3, hang=1.0, method="fork"), fuzz.Tally()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # since Python 3.12, a fork of a process with threads warns
        lane.run(target, 0, 50, tally)
        lane.stop()
    assert (tally.cases, tally.twin, tally.findings) == (50, 48, 2)
    saved = {path.name: path.read_bytes() for path in findings.iterdir()}
    assert saved[f"pku-labels-{first}.bin"] == deadly
    assert saved[f"pku-labels-{second}.bin"] == endless
    assert b"ended with -11" in saved[f"pku-labels-{first}.txt"]
    assert b"no answer within 1 s" in saved[f"pku-labels-{second}.txt"]


def test_a_case_can_be_repeated_by_its_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fuzz.repeat("pku labels:5", 0) == 0
    monkeypatch.setattr(pku_labels, "parse", shifts_start)
    assert fuzz.repeat("pku labels:5", 0) == 1
    assert "differs from the twin" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["ntu: digits without end", "pku: blanks without end", "labels: digits without end"])
def test_big_files_are_refused_with_little_memory(name: str) -> None:
    good, line = big_files.run(name, 20_000_000)
    assert good, line


def test_a_refusal_that_uses_much_memory_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(big_files, "BASE_BYTES", 0)
    good, line = big_files.run("labels: digits without end", 2_000_000)
    assert not good, line
