import errno
import multiprocessing
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from pipeline.errors import OutputFailed, OutputLocked
from pipeline.files import atomic
from pipeline.files.disk import disk_errors
from pipeline.files.locks import sole_writer


def test_a_file_appears_whole_under_its_exact_name(tmp_path: Path) -> None:
    atomic.write_file(tmp_path / "deep" / "name.without.suffix", b"content")
    assert (tmp_path / "deep" / "name.without.suffix").read_bytes() == b"content"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["name.without.suffix"]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"old")

    def fail(handle: BinaryIO) -> None:
        handle.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutputFailed, match=r"No space left on device \(\d+ MB free\)"):
        atomic.write_file(path, fail)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


def test_disk_errors_say_how_much_was_needed(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputFailed, match="needs about 7 MB") as caught,
        disk_errors(tmp_path / "out", 7_000_000),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.exit_code == 5


def test_errors_that_are_not_the_disks_pass_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        (tmp_path / "nothing").read_bytes()


def test_publishing_replaces_the_old_folder(tmp_path: Path) -> None:
    for name, content in (("out", b"old"), ("made", b"new")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(content)
    atomic.publish_folder(tmp_path / "made", tmp_path / "out")
    assert (tmp_path / "out" / "file").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def hold(output: Path, held: object, done: object) -> None:
    with sole_writer(output):
        held.set()  # type: ignore[attr-defined]
        done.wait(30)  # type: ignore[attr-defined]


def test_a_second_writer_is_turned_away_and_a_dead_ones_lock_is_free(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    held, done = spawn.Event(), spawn.Event()
    owner = spawn.Process(target=hold, args=(tmp_path / "out", held, done))
    owner.start()
    try:
        assert held.wait(30)
        with pytest.raises(OutputLocked) as caught, sole_writer(tmp_path / "out"):
            pass
        assert caught.value.exit_code == 6
    finally:
        owner.kill()
        owner.join()
    with sole_writer(tmp_path / "out"):
        pass


def test_a_pipe_or_device_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputFailed, match="pipe: is a device or a pipe, not a file"):
        atomic.write_file(tmp_path / "pipe", b"content")
    assert (tmp_path / "pipe").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_folder_with_only_files_of_the_operating_system_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".DS_Store").write_bytes(b"x")
    with atomic.new_folder(tmp_path / "out") as partial:
        (partial / "a").write_bytes(b"a")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]
