"""Whether an artifact is whole: every byte of a store, split, run, checkpoint or classifier against its own seal."""

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
from pipeline.store import store

META_SPECS = {schemas.CHECKPOINT: schemas.META, schemas.CLASSIFIER: schemas.CLASSIFIER_META}
"""What meta.json must hold in either kind of folder."""


class NotAnArtifact(SkelepipeError):
    """The path holds no artifact of skelepipe's."""


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What a look at every byte found."""

    path: Path
    kind: str
    findings: list[str] = field(default_factory=list)
    """Everything that is wrong, a line each; empty when it is good."""


def verify(path: Path) -> VerifyResult:
    """Read an artifact whole and name everything that is wrong with it.

    Raises:
        ArtifactNotFound: there is nothing at `path`.
        NotOurs: what is there is not an artifact of skelepipe's.
    """
    if not path.exists():
        raise ArtifactNotFound(path)
    if not path.is_dir():
        form = _document_form(path)
        return VerifyResult(path, form.kind, _inspect_document(path, form))
    form = _folder_form(path)
    if form == schemas.RUN:
        wrong = _inspect_run(path)
    else:
        wrong = store.verify_store(path) if form == schemas.STORE else _inspect_part(path, form)
    return VerifyResult(path, form.kind, wrong)


def _inspect_document(path: Path, form: DocumentSpec) -> list[str]:
    """What is wrong with a sealed document, or with a split's place."""
    try:
        plain = manifest.open_document(path, form)
    except ArtifactError as error:
        return [str(error)]
    if form == schemas.SPLIT and _lies_among_splits(path) and plain["name"] != path.stem:
        return [f"{path}: holds the split {plain['name']}, not {path.stem}"]
    return []


def _inspect_run(path: Path) -> list[str]:
    """What is wrong with a run's description, its checkpoints and its classifiers; the log and results have no seal."""
    findings = _inspect_document(path / RUN_FILE, schemas.RUN)
    checkpoints = sorted((path / CHECKPOINTS_FOLDER).glob("step-*"))
    classifiers = sorted(path.glob(f"*/[!.]*{CLASSIFIERS_FOLDER}"))
    described = None if findings else manifest.open_document(path / RUN_FILE, schemas.RUN)["digest"]
    for part, form in [(part, schemas.CHECKPOINT) for part in checkpoints] + [
        (part, schemas.CLASSIFIER) for part in classifiers
    ]:
        findings += [f"{part.relative_to(path)}: {finding}" for finding in _inspect_part(part, form, described)]
    return findings if checkpoints else [*findings, "has no checkpoint: its training was stopped before the first"]


def _inspect_part(path: Path, form: DocumentSpec, run: str | None = None) -> list[str]:
    """What is wrong with a checkpoint or a classifier, which belongs to the run of that digest if that is known."""
    wrong = manifest.verify_folder(path, form)
    if wrong:
        return wrong
    try:
        meta = manifest.open_unchecksummed(path / META_FILE, META_SPECS[form])
    except ArtifactError as error:
        return [str(error)]
    return [f"is a {form.kind.removeprefix('skelepipe-')} of another run"] if run not in (None, meta["run"]) else []


def _folder_form(path: Path) -> DocumentSpec:
    """Which kind of folder this is, by any trace that damage has left of it."""
    traces = b"".join(
        (path / name).read_bytes() for name in (manifest.MANIFEST, "zarr.json", META_FILE) if (path / name).is_file()
    )
    for form in (schemas.STORE, schemas.CHECKPOINT, schemas.CLASSIFIER):
        if form.kind.encode() in traces:
            return form
    if (path / "xyz").is_dir():
        return schemas.STORE
    if (path / "model.safetensors").is_file():
        return schemas.CHECKPOINT
    if (path / "classifier.safetensors").is_file():
        return schemas.CLASSIFIER
    if (path / RUN_FILE).is_file() or any((path / CHECKPOINTS_FOLDER).glob("step-*")):
        return schemas.RUN
    raise NotAnArtifact(f"{path}: is no store, split, run, checkpoint or classifier of skelepipe's")


def _lies_among_splits(path: Path) -> bool:
    return path.suffix == ".json" and path.absolute().parent.parent.name == SPLITS_FOLDER


def _document_form(path: Path) -> DocumentSpec:
    """Which kind of document this is: by its place, else by what it says, else by any trace that damage has left."""
    if _lies_among_splits(path):
        return schemas.SUBSET if SUBSET_MARK in path.name else schemas.SPLIT
    if path.name == RUN_FILE and path.with_name(CHECKPOINTS_FOLDER).is_dir():
        return schemas.RUN
    content = path.read_bytes()
    for form in (schemas.SPLIT, schemas.SUBSET, schemas.RUN):
        if f'"kind": "{form.kind}"'.encode() in content:
            return form
    try:
        plain = json.loads(content)
    except ValueError:
        plain = None
    if isinstance(plain, dict) and "digest" in plain and ("train" in plain or "rows" in plain):
        return schemas.SPLIT if "train" in plain else schemas.SUBSET
    raise NotAnArtifact(f"{path}: is no store, split, run, checkpoint or classifier of skelepipe's")
