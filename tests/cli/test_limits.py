"""Commands under the limits of a shell or a batch system."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import SkelepipeError
from pipeline.files.address_space import require_address_space

ROOT = Path(__file__).parents[2]


def test_a_command_in_too_little_address_space_stops_with_a_message(tmp_path: Path) -> None:
    command = f"ulimit -v 400000; exec {sys.executable} {ROOT / 'cli.py'} ingest ntu60 {tmp_path} --workers 2"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: the memory limit of this process (ulimit -v) is 410 MB, expected at least")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("limit", "allowed"), [((1 << 30) - 1, False), (1 << 30, True), (-1, True)])
def test_only_a_small_limit_is_refused(limit: int, allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limit, limit))
    if allowed:
        require_address_space()
    else:
        with pytest.raises(SkelepipeError, match="ulimit -v"):
            require_address_space()
