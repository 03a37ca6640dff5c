"""Seals: a folder's MANIFEST.json and a JSON document's own digest, and what they find when something was touched."""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.artifacts.validation import DocumentSpec
from pipeline.errors import ArtifactError, ArtifactNotFound

MANIFEST = "MANIFEST.json"
SMALL_FILE_BYTES = 1 << 20
"""Bytes: files up to this size are read and hashed whenever a folder is opened; larger ones by `verify`."""


def canonical_json(plain: Any) -> bytes:
    """JSON with sorted keys and no spare blanks: the same content always gives the same bytes."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def json_digest(plain: Any) -> str:
    """sha256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(plain)).hexdigest()


def tool_version() -> str:
    """What writes, as it stands in what is written."""
    return f"skelepipe {importlib.metadata.version('skelepipe')}"


def encode_document(form: DocumentSpec, facts: Mapping[str, Any]) -> bytes:
    """A JSON text that says its kind and format version, and carries the digest of its other entries under `digest`."""
    plain = {"kind": form.kind, "format_version": form.version, **facts}
    return _text({**plain, "digest": json_digest(plain)})


def _text(plain: Mapping[str, Any]) -> bytes:
    return json.dumps(plain, indent=1, allow_nan=False).encode() + b"\n"


def open_document(path: Path, form: DocumentSpec) -> dict[str, Any]:
    """Read a sealed JSON document.

    Raises:
        ArtifactNotFound: there is no such file.
        ArtifactError: it is damaged, of another kind or format version, or lacks a field; the text says which.
    """
    plain, content = _parse(path, form)
    form.check_kind(path, plain)
    # Byte for byte, since a text can change without its content: 1e-05 and 1E-05 are the same number.
    if not _matches_its_digest(plain, content):
        raise ArtifactError(f"{path}: its content does not match its digest: it was changed or damaged; {form.remedy}")
    form.check(path, plain)
    document: dict[str, Any] = plain
    return document


def _matches_its_digest(plain: Mapping[str, Any], content: bytes) -> bool:
    try:
        body = {key: value for key, value in plain.items() if key != "digest"}
        return plain.get("digest") == json_digest(body) and content == _text(plain)
    except (ValueError, RecursionError):  # NaN, or nested deeper than is written: read, but no seal was made over it
        return False


def open_unchecksummed(path: Path, form: DocumentSpec) -> dict[str, Any]:
    """Read a JSON document that has no seal of its own, for it lies in a sealed folder, which its reader has opened.

    Raises:
        ArtifactNotFound: there is no such file.
        ArtifactError: it is of another kind, or lacks a field; the text says which.
    """
    plain = read_json(path, form)
    form.check_kind(path, plain)
    form.check_fields(path, plain)
    document: dict[str, Any] = plain
    return document


def read_json(path: Path, form: DocumentSpec) -> Any:
    """What a JSON file holds, whatever that is.

    Raises:
        ArtifactNotFound: there is no such file.
        ArtifactError: it is not JSON.
    """
    return _parse(path, form)[0]


def _parse(path: Path, form: DocumentSpec) -> tuple[Any, bytes]:
    """What a JSON file holds, and its bytes."""
    try:
        content = path.read_bytes()
        return json.loads(content), content
    except FileNotFoundError:
        raise ArtifactNotFound(path) from None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: is not JSON ({error}): damaged? {form.remedy}") from error


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_manifest(folder: Path, form: DocumentSpec, **facts: Any) -> str:
    """Write MANIFEST.json over everything in `folder`: each file's size and sha256, and its own digest.

    Returns:
        The manifest's digest: the artifact's identity.
    """
    files = {name: {"size": path.stat().st_size, "sha256": file_digest(path)} for name, path in _files(folder).items()}
    sealed = encode_document(form, {**facts, "files": files})
    folder.joinpath(MANIFEST).write_bytes(sealed)
    identity: str = json.loads(sealed)["digest"]
    return identity


def open_folder(folder: Path, form: DocumentSpec) -> dict[str, Any]:
    """Check a sealed folder quickly and give its manifest: names, sizes, and the bytes of small files.

    Raises:
        ArtifactNotFound: there is no such folder.
        ArtifactError: it is incomplete, damaged, or of another kind or format version.
    """
    manifest = _read_manifest(folder, form)
    for finding in _compare(folder, manifest, largest=SMALL_FILE_BYTES):
        raise ArtifactError(f"{folder}: {finding}; `skelepipe verify` lists all that is wrong")
    return manifest


def verify_folder(folder: Path, form: DocumentSpec) -> list[str]:
    """Read every byte of a sealed folder and name everything that is wrong with it; nothing when it is good."""
    try:
        return list(_compare(folder, _read_manifest(folder, form), largest=None))
    except ArtifactError as error:
        return [str(error)]


def _read_manifest(folder: Path, form: DocumentSpec) -> dict[str, Any]:
    if not folder.exists():
        raise ArtifactNotFound(folder, f"make one with `{form.make}`" if form.make else "")
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: is a file, expected the folder of a {form.kind}")
    if folder.joinpath("run.json").is_file():
        raise ArtifactError(f"{folder}: is a run, expected a {form.kind}")
    if not folder.joinpath(MANIFEST).is_file():
        raise ArtifactError(f"{folder}: has no {MANIFEST}: it was never finished, or is not a {form.kind}")
    return open_document(folder / MANIFEST, form)


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
