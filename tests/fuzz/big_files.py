"""Very large texts: each is refused by its own process, whose peak memory is compared with the size of the file."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import RawFileError, SkelepipeError
from pipeline.sources.ntu.parser import parse as parse_ntu
from pipeline.sources.pku import labels as pku_labels
from pipeline.sources.pku.parser import parse as parse_pku
from pipeline.sources.text_buffer import TextReader
from pipeline.store import split_file

TESTS = Path(__file__).parents[1]
PIECE = 1 << 20
HEADER = b"72057594037931101 0 1 1 1 1 0 0.02764709 0.05745083 2\n25\n"
ROW = b"0.2181153 -0.1725972 3.785547 277.419 191.8218 1036.233 519.1677 -0.2059419 0.05349901 0.9692109 -0.1239193 2\n"

CASES: dict[str, tuple[str, bytes, bytes]] = {
    "ntu: digits without end": ("ntu", b"", b"9" * PIECE),
    "ntu: blanks without end": ("ntu", b"", b" " * PIECE),
    "ntu: NULs without end": ("ntu", b"", bytes(PIECE)),
    "ntu: line ends without end": ("ntu", b"", b"\n" * PIECE),
    "ntu: a coordinate without end": ("ntu", b"1\n1\n" + HEADER + b"0.5 ", b"3" * PIECE),
    "ntu: fields without end": ("ntu", b"1\n1\n" + HEADER, b"1 " * (PIECE // 2)),
    "ntu: claims 999999999 frames": ("ntu", b"999999999\n", b"0\n" * (PIECE // 2)),
    "ntu: claims 999999999 bodies": ("ntu", b"1\n999999999\n", HEADER + ROW * 25),
    "pku: digits without end": ("pku", b"", b"9" * PIECE),
    "pku: blanks without end": ("pku", b"", b" " * PIECE),
    "pku: fields without end": ("pku", b"", b"1 " * (PIECE // 2)),
    "pku: line ends without end": ("pku", b"1\n", b"\n" * PIECE),
    "labels: digits without end": ("labels", b"", b"9" * PIECE),
    "split list: a name without end": ("split", b"Training videos:\n", b"x" * PIECE),
}
"""Parser, first bytes of the file, and the bytes repeated after them up to the size of the file."""
MAX_TIMES, BASE_BYTES = 6, 300 << 20
"""Memory that a refusal may use: bytes per byte of the file, and bytes for the program itself."""


def pieces(begin: bytes, piece: bytes, size: int) -> Iterator[bytes]:
    yield begin
    for _ in range((size - len(begin)) // len(piece)):
        yield piece


def refuse(kind: str, path: Path) -> str:
    """Read a file with its parser; return the error message."""
    try:
        if kind in ("ntu", "pku"):
            reader = TextReader()
            size, _ = reader.read_file(path)
            {"ntu": parse_ntu, "pku": parse_pku}[kind](reader.text, size, source=str(path), name=path.stem)
        elif kind == "labels":
            for row in pku_labels.parse(path.read_bytes(), str(path)):
                if row.fault:
                    raise RawFileError(str(path), row.line, row.fault)
        else:
            split_file.read_split_file(path)
    except SkelepipeError as error:
        return str(error)
    raise AssertionError("the file was accepted")


def run(name: str, size: int) -> tuple[bool, str]:
    """Write a big file, read it in a new process, remove it; return success and a line of the table."""
    kind, begin, piece = CASES[name]
    with tempfile.TemporaryDirectory() as folder:  # on disk: a file in memory would count twice
        path = Path(folder) / "big.txt"
        with path.open("wb") as handle:
            handle.writelines(pieces(begin, piece, size))
        began, size = time.monotonic(), path.stat().st_size
        command = [sys.executable, "-m", "tests.fuzz.big_files", kind, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200, cwd=TESTS.parent)
        seconds = time.monotonic() - began
    if done.returncode:
        return False, f"{name:34}{size:15,}  FAILED ({done.returncode}): {done.stderr[-600:]}"
    memory, _, message = done.stdout.partition(" ")
    good = int(memory) <= MAX_TIMES * size + BASE_BYTES and str(path) in message and len(message) < 1000
    result = f"{int(memory) / size:6.1f} x {seconds:6.1f} s  {message.strip().removeprefix(str(path))[:90]}"
    return good, f"{name:34}{size:15,}{result}{'' if good else '  TOO MUCH, or the message does not name the file'}"


def run_all(size: int) -> int:
    """Run all big files and print a table; return the number of failures."""
    print(f"{'big file':34}{'bytes':>15}{'memory':>8} {'took':>8}  refused as")
    bad = 0
    for name in CASES:
        good, line = run(name, size)
        print(line, flush=True)
        bad += not good
    return bad


if __name__ == "__main__":
    refusal = refuse(sys.argv[1], Path(sys.argv[2]))
    # Not getrusage: its peak includes the forked parent before exec.
    status = Path("/proc/self/status").read_text()
    print(int(re.search(r"VmHWM:\s+(\d+)", status)[1]) << 10, refusal)
