"""Raw files wherever they lie: loose, in folders of any depth, or inside zip archives, which are read in place.

A name in an archive is only ever taken apart for what it says; nothing is extracted, so it never becomes a path.
"""

import os
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pipeline.errors import ArtifactNotFound, SkelepipeError

BLOCK = 1 << 20
FOREIGN = {".7z", ".gz", ".tar", ".tgz", ".rar", ".xz", ".bz2"}
"""Archives that are not read in place."""


@dataclass(frozen=True, slots=True)
class RawFile:
    """A file of raw data."""

    path: Path
    """Of the file, or of the zip archive that it lies in."""
    member: str = ""
    """Its name in the archive; empty when it lies loose."""
    size: int = 0
    """Bytes, unpacked."""

    @property
    def name(self) -> str:
        """The last part of its name."""
        return PurePosixPath(self.member).name if self.member else self.path.name

    @property
    def stem(self) -> str:
        """The last part of its name, without suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """What follows the last dot of its name, with it."""
        return PurePosixPath(self.name).suffix

    @property
    def folder(self) -> str:
        """Name of the folder that it lies in."""
        return PurePosixPath(self.member).parent.name if self.member else self.path.parent.name

    def __str__(self) -> str:
        """As the user knows it."""
        return f"{self.path}: {self.member}" if self.member else str(self.path)
