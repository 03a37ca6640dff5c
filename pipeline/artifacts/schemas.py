"""Schemas of every kind of artifact: the fields that each stored JSON document must have.

Format version 1 of every kind will always be readable. Fields that are not listed here are ignored.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.artifacts.validation import DocumentFields, DocumentSpec
from pipeline.errors import LayoutError
from pipeline.skeleton.layout import Layout

Pair = Annotated[list[int], Field(min_length=2, max_length=2)]
Row = Annotated[int, Field(ge=0, lt=2**63)]
"""A row of a store; fits int64."""
Count = Row
"""A number of steps or epochs."""


class FileEntry(DocumentFields):
    """One file in a manifest."""

    size: int
    sha256: str


class FolderFields(DocumentFields):
    """MANIFEST.json of a checkpoint or a classifier."""

    files: dict[str, FileEntry]


class StoreFields(FolderFields):
    """MANIFEST.json of a store."""

    clips: int


class LayoutFields(DocumentFields):
    """A skeleton layout."""

    name: str
    joints: list[str]
    parents: list[int]
    parts: dict[str, list[int]]
    centre: int
    spine: Pair
    shoulders: Pair

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        try:
            Layout.from_json(self.model_dump())
        except LayoutError as error:
            raise PydanticCustomError("layout", "{problem}", {"problem": str(error)}) from error
        return self


class StepFields(DocumentFields):
    """One step of a recipe; its parameters are checked when it is applied."""

    step: str


class RecipeFields(DocumentFields):
    """A recipe with all its steps."""

    name: str
    frame_index: str
    steps: list[StepFields]


class SourceFields(DocumentFields):
    """Totals over the recordings of a store."""

    count: int
    bytes: int
    shared: str
    digest: str


class SplitRuleFields(DocumentFields):
    """The rule of a split: for each side, columns with their permitted values."""

    train: dict[str, list[Any]]
    test: dict[str, list[Any]] | None = None


class StoreAttributeFields(DocumentFields):
    """The attributes of a store."""

    units: Literal["m"]
    tool: str
    dataset: str
    layout: LayoutFields
    recipe: RecipeFields
    keep_missing: bool
    missing_left_out: int
    sources: SourceFields
    classes: dict[str, str]
    dense_labels: dict[str, int]
    extra: list[str]
    splits: dict[str, SplitRuleFields]


class QuarantineEntryFields(DocumentFields):
    """A recording, or a clip of one, in quarantine."""

    name: str
    recording: str
    file: str
    line: int
    reason: str
    size: int
    crc32: int


class QuarantineFields(DocumentFields):
    """quarantine.json of a store: a list, here under the name `entries`."""

    entries: list[QuarantineEntryFields]


class ArtifactName(DocumentFields):
    """Name and digest of a store or split."""

    name: str
    digest: str


class SplitFields(DocumentFields):
    """A split."""

    name: str
    store: ArtifactName
    separates: str
    rule: SplitRuleFields
    train: list[Row]
    test: list[Row]


class SubsetFields(DocumentFields):
    """A labelled fraction of a split's training rows."""

    store: ArtifactName
    split: ArtifactName
    fraction: float
    seed: int
    rows: list[Row]


class OriginStore(DocumentFields):
    """The store that a run was trained on."""

    name: str | None
    path: str | None
    digest: str | None
    recipe: RecipeFields


class OriginSplit(DocumentFields):
    """The split whose training rows a run was trained on."""

    name: str | None
    digest: str | None


class ImportedFields(DocumentFields):
    """The origin of imported weights."""

    file: str
    source: str
    holds: Literal["pair", "encoder"]


class OriginFields(DocumentFields):
    """Store, split and imported weights of a run."""

    store: OriginStore
    split: OriginSplit
    imported: ImportedFields | None = None

    @model_validator(mode="after")
    def _only_imported_weights_have_unknown_origin(self) -> Self:
        known = {"store": self.store.model_dump(), "split": self.split.model_dump()}
        for part, fields in known.items():
            for name, value in fields.items():
                if value is None and self.imported is None:
                    raise PydanticCustomError("origin", "{problem}", {"problem": f"{part}.{name} is null"})
        return self


class RunFields(DocumentFields):
    """run.json."""

    preset: str
    config: dict[str, Any]
    layout: LayoutFields
    lineage: OriginFields
    total_steps: Count
    origins: dict[str, str] = Field(default_factory=dict)
    extends: list[str] = Field(default_factory=list)


class BestFields(DocumentFields):
    """The best checkpoint so far, by kNN accuracy on held-out clips."""

    step: Count
    epoch: Count
    held_out_knn: float


class MetaFields(DocumentFields):
    """meta.json of a checkpoint."""

    step: Count
    epoch: Count
    run: str
    best: BestFields | None = None


class EvaluatedSplit(ArtifactName):
    """The split of an evaluation."""

    train: int


class EvaluatedCheckpoint(DocumentFields):
    """The checkpoint of an evaluation."""

    path: str
    step: Count
    total_steps: Count
    imported: str | None


class EvaluatedFields(DocumentFields):
    """Store, split and checkpoint of an evaluation."""

    store: ArtifactName
    split: EvaluatedSplit
    checkpoint: EvaluatedCheckpoint


class ClassifierFields(DocumentFields):
    """meta.json of a classifier."""

    run: str
    classes: list[int]
    names: list[str]
    dataset: str
    recipe: RecipeFields
    protocol: str
    representation: str
    batch_norm: str
    lineage: EvaluatedFields
    settings_digest: str = ""
    number: Count = 0

    @field_validator("names")
    @classmethod
    def _one_name_per_class(cls, names: list[str], info: ValidationInfo) -> list[str]:
        classes = info.data.get("classes", names)
        if len(names) != len(classes):
            raise PydanticCustomError(
                "names", "{problem}", {"problem": f"{len(names)} names for {len(classes)} classes"}
            )
        return names


_INGEST = "ingest again, or use the version that wrote it"
_SPLITS = "run `skelepipe build-splits` again"
_TRAIN = "train again, or use the version that wrote it"
_EVALUATE = "evaluate again, or use the version that wrote it"

STORE = DocumentSpec("skelepipe-store", StoreFields, _INGEST, version=2, older_versions=(1,), make="skelepipe ingest")
STORE_ATTRIBUTES = DocumentSpec("skelepipe-store", StoreAttributeFields, _INGEST, version=2, older_versions=(1,))
QUARANTINE = DocumentSpec("skelepipe-store", QuarantineFields, _INGEST)
SPLIT = DocumentSpec("skelepipe-split", SplitFields, _SPLITS)
SUBSET = DocumentSpec("skelepipe-subset", SubsetFields, _SPLITS)
RUN = DocumentSpec("skelepipe-run", RunFields, _TRAIN)
CHECKPOINT = DocumentSpec("skelepipe-checkpoint", FolderFields, _TRAIN)
META = DocumentSpec("skelepipe-checkpoint", MetaFields, _TRAIN)
CLASSIFIER = DocumentSpec("skelepipe-classifier", FolderFields, _EVALUATE)
CLASSIFIER_META = DocumentSpec("skelepipe-classifier", ClassifierFields, _EVALUATE)
