"""Whether an artifact is whole: every byte of a store, split or checkpoint held against its own seal."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import manifest, splits, store
from pipeline.errors import ArtifactError, ArtifactNotFound, SkelepipeError

CHECKPOINT_KIND = "skelepipe-checkpoint"


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
    if path.is_dir():
        kind = _folder_kind(path)
        return Verdict(path, kind, manifest.inspect_folder(path, kind))
    kind = _document_kind(path)
    try:
        plain = manifest.open_document(path, kind)
    except ArtifactError as error:
        return Verdict(path, kind, [str(error)])
    if kind == splits.KIND and _lies_among_splits(path) and plain["name"] != path.stem:
        return Verdict(path, kind, [f"{path}: holds the split {plain['name']}, not {path.stem}"])
    return Verdict(path, kind)


def _folder_kind(path: Path) -> str:
    """Which kind of folder this is, by any trace that damage has left of it."""
    traces = b"".join(
        (path / name).read_bytes() for name in (manifest.MANIFEST, "zarr.json", "meta.json") if (path / name).is_file()
    )
    for kind in (store.KIND, CHECKPOINT_KIND):
        if kind.encode() in traces:
            return kind
    if (path / "xyz").is_dir():
        return store.KIND
    if (path / "model.safetensors").is_file():
        return CHECKPOINT_KIND
    raise NotOurs(f"{path}: is no store, split or checkpoint of skelepipe's")


def _lies_among_splits(path: Path) -> bool:
    return path.suffix == ".json" and path.absolute().parent.parent.name == splits.FOLDER


def _document_kind(path: Path) -> str:
    """Which kind of document this is: by its place, else by what it says, else by any trace that damage has left."""
    if _lies_among_splits(path):
        return splits.SUBSET_KIND if splits.SUBSET_MARK in path.name else splits.KIND
    content = path.read_bytes()
    for kind in (splits.KIND, splits.SUBSET_KIND):
        if f'"kind": "{kind}"'.encode() in content:
            return kind
    try:
        plain = json.loads(content)
    except ValueError:
        plain = None
    if isinstance(plain, dict) and "digest" in plain and ("train" in plain or "rows" in plain):
        return splits.KIND if "train" in plain else splits.SUBSET_KIND
    raise NotOurs(f"{path}: is no store, split or checkpoint of skelepipe's")
