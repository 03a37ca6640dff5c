"""The soak test notices growing handles, threads, children, temporary files and memory."""

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.proofs import soak

FLAT = soak.Held(memory=500.0, handles=11, threads=5, children=2, temporary=3)


def test_growth_during_the_first_rounds_is_ignored() -> None:
    rounds = [replace(FLAT, memory=300.0 + 40 * n, threads=1 + n) for n in range(5)] + [FLAT] * 15
    assert soak.growth(rounds) == []
    wavering = [replace(FLAT, memory=500.0 + 7 * (n % 3)) for n in range(20)]
    assert soak.growth(wavering) == []


@pytest.mark.parametrize("what", ["handles", "threads", "children", "temporary"])
def test_one_more_of_anything_is_reported(what: str) -> None:
    more = replace(FLAT, **{what: getattr(FLAT, what) + 1})
    assert soak.growth([FLAT] * 12 + [more] * 8) == [
        f"{what}: {getattr(FLAT, what):.1f} in the first rounds, {getattr(more, what):.1f} in the last"
    ]


def test_memory_growth_of_a_megabyte_per_round_is_reported() -> None:
    assert soak.growth([replace(FLAT, memory=500.0 + n) for n in range(40)]) == [
        "memory: 514.5 in the first rounds, 534.5 in the last"
    ]


def test_handles_threads_children_and_files_are_counted(tmp_path: Path) -> None:
    before = soak.held(tmp_path)
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with (tmp_path / "left").open("w"):
        after = soak.held(tmp_path)
    over.set()
    thread.join()
    child.communicate(b"\n")
    more = {name: getattr(after, name) - getattr(before, name) for name in ("threads", "children", "temporary")}
    assert more == {"threads": 1, "children": 1, "temporary": 1}
    assert after.handles - before.handles == 2  # the file, and the pipe to the child


def test_commands_with_missing_packages_are_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert soak.NEEDS.keys() <= set(soak.AFTER)
    monkeypatch.setitem(soak.NEEDS, soak.ONNX, ("json", "never_installed"))
    assert soak.left_out() == {soak.ONNX: ["never_installed"]}
    monkeypatch.setitem(soak.NEEDS, soak.ONNX, ("json",))
    assert soak.left_out() == {}
