"""Only regular files are opened; a pipe, a socket or a device is refused at once."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import OutputFailed, RawFileError
from pipeline.files import raw_files, regular_files
from pipeline.files.locks import sole_writer
from pipeline.files.raw_files import RawFile
from pipeline.files.regular_files import UnsuitableFile


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket has at most 108 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)
    os.chdir(here)


def link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


SPECIAL = {"a pipe": make_pipe, "a socket": make_socket, "a device": link_to_device}


@pytest.fixture(params=SPECIAL)
def special(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "special"
    SPECIAL[request.param](path)
    return path, request.param


@pytest.mark.parametrize(
    "read", [regular_files.open_file, regular_files.open_buffered, regular_files.read_bytes, regular_files.read_text]
)
def test_special_files_are_not_read(special: tuple[Path, str], read: Callable[[Path], object]) -> None:
    path, kind = special
    with pytest.raises(UnsuitableFile, match=f"is {kind}, expected a regular file"):
        read(path)


def test_special_files_are_not_written(special: tuple[Path, str]) -> None:
    path, kind = special
    with pytest.raises(UnsuitableFile, match=f"is {kind}"):
        regular_files.open_to_append(path)


def test_a_pipe_with_a_reader_is_not_written(tmp_path: Path) -> None:
    make_pipe(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(UnsuitableFile, match="is a pipe"):
        regular_files.open_to_append(tmp_path / "pipe")
    os.close(reader)


def test_regular_files_are_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with regular_files.open_to_append(path) as stream:
        stream.write(b"\xef\xbb\xbfa")
    with regular_files.open_to_append(path) as stream:
        stream.write(b"b")
    assert regular_files.read_bytes(path) == b"\xef\xbb\xbfab"
    assert regular_files.read_text(path) == "ab"
    (tmp_path / "link").symlink_to(path)
    with regular_files.open_buffered(tmp_path / "link") as buffered:
        assert buffered.read() == b"\xef\xbb\xbfab"


def test_folders_and_missing_files_raise_the_usual_errors(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        regular_files.open_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        regular_files.open_file(tmp_path / "none")


def test_a_document_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(UnsuitableFile, match="has 1,099,511,627,776 bytes, expected at most 1,073,741,824"):
        regular_files.read_bytes(tmp_path / "sparse")


def test_a_special_file_as_recording_or_archive_is_refused(special: tuple[Path, str]) -> None:
    path, kind = special
    for file in (RawFile(path), RawFile(path, "member.skeleton")):
        with pytest.raises(RawFileError, match=f"is {kind}"):
            raw_files.read(file)
        assert raw_files.crc32(file) == 0


def test_a_special_file_in_place_of_a_lock_is_refused(tmp_path: Path, special: tuple[Path, str]) -> None:
    path, kind = special
    path.rename(tmp_path / ".output.lock")
    with pytest.raises(OutputFailed, match=rf"\.output\.lock.* is {kind}"), sole_writer(tmp_path / "output"):
        pass
