"""Seals: a folder's MANIFEST.json and a JSON document's own digest, and what they find when something was touched."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import ArtifactError, ArtifactNotFound

MANIFEST = "MANIFEST.json"
SMALL = 1 << 20
"""Bytes: files up to this size are read and hashed whenever a folder is opened; larger ones by `verify`."""


def canonical(plain: Any) -> bytes:
    """JSON with sorted keys and no spare blanks: the same content always gives the same bytes."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def digest(plain: Any) -> str:
    """sha256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(canonical(plain)).hexdigest()


def seal_document(plain: Mapping[str, Any]) -> bytes:
    """A JSON text that carries the digest of all its other entries under `digest`."""
    return json.dumps({**plain, "digest": digest(plain)}, indent=1, allow_nan=False).encode() + b"\n"


def open_document(path: Path, kind: str) -> dict[str, Any]:
    """Read a sealed JSON document.

    Raises:
        ArtifactNotFound: there is no such file.
        ArtifactError: it is damaged, or of another kind.
    """
    try:
        plain = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ArtifactNotFound(path) from None
    except ValueError as error:
        raise ArtifactError(f"{path}: is not JSON ({error}): damaged? make it again") from error
    if not isinstance(plain, dict) or plain.get("kind") != kind:
        raise ArtifactError(f"{path}: is not a {kind}")
    body = {key: value for key, value in plain.items() if key != "digest"}
    if plain.get("digest") != digest(body):
        raise ArtifactError(f"{path}: its content does not match its digest: it was changed or damaged; make it again")
    return plain


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def seal_folder(folder: Path, kind: str, **facts: Any) -> str:
    """Write MANIFEST.json over everything in `folder`: each file's size and sha256, and its own digest.

    Returns:
        The manifest's digest: the artifact's identity.
    """
    files = {name: {"size": path.stat().st_size, "sha256": file_digest(path)} for name, path in _files(folder).items()}
    plain = {"kind": kind, **facts, "files": files}
    folder.joinpath(MANIFEST).write_bytes(seal_document(plain))
    return digest(plain)


def open_folder(folder: Path, kind: str) -> dict[str, Any]:
    """Check a sealed folder quickly and give its manifest: names, sizes, and the bytes of small files.

    Raises:
        ArtifactNotFound: there is no such folder.
        ArtifactError: it is incomplete, damaged, or of another kind.
    """
    manifest = _read_manifest(folder, kind)
    for finding in _compare(folder, manifest, largest=SMALL):
        raise ArtifactError(f"{folder}: {finding}; `skelepipe verify` lists all that is wrong")
    return manifest


def inspect_folder(folder: Path, kind: str) -> list[str]:
    """Read every byte of a sealed folder and name everything that is wrong with it; nothing when it is good."""
    try:
        return list(_compare(folder, _read_manifest(folder, kind), largest=None))
    except ArtifactError as error:
        return [str(error)]


def _read_manifest(folder: Path, kind: str) -> dict[str, Any]:
    if not folder.exists():
        raise ArtifactNotFound(folder)
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: is a file, expected the folder of a {kind}")
    if not folder.joinpath(MANIFEST).is_file():
        raise ArtifactError(f"{folder}: has no {MANIFEST}: it was never finished, or is not a {kind}")
    return open_document(folder / MANIFEST, kind)


def _files(folder: Path) -> dict[str, Path]:
    """All that a manifest speaks of: every file at any depth, by its name within `folder`, but the manifest itself."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    found.pop(MANIFEST, None)
    return found


def _compare(folder: Path, manifest: Mapping[str, Any], *, largest: int | None) -> list[str]:
    """What differs between a folder and its manifest; files over `largest` bytes are compared by size alone."""
    found = _files(folder)
    findings = [f"{name} is missing" for name in manifest["files"] if name not in found]
    for name, path in found.items():
        wanted = manifest["files"].get(name)
        if wanted is None:
            findings.append(f"{name} does not belong there")
        elif (size := path.stat().st_size) != wanted["size"]:
            findings.append(f"{name} has {size} bytes, expected {wanted['size']}")
        elif (largest is None or size <= largest) and file_digest(path) != wanted["sha256"]:
            findings.append(f"{name} has other content than when it was written")
    return findings
