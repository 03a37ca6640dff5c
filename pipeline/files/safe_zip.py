"""Read zip archives safely in place: every member is checked against the archive's directory (name, sizes, CRC-32).

Memory use follows the real data, whatever sizes are claimed. Members that overlap, share a name or are not regular
files are refused here, because zipfile checks less, and not the same in every Python version.
"""

import bz2
import io
import os
import stat
import struct
import zipfile
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, cast
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipInfo

from isal import igzip_lib, isal_zlib

from pipeline.errors import printable_name
from pipeline.files.regular_files import open_buffered, open_file

BLOCK_BYTES = 1 << 17
"""Bytes that are read, and unpacked, at once; small enough for the processor cache."""
LOCAL_HEADER_BYTES = 30
"""Size of the fixed header before a member's data; a name and an extra field of variable length follow."""
BOMB_BYTES, BOMB_RATIO = 256 << 20, 100
"""A member larger than this and compressed to less than a hundredth is refused; text of numbers shrinks to a fourth."""
ENCRYPTED_FLAG, UTF_8_FLAG = 0x1, 0x800
"""Bits of a member's flags."""
UNIX_SYSTEM, MAC_SYSTEM = 3, 19
"""Creating systems that record the file type of a member."""
DOWNLOAD_AGAIN = "download it again"


class Unpacker(Protocol):
    """A decompressor: takes compressed bytes and returns up to `max_bytes`; it keeps the rest for the next call."""

    eof: bool
    needs_input: bool
    unused_data: bytes

    def decompress(self, packed: bytes, max_bytes: int, /) -> bytes: ...  # noqa: D102


# ISA-L takes 0.4 of zlib's time. LZMA is not supported: it allocates what the data asks for, possibly gigabytes.
UNPACKERS: dict[int, Callable[[], Unpacker]] = {
    ZIP_DEFLATED: cast(Callable[[], Unpacker], igzip_lib.IgzipDecompressor),
    ZIP_BZIP2: cast(Callable[[], Unpacker], bz2.BZ2Decompressor),
}
_DAMAGED = (OSError, ValueError, EOFError, cast(type[Exception], igzip_lib.IsalError))  # its stub declares an instance


class Archive:
    """A zip archive: its directory, and the bytes of its members. The file is open only while it is read."""

    def __init__(self, path: Path) -> None:
        """Read the directory of an archive.

        Raises:
            BadZipFile: it cannot be read; the message is the reason.
            OSError: the file cannot be read.
        """
        self._path = path
        with open_buffered(path) as stream:
            self._state = _file_state(stream.fileno())
            try:
                directory = zipfile.ZipFile(stream)
            except (ValueError, NotImplementedError, struct.error) as error:  # impossible names, numbers or versions
                raise BadZipFile(str(error)) from error
        entries = directory.infolist()
        self._end = directory.start_dir
        """Offset of the directory, at which the members end."""
        self.members: dict[str, ZipInfo] = {}
        """By full name; zipfile cuts its own names at a NUL."""
        self._repeated: set[str] = set()
        for entry in entries:
            if self.members.setdefault(entry.orig_filename, entry) is not entry:
                self._repeated.add(entry.orig_filename)
        self._starts = sorted(entry.header_offset for entry in entries)
        self._overlaps = _find_overlaps(entries, self._end)

    def unpack(self, name: str) -> io.BytesIO:
        """Return the bytes of a member, checked against the directory.

        Raises:
            BadZipFile: they do not match, or it is not a regular member; the message says why, and what to do.
            OSError: the archive cannot be read.
        """
        member = self.members.get(name)
        if member is None:
            raise BadZipFile("it is not in the archive any more")
        if fault := self._fault(member):
            raise BadZipFile(fault)
        content, crc32 = io.BytesIO(), 0
        with open_file(self._path) as stream:
            if _file_state(stream.fileno()) != self._state:
                raise BadZipFile("the archive has changed since its directory was read; run the same command again")
            for chunk in self._chunks(member, stream.fileno()):
                content.write(chunk)
                crc32 = isal_zlib.crc32(chunk, crc32)
                if content.tell() > member.file_size:
                    break
        if content.tell() != member.file_size:
            raise BadZipFile(f"not the {member.file_size} bytes that the archive records; {DOWNLOAD_AGAIN}")
        if crc32 != member.CRC:
            raise BadZipFile(f"another CRC-32 than the archive records; {DOWNLOAD_AGAIN}")
        content.seek(0)
        return content

    def _fault(self, member: ZipInfo) -> str:
        """Return why a member cannot be used, judging by the directory alone; empty if it can."""
        size, packed, method = member.file_size, member.compress_size, member.compress_type
        kind = stat.S_IFMT(member.external_attr >> 16) if member.create_system in (UNIX_SYSTEM, MAC_SYSTEM) else 0
        if "\0" in member.orig_filename:
            return "its name has a NUL byte in it; rename it"
        if member.orig_filename in self._repeated:
            return "the archive has several members of this name; pack it again with the one that counts"
        if other := self._overlaps.get(member.orig_filename):
            name = printable_name(other)
            return f"it shares bytes of the archive with {name}, as in zip bombs; {DOWNLOAD_AGAIN}, or remove it"
        if kind not in (0, stat.S_IFREG):
            what = "a symbolic link" if kind == stat.S_IFLNK else "no regular file"
            return f"it is {what}, expected a file; pack the recording itself"
        if member.flag_bits & ENCRYPTED_FLAG:
            return "it is encrypted; unpack it with its password"
        if method != ZIP_STORED and method not in UNPACKERS:
            return f"it is packed by compression method {method}, expected deflate (8); pack it again"
        if size > BOMB_BYTES and size > BOMB_RATIO * packed:
            return f"{size} bytes out of {packed}: no recording; remove it"
        if method == ZIP_STORED and size != packed:
            return f"it is stored in {packed} bytes, not the {size} bytes that the archive records; {DOWNLOAD_AGAIN}"
        return ""

    def _chunks(self, member: ZipInfo, handle: int) -> Iterator[bytes]:
        """Yield the bytes of a member in blocks; `handle` is the file descriptor of the archive.

        Raises:
            BadZipFile: it is not at the offset in the directory, or cannot be unpacked.
            OSError: the archive cannot be read.
        """
        start = self._find(member, handle)
        end = start + member.compress_size
        unpacker = None if member.compress_type == ZIP_STORED else UNPACKERS[member.compress_type]()
        for position in range(start, end, BLOCK_BYTES):
            block = os.pread(handle, min(BLOCK_BYTES, end - position), position)
            if unpacker is None:
                yield block
                continue
            yield _unpack(unpacker, block)
            while not unpacker.needs_input and not unpacker.eof:
                yield _unpack(unpacker, b"")
            if unpacker.eof and (unpacker.unused_data or position + BLOCK_BYTES < end):
                raise BadZipFile(
                    f"it ends before the {end - start} packed bytes that the archive records; {DOWNLOAD_AGAIN}"
                )
        if unpacker is not None and not unpacker.eof:
            raise BadZipFile(
                f"it continues after the {end - start} packed bytes that the archive records; {DOWNLOAD_AGAIN}"
            )

    def _find(self, member: ZipInfo, handle: int) -> int:
        """Return the offset of a member's data, from the header before it.

        Raises:
            BadZipFile: there is no header of this member, or the data overlaps what follows.
            OSError: the archive cannot be read.
        """
        name = member.orig_filename.encode("utf-8" if member.flag_bits & UTF_8_FLAG else "cp437")
        header = b""
        if 0 <= member.header_offset < self._end:
            header = os.pread(handle, LOCAL_HEADER_BYTES + len(name), member.header_offset)
        if len(header) < LOCAL_HEADER_BYTES or not header.startswith(b"PK\x03\x04"):
            raise BadZipFile(f"it is not at the offset in the archive directory; {DOWNLOAD_AGAIN}")
        flags, length, extra = struct.unpack("<6xH18xHH", header[:LOCAL_HEADER_BYTES])
        if flags & ENCRYPTED_FLAG:
            raise BadZipFile("it is encrypted; unpack it with its password")
        if length != len(name) or header[LOCAL_HEADER_BYTES:] != name:
            raise BadZipFile(f"its name differs from that in the archive's directory; {DOWNLOAD_AGAIN}")
        start: int = member.header_offset + LOCAL_HEADER_BYTES + length + extra
        end = start + member.compress_size
        if end > self._end:
            raise BadZipFile(f"it ends after the end of the archive, which may be truncated; {DOWNLOAD_AGAIN}")
        following = bisect(self._starts, member.header_offset)
        if following < len(self._starts) and end > self._starts[following]:
            raise BadZipFile(
                f"it shares bytes of the archive with the next one, as in zip bombs; {DOWNLOAD_AGAIN}, or remove it"
            )
        return start


def _file_state(handle: int) -> tuple[int, int, int]:
    """Return what differs after an open file has been modified or replaced: inode, size and modification time."""
    status = os.fstat(handle)
    return status.st_ino, status.st_size, status.st_mtime_ns


def _unpack(unpacker: Unpacker, packed: bytes) -> bytes:
    try:
        return unpacker.decompress(packed, BLOCK_BYTES)
    except _DAMAGED as error:
        raise BadZipFile(f"damaged ({error}); {DOWNLOAD_AGAIN}") from error


def _find_overlaps(entries: Iterable[ZipInfo], end: int) -> dict[str, str]:
    """Return the members that overlap before `end`, by name, each with a member that it overlaps.

    Only the directory is used, so that an archive of a hundred thousand members needs no more reading. Headers before
    the data can be longer than the directory says, but this is detected when the member is read.
    """
    overlaps: dict[str, str] = {}
    reach, last = 0, ""
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        name = entry.orig_filename
        stop = entry.header_offset + LOCAL_HEADER_BYTES + len(name) + entry.compress_size
        if entry.header_offset < 0 or stop > end:  # not an overlap: this member is refused when it is read
            continue
        if entry.header_offset < reach:
            overlaps[name] = last
            overlaps.setdefault(last, name)
        if stop > reach:
            reach, last = stop, name
    return overlaps
