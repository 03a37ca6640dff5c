"""The quick form of `make mutants`: it tells what is noticed from what is not, and its list of equivalents is true."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LISTED = tomllib.loads((TESTS / "mutants_equivalent.toml").read_text(encoding="utf-8"))["equivalent"]
MODULES = sorted({entry["module"] for entry in LISTED})

TRY = """
import json, sys
from pathlib import Path
import forked
root = Path(sys.argv[1])
forked.warm_up(root, ())
suite = forked.Suite(tests=("test_smaller",), compiled=True)
found = {}
for name, source in json.loads(sys.argv[2]).items():
    limits = {"endless": (2.0, 60.0), "a test without end": (60.0, 0.5)}.get(name, (60.0, 60.0))
    outcome = forked.Forked("small/smaller.py", source, suite, limits, root / "said.txt", root).wait()
    found[name] = [outcome.verdict, outcome.by]
print(json.dumps(found))
"""
SMALLER = "def smaller(a, b):\n    while a > b:\n        a = a - b\n    return a\n"


def test_what_tests_notice_is_told_from_what_they_do_not(tmp_path: Path) -> None:
    """Each change is seen by its own tests run alone, and the file on disk stays as it is."""
    (tmp_path / "small").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "small/smaller.py").write_text(SMALLER)
    (tmp_path / "tests/test_smaller.py").write_text(
        "from small.smaller import smaller\n\ndef test_it():\n    assert smaller(7, 3) == 1\n"
    )
    sources = {
        "as it is": None,
        "noticed": SMALLER.replace("return a", "return a + 1"),
        "not noticed": SMALLER.replace("a > b", "a >= b"),
        "endless": SMALLER.replace("a - b", "a + b"),
        "a test without end": SMALLER.replace("a - b", "a + b"),
        "no Python": SMALLER.replace("while", "whale"),
        "fatal": "import os\nos.abort()\n",
    }
    done = subprocess.run(
        [sys.executable, "-c", TRY, tmp_path, json.dumps(sources)],
        capture_output=True,
        text=True,
        check=True,
        cwd=TESTS,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "as it is": ["survived", ""],
        "noticed": ["killed", "tests/test_smaller.py::test_it"],
        "not noticed": ["survived", ""],
        "endless": ["timed out", ""],
        "a test without end": ["timed out", "tests/test_smaller.py::test_it"],
        "no Python": ["killed", "tests/test_smaller.py"],
        "fatal": ["killed", ""],
    }
    assert (tmp_path / "small/smaller.py").read_text() == SMALLER


def test_each_equivalent_is_a_line_of_its_module_changed_for_a_reason() -> None:
    for entry in LISTED:
        assert entry.keys() == {"module", "function", "line", "becomes", "reason"}
        lines = {line.strip() for line in (TESTS.parent / entry["module"]).read_text(encoding="utf-8").splitlines()}
        assert entry["line"] in lines, f"{entry['module']} has no line {entry['line']!r} any more"
        assert entry["becomes"]
        assert entry["line"] not in entry["becomes"]
        assert len(entry["reason"]) > 15


@pytest.mark.parametrize("module", MODULES)
def test_each_equivalent_is_a_mutant(module: str) -> None:
    mutants = pytest.importorskip("mutants", reason="needs cosmic-ray, which `make mutants` installs")
    keys, unmatched = mutants.matched(mutants.equivalents(module), mutants.enumerate_mutants(module))
    assert unmatched == []
    assert len(keys) >= sum(len(entry["becomes"]) for entry in LISTED if entry["module"] == module)


def test_what_is_changed_is_logic() -> None:
    """Of a line with an annotation, a star for keywords, a message and a sum, the default and the sum."""
    mutants = pytest.importorskip("mutants", reason="needs cosmic-ray, which `make mutants` installs")
    found = {(one.operator, one.line) for one in mutants.enumerate_mutants("trainer/losses.py")}
    assert ("ReplaceFalseWithTrue", "decoupled: bool = False,") in found
    assert ("ReplaceBinaryOperator_Sub_Add", "return (below - positive).mean()") in found
    assert not [line for operator, line in found if line in {"*,", "extra_negative: Tensor | None = None,"}]
