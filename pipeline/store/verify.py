"""Verify every byte of a store, split, run, checkpoint or classifier against its checksums."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.artifacts import manifest, schemas
from pipeline.artifacts.paths import (
    CHECKPOINTS_FOLDER,
    CLASSIFIERS_FOLDER,
    META_FILE,
    RUN_FILE,
    SPLITS_FOLDER,
    SUBSET_MARK,
)
from pipeline.artifacts.validation import DocumentSpec
from pipeline.errors import ArtifactError, ArtifactNotFound, SkelepipeError
from pipeline.files.regular_files import read_bytes
from pipeline.files.text_paths import accept_text_paths
from pipeline.store import store

META_SPECS = {schemas.CHECKPOINT: schemas.META, schemas.CLASSIFIER: schemas.CLASSIFIER_META}
"""The schema of meta.json in each kind of folder."""


class NotAnArtifact(SkelepipeError):
    """The path is not an artifact of skelepipe."""


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """The result of verifying one artifact."""

    path: Path
    kind: str
    findings: list[str] = field(default_factory=list)
    """All faults, one line each; empty if there are none."""


@accept_text_paths
def verify(path: Path) -> VerifyResult:
    """Read every byte of an artifact and list all faults.

    Raises:
        ArtifactNotFound: the path does not exist.
        NotAnArtifact: the path is not an artifact of skelepipe.
    """
    if not path.exists():
        raise ArtifactNotFound(path)
    if not path.is_dir():
        spec = _detect_document_kind(path)
        return VerifyResult(path, spec.kind, _verify_document(path, spec))
    spec = _detect_folder_kind(path)
    if spec == schemas.RUN:
        faults = _verify_run(path)
    else:
        faults = store.verify_store(path) if spec == schemas.STORE else _verify_part(path, spec)
    return VerifyResult(path, spec.kind, faults)


def _verify_document(path: Path, spec: DocumentSpec) -> list[str]:
    """Return the faults of a JSON document, or of the file name of a split."""
    try:
        plain = manifest.open_document(path, spec)
    except ArtifactError as error:
        return [str(error)]
    if spec == schemas.SPLIT and _is_in_splits_folder(path) and plain["name"] != path.stem:
        return [f"{path}: holds the split {plain['name']}, not {path.stem}"]
    return []


def _verify_run(path: Path) -> list[str]:
    """Return the faults of run.json, checkpoints and classifiers; the log and the results have no checksum."""
    findings = _verify_document(path / RUN_FILE, schemas.RUN)
    checkpoints = sorted((path / CHECKPOINTS_FOLDER).glob("step-*"))
    classifiers = sorted(path.glob(f"*/[!.]*{CLASSIFIERS_FOLDER}"))
    described = None if findings else manifest.open_document(path / RUN_FILE, schemas.RUN)["digest"]
    parts = [(checkpoint, schemas.CHECKPOINT) for checkpoint in checkpoints]
    for part, spec in [*parts, *((classifier, schemas.CLASSIFIER) for classifier in classifiers)]:
        findings += [f"{part.relative_to(path)}: {finding}" for finding in _verify_part(part, spec, described)]
    return findings if checkpoints else [*findings, "has no checkpoint: its training was stopped before the first"]


def _verify_part(path: Path, spec: DocumentSpec, run: str | None = None) -> list[str]:
    """Return the faults of a checkpoint or classifier; `run` is the digest of its run, if known."""
    faults = manifest.verify_folder(path, spec)
    if faults:
        return faults
    try:
        meta = manifest.open_unchecksummed(path / META_FILE, META_SPECS[spec])
    except ArtifactError as error:
        return [str(error)]
    return [f"is a {spec.kind.removeprefix('skelepipe-')} of another run"] if run not in (None, meta["run"]) else []


def _detect_folder_kind(path: Path) -> DocumentSpec:
    """Determine the kind of a folder, even from the remains of a damaged one."""
    content = b"".join(
        read_bytes(path / name) for name in (manifest.MANIFEST, "zarr.json", META_FILE) if (path / name).is_file()
    )
    for spec in (schemas.STORE, schemas.CHECKPOINT, schemas.CLASSIFIER):
        if spec.kind.encode() in content:
            return spec
    if (path / "xyz").is_dir():
        return schemas.STORE
    if (path / "model.safetensors").is_file():
        return schemas.CHECKPOINT
    if (path / "classifier.safetensors").is_file():
        return schemas.CLASSIFIER
    if (path / RUN_FILE).is_file() or any((path / CHECKPOINTS_FOLDER).glob("step-*")):
        return schemas.RUN
    raise NotAnArtifact(f"{path}: is not a store, split, run, checkpoint or classifier of skelepipe")


def _is_in_splits_folder(path: Path) -> bool:
    return path.suffix == ".json" and path.absolute().parent.parent.name == SPLITS_FOLDER


def _detect_document_kind(path: Path) -> DocumentSpec:
    """Determine the kind of a document: by its path, its content, or the remains of a damaged one."""
    if _is_in_splits_folder(path):
        return schemas.SUBSET if SUBSET_MARK in path.name else schemas.SPLIT
    if path.name == RUN_FILE and path.with_name(CHECKPOINTS_FOLDER).is_dir():
        return schemas.RUN
    content = read_bytes(path)
    for spec in (schemas.SPLIT, schemas.SUBSET, schemas.RUN):
        if f'"kind": "{spec.kind}"'.encode() in content:
            return spec
    try:
        plain = json.loads(content)
    except ValueError:
        plain = None
    if isinstance(plain, dict) and "digest" in plain and ("train" in plain or "rows" in plain):
        return schemas.SPLIT if "train" in plain else schemas.SUBSET
    raise NotAnArtifact(f"{path}: is not a store, split, run, checkpoint or classifier of skelepipe")
