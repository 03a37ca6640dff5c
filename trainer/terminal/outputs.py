"""Check the output path of a command before it works: never replace a file of the user, an input or an artifact."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.artifacts.paths import LATEST_FILE, MANIFEST_FILE, RUN_FILE
from pipeline.errors import ConfigError, OutputExists
from pipeline.files.regular_files import open_file, read_bytes

KIND_PREFIX = "skelepipe-"
"""Start of the `kind` of every document that skelepipe writes."""
GENERATOR = b'<meta name="generator" content="skelepipe '
"""In the head of every page that skelepipe writes."""
HEAD_BYTES = 4096
FORMAT_SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "npz": (".npz",),
    "ctrgcn": (".npz",),
    "stgcn": (),
    "pyskl": (".pkl", ".pickle"),
    "hdf5": (".h5", ".hdf5"),
    "onnx": (".onnx",),
}
"""Suffixes of the files that `export` writes, by --format; stgcn writes a folder."""
MAX_ARTIFACT_BYTES = 64 << 20
"""Largest document that is examined; a MANIFEST.json of a store with 100,000 files has 20 MB."""


def export_format(out: Path, default: str) -> str:
    """Return the format that a file name asks for: `hdf5` for data.h5; the default without a suffix.

    Of several formats with the same suffix, the default is chosen if it is one of them.

    Raises:
        ConfigError: no format has this suffix.
    """
    suffix = out.suffix.lower()
    formats = [name for name, suffixes in FORMAT_SUFFIXES.items() if suffix in suffixes]
    if not suffix:
        return default
    if not formats:
        known = ", ".join(f"{' or '.join(suffixes)} ({name})" for name, suffixes in FORMAT_SUFFIXES.items() if suffixes)
        raise ConfigError(f"{out}: no format has the suffix {suffix}; known: {known}; or name a --format")
    return default if default in formats else formats[0]


def check_output(
    path: Path,
    *,
    force: bool,
    inputs: Iterable[Path] = (),
    default: bool = False,
    folder: bool = False,
    suffixes: Sequence[str] = (),
) -> None:
    """Check that a command may write the file or folder `path`.

    Args:
        path: of the output.
        force: whether the user allows an existing file to be replaced.
        inputs: files and folders that the command reads; they are never replaced.
        default: `path` is the default of the command, so that a page that skelepipe wrote there may be replaced, and
            the page of a run may be in its folder.
        folder: the output is a folder.
        suffixes: of the format that is written; a name with another suffix is refused.

    Raises:
        ConfigError: the file has another suffix.
        OutputExists: the path exists, is an input, or belongs to an artifact.
    """
    target = Path(os.path.realpath(path))
    for each in inputs:
        source = Path(os.path.realpath(each))
        is_input = source == target or _is_same_file(source, target)
        if is_input or (source.is_dir() and source in target.parents and target.exists() and not default):
            where = "is an input of this command" if is_input else f"is a file of the input {each}"
            raise OutputExists(f"{path}: {where}, which is never replaced; name another file")
    if (artifact := _artifact_of(target)) and not (default and artifact == target.parent):
        raise OutputExists(f"{path}: belongs to the artifact {artifact}; name a file outside it")
    if folder and target.is_dir() and any(target.iterdir()) and not force:
        raise OutputExists(f"{path}: is not empty; replace an earlier export with --force, or name another folder")
    if not target.is_dir() and os.path.lexists(path) and not force and not (default and _is_own_page(target)):
        raise OutputExists(f"{path}: exists; replace it with --force, or name another file")
    if suffixes and path.suffix and path.suffix.lower() not in suffixes:
        raise ConfigError(f"{path}: expected a name that ends in {', '.join(suffixes)}, the format that is written")


def _is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths are the same file, also by hard links."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _artifact_of(target: Path) -> Path | None:
    """Return the store, run, checkpoint, split or other artifact that a path belongs to, if there is one."""
    for folder in target.parents:
        if any(_is_document(folder / name) for name in (MANIFEST_FILE, RUN_FILE)):
            return folder
    return target if target.name == LATEST_FILE or _is_document(target) else None


def _is_document(path: Path) -> bool:
    """Whether a file is a JSON document of skelepipe."""
    try:
        plain = json.loads(read_bytes(path, MAX_ARTIFACT_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(plain, dict) and str(plain.get("kind")).startswith(KIND_PREFIX)


def _is_own_page(path: Path) -> bool:
    """Whether a file is an HTML page that skelepipe wrote."""
    try:
        with open_file(path) as stream:
            return GENERATOR in stream.read(HEAD_BYTES)
    except OSError:
        return False
