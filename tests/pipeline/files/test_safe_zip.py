"""Archives that lie, made byte by byte: good recordings come in, the bad are refused by name, nothing else is written.

Each bad member holds a recording that would be taken if nobody looked, so no case passes because of its content.
"""

import bz2
import contextlib
import os
import random
import re
import stat
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli import main
from pipeline.errors import RawFileError, SkelepipeError
from pipeline.files import raw_files, safe_zip
from pipeline.store.store import Store

STORED, DEFLATED, DEFLATE64, BZIP2, LZMA, AES = 0, 8, 9, 12, 14, 99
UTF_8 = 0x800
BODY = "72057594037936 0 1 1 1 1 0 0.0 0.0 2"
GOOD = ("S001C001P001R001A001", "S001C002P001R001A001")
BAD = "S001C003P001R001A001"
BAD_FILE = f"{BAD}.skeleton"


def recording(frames: int = 4) -> bytes:
    """A person in NTU RGB+D's grammar."""
    joints = [f"0.{joint:02d} {joint / 20 - 0.5:.2f} 3.{joint:02d} 1 2 3 4 0 0 0 1 2" for joint in range(25)]
    return "\n".join([str(frames), *["\n".join(["1", BODY, "25", *joints])] * frames, ""]).encode()


TEXT = recording()


def deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def quoted(content: bytes, *, last: bool = False) -> bytes:
    """A block of deflated data that has its content as it is."""
    return struct.pack("<B2H", last, len(content), len(content) ^ 0xFFFF) + content


def zeros(mebibytes: int, before: bytes = b"") -> bytes:
    """Text and many zeros, deflated, without their ever being in memory."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    one = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + mebibytes * one + packer.flush()


@dataclass(kw_only=True)
class Member:
    """What an archive has of a member and, each on its own, what it says of it."""

    name: bytes
    packed: bytes
    size: int
    crc32: int
    method: int = DEFLATED
    flags: int = 0
    mode: int = stat.S_IFREG | 0o644
    system: int = 3
    version: int = 20
    extra: bytes = b""
    says_packed: int | None = None
    says_offset: int | None = None
    local_name: bytes | None = None
    local_flags: int | None = None
    local_extra: int = 0
    """Bytes that its header says to have behind the name; there are none."""
    lies_at: int | None = None
    """Where its header lies when it is not to be written."""

    def header(self) -> bytes:
        """What stands before its data."""
        name = self.name if self.local_name is None else self.local_name
        flags = self.flags if self.local_flags is None else self.local_flags
        sizes = (self.crc32, len(self.packed), self.size, len(name), self.local_extra)
        return struct.pack("<4s5H3L2H", b"PK\3\4", self.version, flags, self.method, 0, 33, *sizes) + name

    def entry(self, offset: int) -> bytes:
        """What the directory says of it."""
        packed = len(self.packed) if self.says_packed is None else self.says_packed
        offset = offset if self.says_offset is None else self.says_offset
        about = (20, self.system, self.version, self.flags, self.method, 0, 33, self.crc32, packed, self.size)
        lengths = (len(self.name), len(self.extra), 0, 0, 0, self.mode << 16, offset)
        return struct.pack("<4s2B5H3L5H2L", b"PK\1\2", *about, *lengths) + self.name + self.extra


def member(name: str | bytes = BAD_FILE, content: bytes = TEXT, method: int = DEFLATED, **lies: Any) -> Member:
    """A member as it should be, but for what is said."""
    pack = {DEFLATED: deflated, BZIP2: bz2.compress}.get(method, bytes)
    honest = {"packed": pack(content), "size": len(content), "crc32": zlib.crc32(content)}
    if isinstance(name, str):
        honest["flags"] = 0 if name.isascii() else UTF_8
        name = name.encode()
    return Member(name=name, method=method, **{**honest, **lies})


def archive(*members: Member, begin: bytes = b"") -> bytes:
    """A zip archive of members, one behind the other, after those that lie in `begin`."""
    body, directory = begin, b""
    for one in members:
        directory += one.entry(len(body) if one.lies_at is None else one.lies_at)
        body += one.header() + one.packed if one.lies_at is None else b""
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(members), len(members), len(directory), len(body), 0)
    return body + directory + end


def good(content: bytes = TEXT) -> list[Member]:
    return [member(f"{name}.skeleton", content) for name in GOOD]


def zip64(*values: int) -> bytes:
    """The extra field that holds sizes and offsets of archives over 4 GB, for those of them that say 2^32 - 1."""
    return struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values)


FULL = 0xFFFF_FFFF


def fifields_bomb(members: int) -> bytes:
    """Members that each quote the next one's header as data, so that all end in one kernel (Fifield, WOOT 2019)."""
    content = bytes(1 << 20)
    made = [member("S001C003P001R002A060.skeleton", content)]
    ends = [made[0].header() + made[0].packed]
    for number in range(1, members):
        header = made[-1].header()
        content = header + content
        packed = quoted(header) + ends[-1].removeprefix(header)
        made.append(member(f"S001C003P001R001A{number:03d}.skeleton", content, packed=packed))
        ends.append(made[-1].header() + made[-1].packed)
    for one, end in zip(made, ends, strict=True):
        one.lies_at = len(ends[-1]) - len(end)
    return archive(*made, *good(), begin=ends[-1])


HALVES = [bytes([digit]) * (safe_zip.BLOCK_BYTES // 2 - 5) for digit in b"12"]
"""What is a block of reading when it is quoted."""


def without(content: bytes, start: int, count: int) -> bytes:
    return content[:start] + content[start + count :]


def raw(*members: Member) -> bytes:
    """Members among good ones: one before, one behind."""
    before, behind = good()
    return archive(before, *members, behind)


AGAIN = "; download it again"
SHARED = rf"it shares bytes of the archive with S001C00\dP001R00\dA\d+\.skeleton, as in zip bombs{AGAIN}, or remove it"
NO_FILE = "expected a file; pack the recording itself"
LINK, FIFO, DEVICE = (kind | 0o777 for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK))
LONG = "n" * 65_000

READ_UNDER_THEIR_LAST_PART = {
    "climbing": f"../../../{BAD_FILE}",
    "climbing and coming back": f"a/../../../b/{BAD_FILE}",
    "absolute": f"/{BAD_FILE}",
    "absolute with two slashes": f"//server/share/{BAD_FILE}",
    "with a drive": f"C:/{BAD_FILE}",
    "of a device as folder": f"CON/aux/{BAD_FILE}",
    "in a home": f"~/{BAD_FILE}",
    "in a folder whose name is very long": f"{'deep/' * 10_000}{BAD_FILE}",
    "in a folder whose name is no UTF-8": b"\xff\xfe\x80/" + BAD_FILE.encode(),
    "in a folder whose name is several lines": f"a\n\x1b[31mred\r\n/{BAD_FILE}",
}
"""Names that extracting would follow; here only the last part says anything, and it says which sample this is."""

OTHER_NAMES = {
    "climbing by backslashes": (f"..\\..\\{BAD_FILE}", rf"..\..\{BAD_FILE}"),
    "drive and backslashes": (f"C:\\{BAD_FILE}", rf"C:\{BAD_FILE}"),
    "a device": ("NUL.skeleton", "NUL.skeleton"),
    "a device with a suffix": ("com1.txt.skeleton", "com1.txt.skeleton"),
    "a NUL at the end": (f"{BAD}\0.skeleton", rf"{BAD}\x00.skeleton"),
    "two lines and a colour": ("a\n\x1b[31m.skeleton", r"a\n\x1b[31m.skeleton"),
    "right to left": (f"\u202e{BAD_FILE}", rf"\u202e{BAD_FILE}"),
    "markup": ("[bold]a[red].skeleton", "[bold]a[red].skeleton"),
    "no UTF-8": (b"\xff\xfe.skeleton", r"\xa0\u25a0.skeleton"),
    "very long": (f"{LONG}.skeleton", ""),
}
"""Names whose last part is not that of a recording, and how they are printed."""

REFUSED: dict[str, tuple[bytes, str]] = {
    "name with a NUL in it": (raw(member(f"a\0b/{BAD_FILE}")), "its name has a NUL byte in it; rename it"),
    "name that is another where it lies": (
        raw(member(local_name=b"S001C003P002R001A001.skeleton")),
        f"its name differs from that in the archive's directory{AGAIN}",
    ),
    "name that is longer where it lies": (
        raw(member(local_name=BAD_FILE.encode() + b"s")),
        f"its name differs from that in the archive's directory{AGAIN}",
    ),
    "symbolic link": (raw(member(mode=LINK)), f"it is a symbolic link, {NO_FILE}"),
    "symbolic link to a file": (raw(member(content=b"/etc/passwd", mode=LINK)), f"it is a symbolic link, {NO_FILE}"),
    "symbolic link by a Mac": (raw(member(mode=LINK, system=19)), f"it is a symbolic link, {NO_FILE}"),
    "pipe": (raw(member(mode=FIFO)), f"it is no regular file, {NO_FILE}"),
    "device": (raw(member(mode=DEVICE)), f"it is no regular file, {NO_FILE}"),
    "bomb by ratio": (
        raw(member(packed=zeros(257), size=257 << 20)),
        r"269484032 bytes out of \d+: no recording; remove it",
    ),
    "bomb that says to be small": (
        raw(member(packed=zeros(64, TEXT))),
        f"not the {len(TEXT)} bytes that the archive records{AGAIN}",
    ),
    "bomb by bzip2": (
        raw(member(method=BZIP2, packed=bz2.compress(TEXT + bytes(32 << 20)))),
        f"not the {len(TEXT)} bytes that the archive records{AGAIN}",
    ),
    "overlapping the next by its header's length": (
        raw(member(local_extra=200)),
        f"it shares bytes of the archive with the next one, as in zip bombs{AGAIN}, or remove it",
    ),
    "size too small, deflated": (raw(member(size=7)), f"not the 7 bytes that the archive records{AGAIN}"),
    "size one too small, deflated": (
        raw(member(size=len(TEXT) - 1)),
        f"not the {len(TEXT) - 1} bytes that the archive records{AGAIN}",
    ),
    "size one too large, deflated": (
        raw(member(size=len(TEXT) + 1)),
        f"not the {len(TEXT) + 1} bytes that the archive records{AGAIN}",
    ),
    "size of 200 MB, deflated": (
        raw(member(size=200_000_000)),
        f"not the 200000000 bytes that the archive records{AGAIN}",
    ),
    "size of 4 GB, deflated": (
        raw(member(size=FULL - 1)),
        r"4294967294 bytes out of \d+: no recording; remove it",
    ),
    "size too small, stored": (
        raw(member(method=STORED, size=7)),
        f"it is stored in {len(TEXT)} bytes, not the 7 bytes that the archive records{AGAIN}",
    ),
    "size too large, stored": (
        raw(member(method=STORED, size=200_000_000)),
        f"it is stored in {len(TEXT)} bytes, not the 200000000 bytes that the archive records{AGAIN}",
    ),
    "size too large, bzip2": (
        raw(member(method=BZIP2, size=len(TEXT) + 9)),
        f"not the {len(TEXT) + 9} bytes that the archive records{AGAIN}",
    ),
    "packed size too small": (
        raw(member(says_packed=3)),
        f"it continues after the 3 packed bytes that the archive records{AGAIN}",
    ),
    "packed size one too small, with the right content before its end": (
        raw(member(says_packed=len(deflated(TEXT)) - 1)),
        rf"it continues after the \d+ packed bytes that the archive records{AGAIN}",
    ),
    "packed size nought": (
        raw(member(says_packed=0)),
        f"it continues after the 0 packed bytes that the archive records{AGAIN}",
    ),
    "packed bytes left over": (
        raw(member(packed=deflated(TEXT) + b"more")),
        rf"it ends before the \d+ packed bytes that the archive records{AGAIN}",
    ),
    "packed blocks left over": (
        raw(member(packed=deflated(TEXT) + bytes(safe_zip.BLOCK_BYTES))),
        rf"it ends before the \d+ packed bytes that the archive records{AGAIN}",
    ),
    "packed bytes left over behind a whole block": (
        raw(member(content=HALVES[0] + HALVES[1], packed=quoted(HALVES[0]) + quoted(HALVES[1], last=True) + b"more")),
        f"it ends before the {safe_zip.BLOCK_BYTES + 4} packed bytes that the archive records{AGAIN}",
    ),
    "packed size of 4 GB": (
        raw(member(says_packed=FULL - 1)),
        f"it ends after the end of the archive, which may be truncated{AGAIN}",
    ),
    "packed and unpacked size of 4 GB, stored": (
        raw(member(method=STORED, says_packed=FULL - 1, size=FULL - 1)),
        f"it ends after the end of the archive, which may be truncated{AGAIN}",
    ),
    "CRC-32, deflated": (raw(member(crc32=1)), f"another CRC-32 than the archive records{AGAIN}"),
    "CRC-32, stored": (raw(member(method=STORED, crc32=1)), f"another CRC-32 than the archive records{AGAIN}"),
    "CRC-32, bzip2": (raw(member(method=BZIP2, crc32=1)), f"another CRC-32 than the archive records{AGAIN}"),
    "no deflated data": (raw(member(packed=b"\xff" * 90)), rf"damaged \(Error -1 Invalid deflate block found\){AGAIN}"),
    "no bzip2 data": (raw(member(method=BZIP2, packed=TEXT)), rf"damaged \(Invalid data stream\){AGAIN}"),
    "encrypted": (raw(member(flags=1)), "it is encrypted; unpack it with its password"),
    "encrypted by the directory": (raw(member(flags=1, local_flags=0)), "it is encrypted; unpack it with its password"),
    "encrypted by its header": (raw(member(local_flags=1)), "it is encrypted; unpack it with its password"),
    "encrypted by AES": (raw(member(method=AES, flags=1)), "it is encrypted; unpack it with its password"),
    **{
        f"method {method}": (
            raw(member(method=method)),
            rf"it is packed by compression method {method}, expected deflate \(8\); pack it again",
        )
        for method in (1, DEFLATE64, LZMA, 93, AES, 65535)
    },
    "two members of one name": (
        raw(member(), member(content=recording(5))),
        "the archive has several members of this name; pack it again with the one that counts",
    ),
    "one member twice in the directory": (
        archive(member(), member(lies_at=0), *good()),
        "the archive has several members of this name; pack it again with the one that counts",
    ),
    "ZIP64 size": (
        raw(member(size=FULL, extra=zip64(2**63))),
        r"9223372036854775808 bytes out of \d+: no recording; remove it",
    ),
    "ZIP64 packed size": (
        raw(member(says_packed=FULL, extra=zip64(2**63))),
        f"it ends after the end of the archive, which may be truncated{AGAIN}",
    ),
    "ZIP64 sizes, stored": (
        raw(member(method=STORED, size=FULL, says_packed=FULL, extra=zip64(2**64 - 1, 2**64 - 1))),
        f"it ends after the end of the archive, which may be truncated{AGAIN}",
    ),
    "ZIP64 offset": (
        raw(member(says_offset=FULL, extra=zip64(2**64 - 1))),
        f"it is not at the offset in the archive directory{AGAIN}",
    ),
    "offset behind the archive": (
        raw(member(says_offset=2**31)),
        f"it is not at the offset in the archive directory{AGAIN}",
    ),
    "cut at the front": (archive(member(), *good())[1:], f"it is not at the offset in the archive directory{AGAIN}"),
    "cut in its data": (
        without(archive(member(), *good()), 80, 40),
        f"it is not at the offset in the archive directory{AGAIN}",
    ),
}
"""One member that must not be taken among two that must, and what is said of it."""

OVERLAPS: dict[str, tuple[bytes, int]] = {
    "a kernel that all members quote their way to": (fifields_bomb(12), 12),
    "a packed size that reaches into the next": (
        archive(member(says_packed=len(deflated(TEXT)) + 40), member("S001C003P001R001A002.skeleton"), *good()),
        2,
    ),
    "an offset within another": (
        archive(member(), member("S001C003P001R001A002.skeleton", lies_at=3, says_packed=5), *good()),
        2,
    ),
    "two names for one": (archive(member(), member("S001C003P001R001A002.skeleton", lies_at=0), *good()), 2),
}
"""Archives whose members share bytes, and how many do."""

UNREADABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "File is not a zip file"),
    "cut in half": (archive(*good())[:400], "File is not a zip file"),
    "cut in its directory": (archive(*good())[:-60], "File is not a zip file"),
    "cut by a byte": (archive(*good())[:-1], "File is not a zip file"),
    "a name that is no UTF-8 and says so": (
        archive(*good(), member(b"\xff\xfe.skeleton", flags=UTF_8)),
        "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
    ),
    "of a version to come": (archive(*good(), member(version=255)), "zip file version 25.5"),
    "an extra field that ends early": (archive(*good(), member(extra=b"\1\0\x10\0")), "Corrupt extra field"),
    "a ZIP64 field without its numbers": (archive(*good(), member(size=FULL, extra=zip64())), "Corrupt zip64 extra"),
    "a directory of 4 GB": (
        archive(*good())[:-10] + struct.pack("<2LH", FULL - 1, 0, 0),
        "Bad offset for central directory",
    ),
    "a directory that is none": (archive(*good()).replace(b"PK\1\2", b"PK\1\3"), "Bad magic number for central"),
}
"""Archives whose directory cannot be read, and zipfile's word for it."""


class Workplace:
    """A folder with archives to ingest, and whatever else must stay as it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.raw, self.out, self.here = folder / "raw", folder / "out" / "s.zarr", folder / "here" / "and" / "below"
        self.raw.mkdir()
        self.here.mkdir(parents=True)
        (folder / BAD_FILE).write_bytes(b"mine")

    def ingest(self, *words: str) -> Result:
        """Run the command, and hold everything beside its output against what was there before."""
        before = self.beside()
        command = ["ingest", "ntu60", self.raw, "--out", self.out, "--recipe", "none", "--workers", "1", *words]
        with contextlib.chdir(self.here):
            done = CliRunner().invoke(main, list(map(str, command)))
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert self.beside() == before
        made = {path.name.removeprefix(".").removesuffix(".lock") for path in self.out.parent.glob("*")}
        assert made <= {"s.zarr", "LATEST.json"}
        assert not [path for path in self.out.rglob("*") if "skeleton" in path.name or "S001" in path.name]
        return done

    def beside(self) -> dict[Path, bytes | None]:
        """Everything that there is but the output."""
        found = [path for path in self.folder.rglob("*") if self.out.parent not in (path, *path.parents)]
        return {path: path.read_bytes() if path.is_file() else None for path in found}

    def quarantined(self) -> list[tuple[str, str]]:
        """Ingest, and say which files were refused and why; running again finds everything as it was."""
        done = self.ingest()
        assert done.exit_code == 3, done.output
        for bad in (found := Store(self.out).quarantine):
            told = str(RawFileError(bad["file"], bad["line"], bad["reason"]))
            assert told.isprintable(), told
            assert len(told) < 500, told
            assert len(bad["name"]) < 250
        again = self.ingest()
        assert (again.exit_code, ": up to date, " in again.output) == (0, True), again.output
        return [(bad["file"], bad["reason"]) for bad in found]


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


def numbered(content: bytes, number: int) -> bytes:
    """An archive of samples of another class, so that many can lie side by side: an ingest is what takes time here."""
    return content.replace(b"P001R001A001", b"P001R001A%03d" % number)


def together(factory: pytest.TempPathFactory, contents: Iterable[bytes]) -> Workplace:
    """Archives 1.zip, 2.zip, ..., of samples of class 1, 2, ..."""
    place = Workplace(factory.mktemp("archives"))
    for number, content in enumerate(contents, 1):
        (place.raw / f"{number}.zip").write_bytes(numbered(content, number))
    return place


def clips(*cameras: int, classes: int) -> list[str]:
    return [f"S001C00{camera}P001R001A{number:03d}" for camera in cameras for number in range(1, classes + 1)]


def test_names_never_become_paths(tmp_path_factory: pytest.TempPathFactory) -> None:
    place = together(tmp_path_factory, [raw(member(name)) for name in READ_UNDER_THEIR_LAST_PART.values()])
    done = place.ingest()
    assert done.exit_code == 0, done.output
    assert Store(place.out).names == clips(1, 2, 3, classes=len(READ_UNDER_THEIR_LAST_PART))


def test_a_name_that_is_the_path_of_something_here_leaves_that_alone(workplace: Workplace) -> None:
    for number, folder in enumerate((workplace.folder, workplace.out, workplace.raw, workplace.here), 1):
        content = raw(member(f"{folder}/{BAD_FILE}"))
        (workplace.raw / f"{number}.zip").write_bytes(numbered(content, number))
    assert workplace.ingest().exit_code == 0
    assert Store(workplace.out).names == clips(1, 2, 3, classes=4)


@pytest.mark.parametrize("kind", OTHER_NAMES)
def test_members_with_other_names_are_ignored_and_named(tmp_path_factory: pytest.TempPathFactory, kind: str) -> None:
    name, printed = OTHER_NAMES[kind]
    place = together(tmp_path_factory, [raw(member(name))])
    done = place.ingest()
    assert done.exit_code == 0, done.output
    line = next(line for line in done.output.splitlines() if "not named like" in line)
    shown = re.escape(printed) if printed else r"n{120}\.\.\.[0-9a-f]{8}\.\.\.n{31}\.skeleton"
    assert re.fullmatch(rf"ignored, not named like S001C001P001R001A001\.skeleton, first {shown}: 1", line), line
    assert Store(place.out).names == clips(1, 2, classes=1)


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said of the bad member in each of REFUSED; the good ones in them are there."""
    place = together(tmp_path_factory, [content for content, _ in REFUSED.values()])
    found = place.quarantined()
    assert Store(place.out).names == clips(1, 2, classes=len(REFUSED))
    assert [file for file, _ in found] == [f"{name}.skeleton" for name in clips(3, classes=len(REFUSED))]
    return dict(zip(REFUSED, (reason for _, reason in found), strict=True))


@pytest.mark.parametrize("case", REFUSED)
def test_a_member_that_is_not_as_it_is_said_to_be_is_quarantined(case: str, refused: dict[str, str]) -> None:
    number, told = [*REFUSED].index(case) + 1, REFUSED[case][1]
    assert re.fullmatch(rf"cannot be unpacked from {number}\.zip: {told}", refused[case]), refused[case]


@pytest.mark.parametrize(("content", "members"), OVERLAPS.values(), ids=OVERLAPS)
def test_members_that_share_bytes_are_quarantined_each(content: bytes, members: int, workplace: Workplace) -> None:
    (workplace.raw / "set.zip").write_bytes(content)
    found = workplace.quarantined()
    assert Store(workplace.out).names == [*GOOD]
    assert len({file for file, _ in found}) == len(found) == members
    for _, reason in found:
        assert re.fullmatch(f"cannot be unpacked from set.zip: {SHARED}", reason), reason


@pytest.mark.parametrize(("content", "told"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_archive_whose_directory_cannot_be_read_is_refused_whole(
    content: bytes, told: str, workplace: Workplace
) -> None:
    (workplace.raw / "bad.zip").write_bytes(content)
    (workplace.raw / "good.zip").write_bytes(archive(*good()))
    done = workplace.ingest()
    assert done.exit_code == 1
    start, end = (
        f"Error: {workplace.raw / 'bad.zip'}: cannot be read as a zip archive ({told}",
        "); download it again\n",
    )
    assert done.output.startswith(start)
    assert done.output.endswith(end)
    assert done.output.count("\n") == 1
    assert not workplace.out.exists()


def test_without_any_recording_that_can_be_used_the_line_names_archive_and_member(workplace: Workplace) -> None:
    (workplace.raw / "set.zip").write_bytes(archive(member(crc32=1)))
    command = ["ingest", "ntu60", workplace.raw, "--out", workplace.out, "--workers", "1"]
    done = CliRunner().invoke(main, list(map(str, command)))  # which keeps its work beside the output
    assert done.exit_code == 1
    assert f"{BAD_FILE}: cannot be unpacked from set.zip: another CRC-32 than the archive records" in done.output
    assert done.output.count("\n") == 1
    assert not workplace.out.exists()


@pytest.mark.parametrize("second", [f"again/{BAD_FILE}", BAD_FILE.lower(), f"../{BAD_FILE.upper()}"])
def test_a_sample_under_two_names_is_refused_with_both(second: str, workplace: Workplace) -> None:
    (workplace.raw / "set.zip").write_bytes(raw(member(), member(second)))
    done = workplace.ingest()
    assert done.exit_code == 1
    place = workplace.raw / "set.zip"
    assert f"Error: {BAD}: found twice, as {place}: {BAD_FILE} and {place}: {second}; keep one" in done.output
    assert done.output.count("\n") == 1
    assert not workplace.out.exists()


def test_archives_within_archives_and_members_without_a_name_are_left_out_and_told(workplace: Workplace) -> None:
    inner = [member(f"{name}.{kind}", archive(member())) for name in "ab" for kind in ("zip", "ZIP", "tar.gz")]
    (workplace.raw / "set.zip").write_bytes(raw(*inner, member(b""), member(b"\0/")))
    done = workplace.ingest()
    assert done.exit_code == 0
    assert "ignored, archives within archives, unpack them first: 6" in done.output
    assert "ignored, members of archives without a name: 1" in done.output
    assert Store(workplace.out).names == [*GOOD]


def test_what_a_dry_run_expects_of_sizes_that_are_lies_is_a_number(workplace: Workplace) -> None:
    (workplace.raw / "set.zip").write_bytes(REFUSED["ZIP64 sizes, stored"][0])
    done = workplace.ingest("--dry-run")
    assert done.exit_code == 0
    assert "dry run: 3 recordings" in done.output


def test_a_header_that_was_damaged_is_one_members_trouble(workplace: Workplace) -> None:
    bad = member()
    content = raw(bad)
    at = content.index(bad.header())
    (workplace.raw / "set.zip").write_bytes(content[:at] + b"XX" + content[at + 2 :])
    assert workplace.quarantined() == [
        (
            BAD_FILE,
            "cannot be unpacked from set.zip: it is not at the offset in the archive directory; download it again",
        )
    ]


LIARS = [name for name in REFUSED if not name.startswith("cut")]
ROOM = 12 * safe_zip.BLOCK_BYTES
"""Bytes: of the packed and the unpacked block, and what the unpackers keep."""


def peak(path: Path) -> int:
    """Bytes that reading the bad member takes at most at a time, its directory having been read."""
    (file,) = (file for file in raw_files.find([path]).files if file.name == BAD_FILE)
    tracemalloc.start()
    try:
        raw_files.read(file)
    except RawFileError:
        pass
    finally:
        reached = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return reached


@pytest.mark.parametrize("name", LIARS)
def test_no_lie_has_memory_taken_for_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(REFUSED[name][0])
    room = ROOM + (8 << 20 if "bzip2" in name else 0)  # whose blocks are 900 kB, and kept as four bytes each
    assert peak(tmp_path / "set.zip") < room


@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_a_large_member_takes_what_it_unpacks_to(method: int, tmp_path: Path) -> None:
    content = TEXT * 3000
    (tmp_path / "set.zip").write_bytes(raw(member(content=content, method=method)))
    # Read whole it is there twice, as the stream and as bytes; a stream has up to an eighth of room at its end.
    assert len(content) < peak(tmp_path / "set.zip") < 2.2 * len(content) + ROOM


def test_under_a_limit_of_memory_lies_of_gigabytes_are_refused_as_without(tmp_path: Path) -> None:
    """The same from outside: with 200 MB more than the program itself nothing could be made of a claimed 4 GB."""
    for number, name in enumerate(LIARS):
        (tmp_path / f"{number}.zip").write_bytes(REFUSED[name][0])
    program = """
import resource, sys
from pathlib import Path
from pipeline.files import raw_files
from pipeline.errors import RawFileError

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20),) * 2)
refused = 0
for file in raw_files.find([Path(sys.argv[1])]).files:
    try:
        raw_files.read(file)
    except RawFileError:
        refused += 1
print(refused)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.stdout, done.stderr) == (f"{len(LIARS)}\n", "")


def test_what_is_refused_does_not_hang_on_the_version_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """zipfile, which in some versions looks for overlaps, opens no member."""
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    for content, told in REFUSED.values():
        (tmp_path / "set.zip").write_bytes(content)
        with pytest.raises(RawFileError, match=told):
            raw_files.read(next(file for file in raw_files.find([tmp_path]).files if file.name == BAD_FILE))
    (tmp_path / "set.zip").write_bytes(archive(*good()))
    assert [raw_files.read(file) for file in raw_files.find([tmp_path]).files] == [TEXT, TEXT]


def test_whatever_bytes_are_changed_it_ends_in_one_line_or_the_recording(tmp_path: Path) -> None:
    chance = random.Random(1)
    whole = archive(*good(), member(method=STORED), member("S001C003P001R001A002.skeleton", method=BZIP2))
    path, said = tmp_path / "set.zip", list[tuple[str, str]]()
    for _ in range(600):
        content = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 4])):
            width = chance.choice([1, 2, 4, 8])
            at = chance.randrange(len(content) - width)
            if chance.random() < 0.7:  # where the archive speaks of itself
                at = chance.choice([content.rindex(b"PK\1\2"), content.index(b"PK\1\2"), 0]) + chance.randrange(46)
            content[at : at + width] = chance.choice([chance.randbytes(width), b"\xff" * width, bytes(width)])
        path.write_bytes(content)
        os.utime(path, ns=(0, chance.randrange(10**18)))
        try:
            files = raw_files.find([path]).files
        except SkelepipeError as error:
            said.append(("archive refused", str(error)))
            continue
        for file in files:
            try:
                said.append(("read", "whole" if raw_files.read(file) == TEXT else "another content\n"))
            except RawFileError as error:
                said.append(("member refused", str(error)))
    assert [line for _, line in said if not line.isprintable()] == []
    outcomes = Counter(outcome for outcome, _ in said)
    assert min(outcomes[kind] for kind in ("archive refused", "member refused", "read")) > 50, outcomes


def test_members_that_share_bytes_are_found_whatever_their_order() -> None:
    """The simple twin: compare every pair."""
    chance = random.Random(2)
    for _ in range(300):
        entries = []
        for number in range(chance.randrange(1, 9)):
            entry = zipfile.ZipInfo(str(number))
            entry.header_offset, entry.compress_size = chance.randrange(400), chance.randrange(120)
            entries.append(entry)
        reaches = {
            entry.filename: range(entry.header_offset, entry.header_offset + 31 + entry.compress_size)
            for entry in entries
        }
        within = {name: reach for name, reach in reaches.items() if reach.stop <= 450}
        sharing = {
            name
            for name, reach in within.items()
            for other, beside in within.items()
            if other != name and max(reach.start, beside.start) < min(reach.stop, beside.stop)
        }
        found = safe_zip._find_overlaps(entries, 450)
        assert found.keys() == sharing
        for name, other in found.items():
            assert set(within[name]) & set(within[other]), "the one that is named is one that shares"
