"""Whether an artifact is whole: every byte of a store, split, run, checkpoint or classifier against its own seal."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import documents, manifest, places, store
from pipeline.errors import ArtifactError, ArtifactNotFound, SkelepipeError
from pipeline.forms import Form

RUN, CHECKPOINTS, META = "run.json", "checkpoints", "meta.json"
"""Where a run's description, its checkpoints and what each says of itself lie."""
CLASSIFIERS = ".classifier"
"""How the folders of classifiers end, which lie among a run's results."""
METAS = {documents.CHECKPOINT: documents.META, documents.CLASSIFIER: documents.CLASSIFIER_META}
"""What meta.json must hold in either kind of folder."""


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
    if form == documents.RUN:
        wrong = _inspect_run(path)
    else:
        wrong = store.inspect(path) if form == documents.STORE else _inspect_part(path, form)
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
        findings += [f"{part.relative_to(path)}: {finding}" for finding in _inspect_part(part, form, described)]
    return findings if checkpoints else [*findings, "has no checkpoint: its training was stopped before the first"]


def _inspect_part(path: Path, form: Form, run: str | None = None) -> list[str]:
    """What is wrong with a checkpoint or a classifier, which belongs to the run of that digest if that is known."""
    wrong = manifest.inspect_folder(path, form)
    if wrong:
        return wrong
    try:
        meta = manifest.open_part(path / META, METAS[form])
    except ArtifactError as error:
        return [str(error)]
    return [f"is a {form.kind.removeprefix('skelepipe-')} of another run"] if run not in (None, meta["run"]) else []


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
    return path.suffix == ".json" and path.absolute().parent.parent.name == places.SPLITS


def _document_form(path: Path) -> Form:
    """Which kind of document this is: by its place, else by what it says, else by any trace that damage has left."""
    if _lies_among_splits(path):
        return documents.SUBSET if places.SUBSET_MARK in path.name else documents.SPLIT
    if path.name == RUN and path.with_name(CHECKPOINTS).is_dir():
        return documents.RUN
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
