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
    kind = _folder_kind(path) if path.is_dir() else _document_kind(path)
    if path.is_dir():
        return Verdict(path, kind, manifest.inspect_folder(path, kind))
    try:
        manifest.open_document(path, kind)
    except ArtifactError as error:
        return Verdict(path, kind, [str(error)])
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


def _document_kind(path: Path) -> str:
    content = path.read_bytes()
    for kind in (splits.KIND, splits.SUBSET_KIND):
        if kind.encode() in content:
            return kind
    try:
        plain = json.loads(content)
    except ValueError:
        plain = None
    if isinstance(plain, dict) and "digest" in plain and ("train" in plain or "rows" in plain):
        return splits.KIND if "train" in plain else splits.SUBSET_KIND
    raise NotOurs(f"{path}: is no store, split or checkpoint of skelepipe's")
