"""Checksums: MANIFEST.json of a folder and the digest inside a JSON document; write, open and verify them."""

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, NoReturn

from pipeline.artifacts.paths import MANIFEST_FILE
from pipeline.artifacts.validation import DocumentSpec
from pipeline.errors import ArtifactError, ArtifactNotFound
from pipeline.files.regular_files import UnsuitableFile, open_buffered, read_bytes
from pipeline.files.system_files import is_system_file

MANIFEST = MANIFEST_FILE
SMALL_FILE_BYTES = 1 << 20
"""Files up to this size are hashed whenever a folder is opened; larger ones by `skelepipe verify`."""


def canonical_json(plain: Any) -> bytes:
    """Return JSON with sorted keys and without blanks: equal content gives equal bytes."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def json_digest(plain: Any) -> str:
    """Return the sha256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(plain)).hexdigest()


def tool_version() -> str:
    """Return name and version of this program, as stored in artifacts."""
    return f"skelepipe {importlib.metadata.version('skelepipe')}"


def encode_document(spec: DocumentSpec, fields: Mapping[str, Any]) -> bytes:
    """Encode a JSON document with its kind and format version, and the digest of all other entries under `digest`."""
    plain = {"kind": spec.kind, "format_version": spec.version, **fields}
    return _text({**plain, "digest": json_digest(plain)})


def _text(plain: Mapping[str, Any]) -> bytes:
    return json.dumps(plain, indent=1, allow_nan=False).encode() + b"\n"


def open_document(path: Path, spec: DocumentSpec) -> dict[str, Any]:
    """Read a JSON document and check its digest and fields.

    Raises:
        ArtifactNotFound: there is no such file.
        ArtifactError: it is damaged, of another kind or format version, or lacks a field; the message says which.
    """
    plain, content = _parse(path, spec)
    spec.check_kind(path, plain)
    # The text is compared byte for byte, because it can change while its content is equal: 1e-05 and 1E-05.
    if not _matches_its_digest(plain, content):
        raise ArtifactError(f"{path}: its content does not match its digest: it was changed or damaged; {spec.remedy}")
    spec.check(path, plain)
    document: dict[str, Any] = plain
    return document


def _matches_its_digest(plain: Mapping[str, Any], content: bytes) -> bool:
    try:
        body = {key: value for key, value in plain.items() if key != "digest"}
        return plain.get("digest") == json_digest(body) and content == _text(plain)
    except (ValueError, RecursionError):  # NaN or deep nesting can be read, but is never written with a digest
        return False


def open_unchecksummed(path: Path, spec: DocumentSpec) -> dict[str, Any]:
    """Read a JSON document without a digest; its checksum is in the manifest of its folder, which the caller opened.

    Raises:
        ArtifactNotFound: there is no such file.
        ArtifactError: it is of another kind, or lacks a field; the message says which.
    """
    plain = read_json(path, spec)
    spec.check_kind(path, plain)
    spec.check_fields(path, plain)
    document: dict[str, Any] = plain
    return document


def read_json(path: Path, spec: DocumentSpec) -> Any:
    """Read a JSON file of any content.

    Raises:
        ArtifactNotFound: there is no such file.
        ArtifactError: it is not JSON.
    """
    return _parse(path, spec)[0]


def _parse(path: Path, spec: DocumentSpec) -> tuple[Any, bytes]:
    """Read a JSON file; return its content and its bytes."""
    try:
        content = read_bytes(path)
        return json.loads(content), content
    except FileNotFoundError:
        raise ArtifactNotFound(path) from None
    except (UnsuitableFile, IsADirectoryError) as error:
        raise ArtifactError(f"{path}: {error.strerror}; {spec.remedy}") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: is not JSON ({error}): damaged? {spec.remedy}") from error


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with open_buffered(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_manifest(folder: Path, spec: DocumentSpec, **fields: Any) -> str:
    """Write MANIFEST.json with `fields`, size and sha256 of every file in `folder`, and its own digest.

    Returns:
        The digest of the manifest, which identifies the artifact.
    """
    files = {name: {"size": path.stat().st_size, "sha256": file_digest(path)} for name, path in _files(folder).items()}
    content = encode_document(spec, {**fields, "files": files})
    folder.joinpath(MANIFEST).write_bytes(content)
    identity: str = json.loads(content)["digest"]
    return identity


def open_folder(folder: Path, spec: DocumentSpec, *, max_bytes: int | None = SMALL_FILE_BYTES) -> dict[str, Any]:
    """Check names, sizes and the content of small files in a folder against its manifest; return the manifest.

    Files of more than `max_bytes` are compared by size alone; None: every byte is checked.

    Raises:
        ArtifactNotFound: there is no such folder.
        ArtifactError: it is incomplete, damaged, or of another kind or format version.
    """
    manifest = _read_manifest(folder, spec)
    for finding in _compare(folder, manifest, max_bytes=max_bytes):
        raise ArtifactError(f"{folder}: {finding}; `skelepipe verify` lists all that is wrong")
    return manifest


def verify_folder(folder: Path, spec: DocumentSpec) -> list[str]:
    """Check every byte of a folder against its manifest; return a list of all faults, empty if there are none."""
    try:
        return list(_compare(folder, _read_manifest(folder, spec), max_bytes=None))
    except ArtifactError as error:
        return [str(error)]


def _read_manifest(folder: Path, spec: DocumentSpec) -> dict[str, Any]:
    if not folder.exists():
        raise ArtifactNotFound(folder, f"make one with `{spec.make}`" if spec.make else "")
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: is a file, not the folder of a {spec.kind}")
    if folder.joinpath("run.json").is_file():
        raise ArtifactError(f"{folder}: is a run, expected a {spec.kind}")
    if not folder.joinpath(MANIFEST).is_file():
        raise ArtifactError(f"{folder}: has no {MANIFEST}: it is incomplete, or not a {spec.kind}")
    return open_document(folder / MANIFEST, spec)


def _files(folder: Path) -> dict[str, Path]:
    """Return all that is no folder, at any depth, by its path within `folder`, except the manifest and system files."""
    walk = os.walk(folder, onerror=_raise)  # Path.rglob skips folders that cannot be listed
    below = {
        path.relative_to(folder): path
        for path in sorted(Path(parent, name) for parent, _, names in walk for name in names)
    }
    found = {name.as_posix(): path for name, path in below.items() if not is_system_file(name)}
    found.pop(MANIFEST, None)
    return found


def _raise(error: OSError) -> NoReturn:
    raise error


def _compare(folder: Path, manifest: Mapping[str, Any], *, max_bytes: int | None) -> list[str]:
    """Compare a folder with its manifest; files larger than `max_bytes` are compared by size alone."""
    found = _files(folder)
    expected_files = {name: entry for name, entry in manifest["files"].items() if not is_system_file(PurePath(name))}
    findings = [f"{name} is missing" for name in expected_files if name not in found]
    for name, path in found.items():
        expected = expected_files.get(name)
        if expected is None:
            findings.append(f"{name} does not belong there")
        elif not path.is_file():
            findings.append(f"{name} is not a regular file")
        elif (size := path.stat().st_size) != expected["size"]:
            findings.append(f"{name} has {size} bytes, expected {expected['size']}")
        elif (max_bytes is None or size <= max_bytes) and file_digest(path) != expected["sha256"]:
            findings.append(f"{name} has changed since it was written (its sha256 differs)")
    return findings
