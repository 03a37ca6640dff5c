import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from pipeline.artifacts.latest import open_newest, record_latest
from pipeline.artifacts.paths import LATEST_FILE
from pipeline.errors import ArtifactNotFound
from pipeline.store.store import Store


@pytest.fixture
def two(own_store: Path) -> tuple[Path, Path, Path]:
    """A folder with two stores, the second of which is younger."""
    second = own_store.with_name("later.zarr")
    shutil.copytree(own_store, second)
    manifest = second / "MANIFEST.json"
    os.utime(manifest, (manifest.stat().st_atime, manifest.stat().st_mtime + 100))
    (own_store.parent / LATEST_FILE).unlink()
    return own_store.parent, own_store, second


def newest(folder: Path) -> tuple[Store, list[str]]:
    return open_newest(folder, "store", "*.zarr", Store, "skelepipe ingest")


def test_the_youngest_store_is_taken_without_a_note(two: tuple[Path, Path, Path]) -> None:
    folder, _, second = two
    assert newest(folder)[0].path == second


def test_the_noted_store_is_taken_before_a_younger_one(two: tuple[Path, Path, Path]) -> None:
    folder, first, _ = two
    record_latest(folder, "store", first.name)
    record_latest(folder, "other", "x")
    assert newest(folder)[0].path == first
    assert json.loads((folder / LATEST_FILE).read_text()) == {"store": first.name, "other": "x"}


def test_incomplete_stores_are_skipped_by_name(two: tuple[Path, Path, Path]) -> None:
    folder, first, second = two
    (second / "MANIFEST.json").unlink()
    found, skipped = newest(folder)
    assert found.path == first
    assert len(skipped) == 1
    assert "later.zarr" in skipped[0]


def test_with_nothing_there_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFound, match="make one with `skelepipe ingest`"):
        newest(tmp_path)


def test_a_damaged_note_is_only_a_lost_hint(two: tuple[Path, Path, Path]) -> None:
    folder, _, second = two
    (folder / LATEST_FILE).write_text("[")
    assert newest(folder)[0].path == second


def test_the_noted_store_is_taken_whatever_its_name(two: tuple[Path, Path, Path]) -> None:
    folder, first, _ = two
    first.rename(folder / "mine")
    record_latest(folder, "store", "mine")
    assert newest(folder)[0].path == folder / "mine"


@pytest.mark.parametrize("noted", ["..", "../..", "", "x" * 5000, "a\0b", 7, None, ["x"], {"x": 1}, "."])
def test_a_note_that_names_nothing_in_the_folder_is_only_a_lost_hint(
    two: tuple[Path, Path, Path], noted: object
) -> None:
    folder, _, second = two
    (folder / LATEST_FILE).write_text(json.dumps({"store": noted}))
    assert newest(folder)[0].path == second


def test_a_bottomless_note_is_only_a_lost_hint(two: tuple[Path, Path, Path]) -> None:
    folder, _, second = two
    (folder / LATEST_FILE).write_text("[" * 100_000)
    assert newest(folder)[0].path == second


def test_a_pipe_in_the_place_of_latest_json_is_only_a_lost_hint(two: tuple[Path, Path, Path]) -> None:
    folder, _, second = two
    os.mkfifo(folder / LATEST_FILE)
    assert newest(folder)[0].path == second


def test_a_store_that_cannot_be_read_is_skipped_by_name(
    two: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, first, second = two
    refuse(second / "MANIFEST.json", monkeypatch, "open")
    found, skipped = newest(folder)
    assert found.path == first
    assert skipped == [f"skipped {second}: cannot be read: Permission denied"]


def test_a_folder_that_cannot_be_listed_is_an_error_and_not_empty(
    two: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = two[0]
    refuse(folder, monkeypatch, "listdir")
    with pytest.raises(PermissionError, match=str(folder)):
        newest(folder)


def refuse(refused: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    """Let a function of `os` fail for a path as for a user without the permission; tests may run as root."""
    original = getattr(os, function)

    def call(path: str, *arguments: object) -> object:
        if Path(path) == refused:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return original(path, *arguments)

    monkeypatch.setattr(os, function, call)
