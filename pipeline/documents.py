"""The kinds of artifact, their format versions, and the fields that each sealed document must have.

Format version 1 of every kind is read for ever. What says another version, lacks a field or has one of another type is
refused by the field's name; fields that are not listed here are left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import ArtifactError

VERSION = 1
Pair = Annotated[list[int], Field(min_length=2, max_length=2)]


@dataclass(frozen=True)
class Form:
    """What a JSON document must say of itself."""

    kind: str
    """The value of its field `kind`."""
    fields: type["Fields"]
    """What it must hold beside `kind`, `format_version` and `digest`."""
    remedy: str
    """What to do about one that says otherwise."""
    version: int = VERSION

    def check(self, where: Path, plain: Mapping[str, Any]) -> None:
        """Hold a document against its form.

        Raises:
            ArtifactError: it is of another version, or lacks a field, or has one of another type; the text names it.
        """
        found = plain.get("format_version")
        if found != self.version or isinstance(found, bool):
            said = "has no format_version" if found is None else f"has format version {found}"
            raise ArtifactError(f"{where}: {said}, this skelepipe reads {self.version}; {self.remedy}")
        self.check_fields(where, plain)

    def check_fields(self, where: Path, plain: Mapping[str, Any]) -> None:
        """The same without a look at the version, for a document beside the one that has it.

        Raises:
            ArtifactError: as `check`.
        """
        try:
            self.fields.model_validate(plain)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            wrong = f"has no field {field}" if first["type"] == "missing" else f"field {field}: {first['msg'].lower()}"
            raise ArtifactError(f"{where}: {wrong}; {self.remedy}") from error


class Fields(BaseModel):
    """Fields with their types; others are left alone."""

    model_config = ConfigDict(strict=True)


class FileSeal(Fields):
    """A file in a manifest."""

    size: int
    sha256: str


class FolderFields(Fields):
    """MANIFEST.json of a checkpoint or a classifier."""

    files: dict[str, FileSeal]


class StoreFields(FolderFields):
    """MANIFEST.json of a store."""

    clips: int


class LayoutFields(Fields):
    """A kind of skeleton."""

    name: str
    joints: list[str]
    parents: list[int]
    parts: dict[str, list[int]]
    centre: int
    spine: Pair
    shoulders: Pair


class RecipeFields(Fields):
    """A recipe in full."""

    name: str
    steps: list[dict[str, Any]]


class SourceFields(Fields):
    """The recordings behind a store, together."""

    count: int
    bytes: int
    shared: str
    digest: str


class FactFields(Fields):
    """The attributes of a store."""

    format_version: int
    units: str
    dataset: str
    layout: LayoutFields
    recipe: RecipeFields
    keep_missing: bool
    missing_left_out: int
    sources: SourceFields
    classes: dict[str, str]
    dense_labels: dict[str, int]
    extra: list[str]
    splits: dict[str, Any]


class StoreName(Fields):
    """Which store a split is of."""

    name: str
    digest: str


class SplitFields(Fields):
    """A split."""

    name: str
    store: StoreName
    separates: str
    train: list[int]
    test: list[int]


class SubsetFields(Fields):
    """A labelled fraction of a split's training rows."""

    store: StoreName
    split: StoreName
    fraction: float
    seed: int
    rows: list[int]


class OriginFields(Fields):
    """What a run is made from; of imported weights most is unknown."""

    store: dict[str, Any]
    split: dict[str, Any]


class RunFields(Fields):
    """run.json."""

    preset: str
    config: dict[str, Any]
    layout: LayoutFields
    lineage: OriginFields
    total_steps: int


class MetaFields(Fields):
    """meta.json of a checkpoint."""

    step: int
    epoch: int
    run: str


class ClassifierFields(Fields):
    """meta.json of a classifier."""

    run: str
    classes: list[int]
    names: list[str]
    dataset: str
    recipe: RecipeFields
    protocol: str
    representation: str
    batch_norm: str
    lineage: dict[str, Any]


_INGEST = "ingest again, or use the version that made it"
_SPLITS = "run `skelepipe build-splits` again"
_TRAIN = "train again, or use the version that made it"
_EVALUATE = "evaluate again, or use the version that made it"

STORE = Form("skelepipe-store", StoreFields, _INGEST)
FACTS = Form("skelepipe-store", FactFields, _INGEST)
SPLIT = Form("skelepipe-split", SplitFields, _SPLITS)
SUBSET = Form("skelepipe-subset", SubsetFields, _SPLITS)
RUN = Form("skelepipe-run", RunFields, _TRAIN)
CHECKPOINT = Form("skelepipe-checkpoint", FolderFields, _TRAIN)
META = Form("skelepipe-checkpoint", MetaFields, _TRAIN)
CLASSIFIER = Form("skelepipe-classifier", FolderFields, _EVALUATE)
CLASSIFIER_META = Form("skelepipe-classifier", ClassifierFields, _EVALUATE)
