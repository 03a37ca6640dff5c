"""Damaged lines of a log are reported and left out; the events before and after them are kept."""

from pathlib import Path

import pytest

from trainer.runs.log import (
    RunLog,
    damaged_lines,
    describe_damaged_lines,
    logged_texts,
    read_log,
    seconds_of_training,
)

FIRST, LATER = b'{"step": 0, "total": 1.5}\n', b'{"step": 1, "total": 1.25}\n{"step": 2,  "total": 1}\n'
DAMAGED = [
    b'{"step": 2, "tot', b"", b"[" * 20_000, b'{"a": ' * 20_000, b'{"step": "2"}', b'{"step": true}', b'{"step": 2.0}',
    b'{"step": null}', b'{"total": 1}', b'{"step": 2, "what": "\xff"}', b'{"step": 2\x00}', b"\xff\xfe{\x00}\x00",
    b'{"step": -1}', b'{"step": 9223372036854775808}', b"\x00" * 40,
]  # fmt: skip


def steps(path: Path) -> list[int]:
    return [event["step"] for event in read_log(path)]


@pytest.mark.parametrize("line", DAMAGED)
def test_a_damaged_line_is_reported_and_the_lines_after_it_are_kept_on_resume(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(FIRST + line + b"\n" + LATER)
    assert (steps(path), damaged_lines(path)) == ([0, 1, 2], [2])
    with RunLog(path, 2) as log:
        log.write(step=2, total=3.5)
    assert (
        path.read_bytes() == FIRST + line + b"\n" + LATER.splitlines(keepends=True)[0] + b'{"step": 2, "total": 3.5}\n'
    )
    assert describe_damaged_lines(path) == f"{path}: line 2 is damaged and ignored; all other lines are used"


def test_damaged_lines_among_the_repeated_steps_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(FIRST + LATER + b"damaged\n" + b'{"step": 3}\n')
    with RunLog(path, 1):
        pass
    assert path.read_bytes() == FIRST


@pytest.mark.parametrize("last", [b'{"step": 3, "tot', b"", b"\x00\x00", b"{"])
def test_an_incomplete_last_line_is_left_out_without_a_report(tmp_path: Path, last: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(FIRST + LATER + last)
    assert (steps(path), describe_damaged_lines(path)) == ([0, 1, 2], "")
    with RunLog(path, 3):
        pass
    assert path.read_bytes() == FIRST + LATER


def test_a_whole_last_line_without_its_end_is_an_event(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(FIRST + LATER.rstrip(b"\n"))
    assert steps(path) == [0, 1, 2]
    with RunLog(path, 3):
        pass
    assert path.read_bytes() == FIRST + LATER


def test_only_the_first_damaged_lines_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert describe_damaged_lines(path) == ""
    path.write_bytes(b"x\n" * 9)
    assert "lines 1, 2, 3, 4, 5, ... are damaged" in describe_damaged_lines(path)


def test_time_and_devices_of_a_training_are_read_over_all_resumes(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert (seconds_of_training(path), logged_texts(path, "device")) == (0.0, [])
    path.write_text(
        '{"step": 0, "seconds": 1.5, "device": "CPU, 2 threads"}\n{"step": 1, "seconds": 3}\n'
        '{"step": 2, "seconds": 4.25, "device": "GPU"}\n{"step": 3, "seconds": 5.5, "device": 3}\n'
        '{"step": 4, "seconds": "6"}\n{"step": 5, "seconds": NaN}\n{"step": 6}\n'
    )
    assert (seconds_of_training(path), logged_texts(path, "device")) == (5.5, ["CPU, 2 threads", "GPU"])
