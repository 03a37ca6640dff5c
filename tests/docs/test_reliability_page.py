"""What docs/RELIABILITY.md counts of the tests is what the tests have."""

import ast
import re
from pathlib import Path

import pytest

from tests.cli import test_leakage, test_payloads
from tests.fuzz import fuzz_targets
from tests.house import test_architecture
from tests.pipeline.files import test_safe_zip
from tests.proofs import fault_cases, planted_faults

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "RELIABILITY.md").read_text(encoding="utf-8")
CASES = len(fault_cases.CASES)
NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def mutated() -> set[str]:
    """The modules that `make mutants` changes; read, as it needs packages that the tests do without."""
    for node in ast.parse((TESTS / "mutants.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SUITES":
            assert isinstance(node.value, ast.Dict)
            return {ast.literal_eval(key) for key in node.value.keys if key}
    raise AssertionError("mutants.py has no SUITES")


@pytest.mark.parametrize(
    "sentence",
    [
        f"every command that writes, {CASES} cases",
        # With two workers the order of what they did is not known, so no disk can be played.
        f"(../tests/power_cuts.py), {sum('two workers' not in case.name for case in fault_cases.CASES)} cases",
        f"(../tests/full_disks.py), {CASES} cases",
        f"(../tests/two_writers.py), {CASES} cases",
        f"{len(test_safe_zip.REFUSED)} kinds of bad members, {len(test_safe_zip.UNREADABLE)} of directories, "
        f"{len(test_safe_zip.OVERLAPS)} of members that overlap, "
        f"{len(test_safe_zip.READ_UNDER_THEIR_LAST_PART) + len(test_safe_zip.REFUSED_BY_THEIR_NAME)} names; "
        f"{len(test_safe_zip.LIARS)} lies about sizes",
        f"{len(fuzz_targets.TARGETS)} targets",
        f"{len(test_payloads.REFUSED)} payload files of {len(test_payloads.payloads(Path('mark')))} kinds through "
        f"{len({words.split()[0] for _, words, _ in test_payloads.REFUSED.values()})} commands",
        f"{len(test_architecture.BAD.strip().splitlines())} bad and "
        f"{len(test_architecture.GOOD.strip().splitlines())} good snippets",
        f"{test_leakage.ROUNDS * len(test_leakage.SPLITS)} mutations of {len(test_leakage.SPLITS)} splits",
        f"{len(test_leakage.COMMANDS)} commands take none of them",
        f"takes away {NUMBERS[len(planted_faults.PLANTS)]} things",
    ],
)
def test_what_the_page_counts_is_what_the_tests_have(sentence: str) -> None:
    assert sentence in PAGE


def test_every_module_that_is_mutated_is_in_the_table() -> None:
    rows = re.findall(r"(?m)^\| ((?:pipeline|trainer)/\w+\.py) ", PAGE)
    assert set(rows) | {"pipeline/store/split_rules.py"} == mutated()
    assert "pipeline/store/splits.py (with what is now split_rules.py)" in PAGE


def test_the_sums_of_mutants_are_those_of_the_table() -> None:
    rows = re.findall(r"(?m)^\| (?:pipeline|trainer)/[^|]*((?:\| \d+ )+)\| [\d.]+ \|$", PAGE)
    sums = [sum(column) for column in zip(*([int(n) for n in re.findall(r"\d+", row)] for row in rows), strict=True)]
    there, made, killed, survived, equivalent = (f"{number:,}" for number in sums)
    assert f"of {there} changes to {len(rows)} modules {made} were made: {killed} noticed, {survived} not" in PAGE
    assert f"{equivalent} that change nothing" in PAGE
