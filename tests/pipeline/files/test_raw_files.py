import os
import zipfile
import zlib
from pathlib import Path

import pytest

from pipeline.errors import ArtifactNotFound, RawFileError, SkelepipeError
from pipeline.files import raw_files
from pipeline.files.raw_files import RawFile, find
from pipeline.files.safe_zip import Archive

TEXT = b"1\n2 3 4\n" * 500


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A zip as people make them, with what Macs add."""
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.mkdir("inner")
        packed.writestr("inner/a.skeleton", TEXT)
        packed.writestr("../../b.skeleton", b"climbs")
        packed.writestr("__MACOSX/inner/._a.skeleton", b"x")
        packed.writestr("inner/.hidden", b"x")
    return path


def member(archive: Path, name: str) -> RawFile:
    return next(file for file in find([archive]).files if file.member == name)


def test_files_are_found_loose_nested_linked_and_in_zips(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "c.txt").write_bytes(TEXT)
    (tmp_path / "deep" / "er" / "up").symlink_to(tmp_path / "deep")
    (tmp_path / "deep" / ".cache").mkdir()
    (tmp_path / "deep" / ".cache" / "d.txt").write_bytes(TEXT)
    (tmp_path / "old.7z").write_bytes(b"7z")
    os.mkfifo(tmp_path / "pipe.txt")
    found = find([tmp_path])
    assert [(str(file), file.size) for file in found.files] == [
        (f"{archive}: inner/a.skeleton", len(TEXT)),
        (f"{archive}: ../../b.skeleton", 6),
        (f"{tmp_path}/deep/er/c.txt", len(TEXT)),
    ]
    assert found.left_out == {"archives, unpack them first": 1, "not a regular file": 1}
    assert [file.name for file in find([archive]).files] == ["a.skeleton", "b.skeleton"]


def test_a_file_below_several_roots_is_found_once(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.txt").write_bytes(TEXT)
    (tmp_path / "link").symlink_to(tmp_path / "deep")
    (tmp_path / ".d.txt").write_bytes(TEXT)
    once = sorted(str(file) for file in find([tmp_path]).files)
    for more in ([tmp_path], [archive], [tmp_path / "deep" / "c.txt"], [tmp_path / "link", tmp_path / "deep"]):
        for roots in ([tmp_path, *more], [*more, tmp_path], [*more, tmp_path / "deep" / "..", tmp_path]):
            assert len(find(roots).files) == len(once), roots
    hidden = tmp_path / ".d.txt"
    assert sorted(str(file) for file in find([tmp_path, hidden, hidden]).files) == sorted([*once, str(hidden)])


def test_the_parts_of_a_file_name_do_not_depend_on_its_archive() -> None:
    for file in (RawFile(Path("in/er/a.b.txt")), RawFile(Path("x.zip"), "in/er/a.b.txt")):
        assert (file.name, file.stem, file.suffix, file.folder) == ("a.b.txt", "a.b", ".txt", "er")


def test_a_member_is_read_like_a_loose_file_and_nothing_is_unpacked(tmp_path: Path, archive: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    loose = tmp_path / "a.skeleton"
    loose.write_bytes(TEXT)
    for file in (RawFile(loose, "", len(TEXT)), member(archive, "inner/a.skeleton")):
        assert raw_files.read(file) == TEXT
        assert raw_files.crc32(file) == zlib.crc32(TEXT)
    loose.unlink()
    assert raw_files.read(member(archive, "../../b.skeleton")) == b"climbs"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_flipped_bit_in_an_archive_is_reported(archive: Path) -> None:
    file = member(archive, "inner/a.skeleton")
    data = bytearray(archive.read_bytes())
    data[data.index(b"inner/a.skeleton") + 30] ^= 4
    archive.write_bytes(data)
    told = r"set.zip: inner/a.skeleton: cannot be unpacked from set.zip: .*; download it again"
    with pytest.raises(RawFileError, match=told):
        raw_files.read(file)


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("content", [b"", b"x", TEXT * 5000])
@pytest.mark.slow
def test_every_compression_method_is_read(tmp_path: Path, how: int, content: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", how) as packed, packed.open("a.skeleton", "w") as stream:
        stream.write(content)  # of a length that the local header does not know
    assert raw_files.read(member(tmp_path / "a.zip", "a.skeleton")) == content
    data = bytearray((tmp_path / "a.zip").read_bytes())
    if content == TEXT * 5000:
        start = data.index(b"a.skeleton") + 10
        data[start : start + 8] = b"damaged!"
        (tmp_path / "a.zip").write_bytes(data)
        with pytest.raises(RawFileError, match="cannot be"):
            raw_files.read(member(tmp_path / "a.zip", "a.skeleton"))


def test_a_file_that_is_no_archive_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(SkelepipeError, match=r"cut.zip: cannot be read as a zip archive .*; download it again"):
        find([tmp_path])


def test_a_missing_file_is_reported(tmp_path: Path, archive: Path) -> None:
    with pytest.raises(ArtifactNotFound, match="nowhere"):
        find([tmp_path / "nowhere"])
    for gone in (RawFile(tmp_path / "gone.txt"), RawFile(archive, "gone.txt")):
        with pytest.raises(RawFileError, match=r"gone\.txt"):
            raw_files.read(gone)
        assert raw_files.crc32(gone) == 0
    assert raw_files.fingerprint(RawFile(tmp_path / "gone.txt")) == ["", None, None]


def test_an_archive_that_was_replaced_is_read_again(archive: Path) -> None:
    file = member(archive, "inner/a.skeleton")
    assert raw_files.read(file) == TEXT
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("inner/a.skeleton", b"other")
    assert raw_files.read(file) == b"other"


def test_a_link_to_itself_is_found_and_refused_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.skeleton").symlink_to("a.skeleton")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "loop").symlink_to("..")
    (found,) = raw_files.find([tmp_path]).files
    with pytest.raises(RawFileError, match="Too many levels of symbolic links"):
        raw_files.read(found)


def test_a_pipe_is_not_searched_for_recordings(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SkelepipeError, match="pipe: is not a regular file or a folder"):
        raw_files.find([tmp_path / "pipe"])


def test_many_archives_are_each_listed_once_and_not_kept_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members are read in the order of their names, so each may be in another archive than the one before."""
    for number in range(20):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as packed:
            for member_number in range(3):
                packed.writestr(f"{member_number}-{number:02d}.skeleton", TEXT)
    listed = []

    class Counted(Archive):
        def __init__(self, path: Path) -> None:
            listed.append(path)
            super().__init__(path)

    monkeypatch.setattr(raw_files, "Archive", Counted)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    found = sorted(raw_files.find([tmp_path]).files, key=lambda file: file.name)
    assert all(raw_files.read(file) == TEXT for file in found)
    assert len(found) == 60
    assert len(listed) == len(set(listed)) == 20
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_an_archive_that_is_replaced_while_its_directory_is_in_use_is_reported(archive: Path) -> None:
    opened = Archive(archive)
    archive.write_bytes(archive.read_bytes() + b"x")
    with pytest.raises(zipfile.BadZipFile, match="has changed since its directory was read"):
        opened.unpack("inner/a.skeleton")
