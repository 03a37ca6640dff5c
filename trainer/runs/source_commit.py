"""The git commit of this program, if it runs from a clone."""

import re
from pathlib import Path

from pipeline.files.regular_files import read_bytes

ROOT = Path(__file__).parents[2]
MAX_BYTES = 16 << 20


def source_commit(root: Path = ROOT) -> str | None:
    """Return the first 12 digits of the commit that is checked out; None if the program was installed otherwise.

    Changes that are not committed are not noticed.
    """
    try:
        git = root / ".git"
        if git.is_file():  # a worktree
            git = root / _read(git).removeprefix("gitdir: ")
        commit = _read(git / "HEAD")
        if commit.startswith("ref: "):
            commit = _find(git, commit.removeprefix("ref: "))
    except OSError:
        return None
    return commit[:12] if re.fullmatch(r"[0-9a-f]{40,64}", commit) else None


def _find(git: Path, reference: str) -> str:
    common = git / _read(git / "commondir") if (git / "commondir").is_file() else git
    if (common / reference).is_file():
        return _read(common / reference)
    packed = dict(line.split(" ")[::-1] for line in _read(common / "packed-refs").splitlines() if line.count(" ") == 1)
    return packed.get(reference, "")


def _read(path: Path) -> str:
    return read_bytes(path, max_bytes=MAX_BYTES).decode("utf-8", "replace").strip()
