"""Recognise files that operating systems add to folders, such as .DS_Store: they belong to no data set or artifact."""

from collections.abc import Iterator
from pathlib import Path, PurePath

_NAMES = {".ds_store", "thumbs.db", "desktop.ini", ".directory", "__macosx", "@eadir"}
"""Of macOS, Windows, KDE, macOS archives and Synology; in lower case."""
_PREFIXES = ("._", ".nfs")
"""Of AppleDouble files, and of files that NFS keeps because they were open when they were deleted."""


def is_system_file(path: PurePath) -> bool:
    """Return whether an operating system adds files of this name, or of this folder, by itself."""
    return any(part.lower() in _NAMES or part.startswith(_PREFIXES) for part in path.parts)


def entries(folder: Path) -> Iterator[Path]:
    """Yield the entries of a folder without those of operating systems.

    Raises:
        OSError: the folder cannot be listed.
    """
    return (path for path in folder.iterdir() if not is_system_file(PurePath(path.name)))
