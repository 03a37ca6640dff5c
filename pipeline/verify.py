"""Whether an artifact is whole: every byte of a store, split, run, checkpoint or classifier against its own seal."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import manifest, splits, store
from pipeline.errors import ArtifactError, ArtifactNotFound, SkelepipeError

CHECKPOINT_KIND, CLASSIFIER_KIND, RUN_KIND = "skelepipe-checkpoint", "skelepipe-classifier", "skelepipe-run"
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
        kind = _document_kind(path)
        return Verdict(path, kind, _inspect_document(path, kind))
    kind = _folder_kind(path)
    return Verdict(path, kind, _inspect_run(path) if kind == RUN_KIND else manifest.inspect_folder(path, kind))


def _inspect_document(path: Path, kind: str) -> list[str]:
    """What is wrong with a sealed document, or with a split's place."""
    try:
        plain = manifest.open_document(path, kind)
    except ArtifactError as error:
        return [str(error)]
    if kind == splits.KIND and _lies_among_splits(path) and plain["name"] != path.stem:
        return [f"{path}: holds the split {plain['name']}, not {path.stem}"]
    return []


def _inspect_run(path: Path) -> list[str]:
    """What is wrong with a run's description, its checkpoints and its classifiers; the log and results have no seal."""
    findings = _inspect_document(path / RUN, RUN_KIND)
    checkpoints = sorted((path / CHECKPOINTS).glob("step-*"))
    classifiers = sorted(path.glob(f"*/[!.]*{CLASSIFIERS}"))
    described = None if findings else manifest.open_document(path / RUN, RUN_KIND)["digest"]
    for part, kind in [(part, CHECKPOINT_KIND) for part in checkpoints] + [
        (part, CLASSIFIER_KIND) for part in classifiers
    ]:
        place = part.relative_to(path)
        wrong = [f"{place}: {finding}" for finding in manifest.inspect_folder(part, kind)]
        if not wrong and described and json.loads((part / META).read_bytes()).get("run") != described:
            wrong.append(f"{place}: is a {kind.removeprefix('skelepipe-')} of another run")
        findings += wrong
    return findings if checkpoints else [*findings, "has no checkpoint: its training was stopped before the first"]


def _folder_kind(path: Path) -> str:
    """Which kind of folder this is, by any trace that damage has left of it."""
    traces = b"".join(
        (path / name).read_bytes() for name in (manifest.MANIFEST, "zarr.json", META) if (path / name).is_file()
    )
    for kind in (store.KIND, CHECKPOINT_KIND, CLASSIFIER_KIND):
        if kind.encode() in traces:
            return kind
    if (path / "xyz").is_dir():
        return store.KIND
    if (path / "model.safetensors").is_file():
        return CHECKPOINT_KIND
    if (path / "classifier.safetensors").is_file():
        return CLASSIFIER_KIND
    if (path / RUN).is_file() or any((path / CHECKPOINTS).glob("step-*")):
        return RUN_KIND
    raise NotOurs(f"{path}: is no store, split, run, checkpoint or classifier of skelepipe's")


def _lies_among_splits(path: Path) -> bool:
    return path.suffix == ".json" and path.absolute().parent.parent.name == splits.FOLDER


def _document_kind(path: Path) -> str:
    """Which kind of document this is: by its place, else by what it says, else by any trace that damage has left."""
    if _lies_among_splits(path):
        return splits.SUBSET_KIND if splits.SUBSET_MARK in path.name else splits.KIND
    content = path.read_bytes()
    for kind in (splits.KIND, splits.SUBSET_KIND, RUN_KIND):
        if f'"kind": "{kind}"'.encode() in content:
            return kind
    try:
        plain = json.loads(content)
    except ValueError:
        plain = None
    if isinstance(plain, dict) and "digest" in plain and ("train" in plain or "rows" in plain):
        return splits.KIND if "train" in plain else splits.SUBSET_KIND
    raise NotOurs(f"{path}: is no store, split, run, checkpoint or classifier of skelepipe's")
