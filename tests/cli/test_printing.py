"""Texts of strangers on the terminal."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from rich.table import Table

from pipeline.files.atomic import remove_partials
from pipeline.store.store import Store
from pipeline.store.summary import quarantine_csv
from trainer.runs.run import Run
from trainer.terminal.printing import print_note, print_results, visible

Skelepipe = Callable[..., Result]
HOSTILE = "\x1b]0;title\x07\x1b[2Jwalk\u202e"


def test_control_characters_of_lines_and_cells_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    print_results([HOSTILE], table)
    print_note([HOSTILE])
    printed = "".join(capsys.readouterr())
    assert printed.count("walk") == 4
    assert not set(printed) & set("\x1b\x07\u202e")
    assert visible("one\n\ttwo") == "one\n\ttwo"


def test_the_quarantine_list_has_no_control_characters_and_no_formulas(
    shared_store: Store,
) -> None:
    store = Store(shared_store.path)
    store.quarantine[0] |= {"file": "=cmd()", "reason": HOSTILE}
    text = quarantine_csv(store)
    assert "'=cmd()" in text
    assert not set(text) & set("\x1b\x07\u202e")


def test_results_that_are_a_link_elsewhere_are_not_written_and_nothing_is_removed_there(
    evaluated_run: Run, tmp_path: Path, skelepipe: Skelepipe
) -> None:
    shutil.copytree(evaluated_run.path.parents[1], tmp_path, dirs_exist_ok=True)
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "runs" / "tiny" / "eval").rename(elsewhere)
    partial = elsewhere / f".thesis.{'a' * 16}.partial"
    partial.write_text("mine")
    (tmp_path / "runs" / "tiny" / "eval").symlink_to(elsewhere)
    before = {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}
    done = skelepipe("eval", "runs/tiny", "--protocol", "knn", "--no-baselines", "--k", "3")
    assert done.exit_code == 5, done.output
    assert "eval: is a link" in done.output
    assert {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()} == before


def test_only_temporary_files_of_this_program_are_removed(tmp_path: Path) -> None:
    ours, others = [f".a.{'0f' * 8}.partial"], [".thesis.partial", ".a.b.partial", f".a.{'0g' * 8}.partial"]
    for name in [*ours, *others]:
        (tmp_path / name).touch()
    remove_partials(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
