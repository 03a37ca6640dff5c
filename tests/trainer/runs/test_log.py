"""A log is read up to the first line that is no whole event, whatever damage or a kill has left there."""

from pathlib import Path

import pytest

from trainer.runs.log import RunLog, read_log

WHOLE = b'{"step": 0, "total": 1.5}\n{"step": 1, "total": 1.25}\n'


@pytest.mark.parametrize("line", [
    b'{"step": 2, "tot', b"", b"[" * 20_000, b'{"a": ' * 20_000, b'{"step": "2"}', b'{"step": true}', b'{"step": 2.0}',
    b'{"step": null}', b'{"total": 1}', b'{"step": 2, "what": "\xff"}', b'{"step": 2\x00}', b"\xff\xfe{\x00}\x00",
])  # fmt: skip
def test_the_log_ends_at_the_first_invalid_line(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(WHOLE + line + b"\n" + WHOLE)
    assert [event["step"] for event in read_log(path)] == [0, 1]
    with RunLog(path, 1) as log:
        log.write(step=1, total=3.5)
    assert path.read_bytes() == WHOLE.splitlines(keepends=True)[0] + b'{"step": 1, "total": 3.5}\n'
