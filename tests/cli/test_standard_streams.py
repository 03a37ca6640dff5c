"""Commands whose standard streams are closed, broken or on a full disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")


def run(redirection: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of skelepipe with a redirection of the shell."""
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, str(ROOT / "cli.py"), *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def test_a_command_with_closed_output_does_its_work(own_store: Path) -> None:
    done = run(">&-", "inspect", str(own_store))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_command_without_any_stream_does_its_work(own_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.npz"
    assert run("<&- >&- 2>&-", "export", str(own_store), "--out", str(out)).returncode == 0
    assert out.read_bytes().startswith(b"PK")
    assert run("<&- >&- 2>&-", "inspect", str(tmp_path / "none")).returncode == 2


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [["--help"], ["completion", "bash"]])
def test_output_to_a_full_disk_is_one_line_and_exit_code_5(words: list[str]) -> None:
    done = run(">/dev/full", *words)
    assert done.returncode == 5
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: standard output: ")
    assert "No space left on device" in last
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["inspect"], ["config", "show"]])
def test_a_reader_that_has_gone_ends_the_command_like_sigpipe(words: list[str], own_store: Path) -> None:
    store = [str(own_store)] if words == ["inspect"] else []
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, str(ROOT / "cli.py"), *words, *store]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    os.close(writer)
    assert ended.returncode == 141
    assert "Traceback" not in ended.stderr
    assert "Error" not in ended.stderr
