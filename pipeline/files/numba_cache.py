"""Choose a folder for numba's compiled kernels where the installation and the home folder are read-only."""

import os
import stat
import sys
import tempfile
import warnings
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
PACKAGES = Path(__file__).parents[2]
KERNEL_FOLDERS = (
    "pipeline/recipes/reference",
    "pipeline/recipes/steps",
    "pipeline/sources",
    "pipeline/store",
    "pipeline/synth",
    "trainer/models/fast",
)
"""Folders with compiled functions; numba by default caches next to them, else in the user's cache folder."""


def choose_cache_folder() -> None:
    """Set NUMBA_CACHE_DIR if numba would find no folder that it can write; the kernels could then not be imported.

    It changes the environment of the process, so only commands call it.

    The folder is in the system's folder for temporary files: the same one each time, if it belongs to this user alone
    (the cache contains code), else a new one, so that each process compiles the kernels again.
    """
    given = os.environ.get(VARIABLE)
    if _is_usable(Path(given)) if given else (_are_kernel_folders_usable() or _is_usable(_user_cache())):
        return
    folder = Path(tempfile.gettempdir()) / f"skelepipe-numba-{os.getuid()}"
    if not _is_private(folder):
        folder = Path(tempfile.mkdtemp(prefix="skelepipe-numba-"))
        warnings.warn(
            f"compiled kernels cannot be kept, so each start compiles them again; set {VARIABLE} to a folder of yours",
            RuntimeWarning,
            stacklevel=2,
        )
    os.environ[VARIABLE] = str(folder)
    if numba := sys.modules.get("numba"):
        numba.config.CACHE_DIR = str(folder)


def _are_kernel_folders_usable() -> bool:
    """Whether numba can cache next to all compiled functions."""
    return all(_is_usable(PACKAGES / folder / "__pycache__") for folder in KERNEL_FOLDERS)


def _user_cache() -> Path:
    """Return the folder that numba uses if it cannot cache next to the functions."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "numba"


def _is_usable(folder: Path) -> bool:
    """Whether files can be created in a folder; it is created if it does not exist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _is_private(folder: Path) -> bool:
    """Whether a folder, created if needed, belongs to this user, and no other user can write it."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
