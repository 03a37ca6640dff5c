"""Whether an artifact is whole: every byte of a store, split, run, checkpoint or classifier against its own seal."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import documents, manifest, splits
from pipeline.documents import Form
from pipeline.errors import ArtifactError, ArtifactNotFound, SkelepipeError

RUN, CHECKPOINTS, META = "run.json", "checkpoints", "meta.json"
"""Where a run's description, its checkpoints and what each says of itself lie."""
CLASSIFIERS = ".classifier"
"""How the folders of classifiers end, which lie among a run's results."""


class NotOurs(SkelepipeError):
    """The path holds no artifact of skelepipe's."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at every byte found."""

    path: Path
    kind: str
    findings: list[str] = field(default_factory=list)
    """Everything that is wrong, a line each; empty when it is good."""


def verify(path: Path) -> Verdict:
    """Read an artifact whole and name everything that is wrong with it.

    Raises:
        ArtifactNotFound: there is nothing at `path`.
        NotOurs: what is there is not an artifact of skelepipe's.
    """
    if not path.exists():
        raise ArtifactNotFound(path)
    if not path.is_dir():
        form = _document_form(path)
        return Verdict(path, form.kind, _inspect_document(path, form))
    form = _folder_form(path)
    wrong = _inspect_run(path) if form == documents.RUN else manifest.inspect_folder(path, form)
    return Verdict(path, form.kind, wrong)


def _inspect_document(path: Path, form: Form) -> list[str]:
    """What is wrong with a sealed document, or with a split's place."""
    try:
        plain = manifest.open_document(path, form)
    except ArtifactError as error:
        return [str(error)]
    if form == documents.SPLIT and _lies_among_splits(path) and plain["name"] != path.stem:
        return [f"{path}: holds the split {plain['name']}, not {path.stem}"]
    return []


def _inspect_run(path: Path) -> list[str]:
    """What is wrong with a run's description, its checkpoints and its classifiers; the log and results have no seal."""
    findings = _inspect_document(path / RUN, documents.RUN)
    checkpoints = sorted((path / CHECKPOINTS).glob("step-*"))
    classifiers = sorted(path.glob(f"*/[!.]*{CLASSIFIERS}"))
    described = None if findings else manifest.open_document(path / RUN, documents.RUN)["digest"]
    for part, form in [(part, documents.CHECKPOINT) for part in checkpoints] + [
        (part, documents.CLASSIFIER) for part in classifiers
    ]:
        place = part.relative_to(path)
        wrong = [f"{place}: {finding}" for finding in manifest.inspect_folder(part, form)]
        if not wrong and described and json.loads((part / META).read_bytes()).get("run") != described:
            wrong.append(f"{place}: is a {form.kind.removeprefix('skelepipe-')} of another run")
        findings += wrong
    return findings if checkpoints else [*findings, "has no checkpoint: its training was stopped before the first"]


def _folder_form(path: Path) -> Form:
    """Which kind of folder this is, by any trace that damage has left of it."""
    traces = b"".join(
        (path / name).read_bytes() for name in (manifest.MANIFEST, "zarr.json", META) if (path / name).is_file()
    )
    for form in (documents.STORE, documents.CHECKPOINT, documents.CLASSIFIER):
        if form.kind.encode() in traces:
            return form
    if (path / "xyz").is_dir():
        return documents.STORE
    if (path / "model.safetensors").is_file():
        return documents.CHECKPOINT
    if (path / "classifier.safetensors").is_file():
        return documents.CLASSIFIER
    if (path / RUN).is_file() or any((path / CHECKPOINTS).glob("step-*")):
        return documents.RUN
    raise NotOurs(f"{path}: is no store, split, run, checkpoint or classifier of skelepipe's")


def _lies_among_splits(path: Path) -> bool:
    return path.suffix == ".json" and path.absolute().parent.parent.name == splits.FOLDER


def _document_form(path: Path) -> Form:
    """Which kind of document this is: by its place, else by what it says, else by any trace that damage has left."""
    if _lies_among_splits(path):
        return documents.SUBSET if splits.SUBSET_MARK in path.name else documents.SPLIT
    content = path.read_bytes()
    for form in (documents.SPLIT, documents.SUBSET, documents.RUN):
        if f'"kind": "{form.kind}"'.encode() in content:
            return form
    try:
        plain = json.loads(content)
    except ValueError:
        plain = None
    if isinstance(plain, dict) and "digest" in plain and ("train" in plain or "rows" in plain):
        return documents.SPLIT if "train" in plain else documents.SUBSET
    raise NotOurs(f"{path}: is no store, split, run, checkpoint or classifier of skelepipe's")
