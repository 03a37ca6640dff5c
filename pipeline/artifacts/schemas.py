"""The kinds of artifact, and the fields that each sealed document must have.

Format version 1 of every kind is read for ever. Fields that are not listed here are left alone.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.artifacts.validation import DocumentFields, DocumentSpec
from pipeline.errors import LayoutError
from pipeline.skeleton.layout import Layout

Pair = Annotated[list[int], Field(min_length=2, max_length=2)]
Row = Annotated[int, Field(ge=0, lt=2**63)]
"""A row of a store, as int64 has room for it."""


class FileEntry(DocumentFields):
    """A file in a manifest."""

    size: int
    sha256: str


class FolderFields(DocumentFields):
    """MANIFEST.json of a checkpoint or a classifier."""

    files: dict[str, FileEntry]


class StoreFields(FolderFields):
    """MANIFEST.json of a store."""

    clips: int


class LayoutFields(DocumentFields):
    """A kind of skeleton."""

    name: str
    joints: list[str]
    parents: list[int]
    parts: dict[str, list[int]]
    centre: int
    spine: Pair
    shoulders: Pair

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        try:
            Layout.from_json(self.model_dump())
        except LayoutError as error:
            raise PydanticCustomError("layout", "{said}", {"said": str(error)}) from error
        return self


class StepFields(DocumentFields):
    """One step of a recipe; its parameters are looked at when it is applied."""

    step: str


class RecipeFields(DocumentFields):
    """A recipe in full."""

    name: str
    frame_index: str
    steps: list[StepFields]


class SourceFields(DocumentFields):
    """The recordings behind a store, together."""

    count: int
    bytes: int
    shared: str
    digest: str


class SplitRuleFields(DocumentFields):
    """The rule of a split: for either side, columns and the values that they may have there."""

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
    """A recording, or a clip of one, that could not be used."""

    name: str
    recording: str
    file: str
    line: int
    reason: str
    size: int
    crc32: int


class QuarantineFields(DocumentFields):
    """quarantine.json of a store, which is a list, under a name."""

    entries: list[QuarantineEntryFields]


class ArtifactName(DocumentFields):
    """Which store or split something is of."""

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
    """Where weights come from that were trained elsewhere."""

    file: str
    source: str
    holds: Literal["pair", "encoder"]


class OriginFields(DocumentFields):
    """What a run is made from."""

    store: OriginStore
    split: OriginSplit
    imported: ImportedFields | None = None

    @model_validator(mode="after")
    def _only_imports_are_of_unknown_origin(self) -> Self:
        known = {"store": self.store.model_dump(), "split": self.split.model_dump()}
        for what, facts in known.items():
            for name, value in facts.items():
                if value is None and self.imported is None:
                    raise PydanticCustomError("origin", "{said}", {"said": f"{what}.{name} is null"})
        return self


class RunFields(DocumentFields):
    """run.json."""

    preset: str
    config: dict[str, Any]
    layout: LayoutFields
    lineage: OriginFields
    total_steps: int
    origins: dict[str, str] = Field(default_factory=dict)


class BestFields(DocumentFields):
    """The best checkpoint up to another one."""

    step: int
    epoch: int
    held_out_knn: float


class MetaFields(DocumentFields):
    """meta.json of a checkpoint."""

    step: int
    epoch: int
    run: str
    best: BestFields | None = None


class EvaluatedSplit(ArtifactName):
    """The split that an evaluation was on."""

    train: int


class EvaluatedCheckpoint(DocumentFields):
    """The checkpoint whose encoder an evaluation was of."""

    path: str
    step: int
    total_steps: int
    imported: str | None


class EvaluatedFields(DocumentFields):
    """What an evaluation was of."""

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

    @field_validator("names")
    @classmethod
    def _one_for_every_class(cls, names: list[str], info: ValidationInfo) -> list[str]:
        classes = info.data.get("classes", names)
        if len(names) != len(classes):
            raise PydanticCustomError("names", "{said}", {"said": f"{len(names)} names of {len(classes)} classes"})
        return names


_INGEST = "ingest again, or use the version that made it"
_SPLITS = "run `skelepipe build-splits` again"
_TRAIN = "train again, or use the version that made it"
_EVALUATE = "evaluate again, or use the version that made it"

STORE = DocumentSpec("skelepipe-store", StoreFields, _INGEST, make="skelepipe ingest")
STORE_ATTRIBUTES = DocumentSpec("skelepipe-store", StoreAttributeFields, _INGEST)
QUARANTINE = DocumentSpec("skelepipe-store", QuarantineFields, _INGEST)
SPLIT = DocumentSpec("skelepipe-split", SplitFields, _SPLITS)
SUBSET = DocumentSpec("skelepipe-subset", SubsetFields, _SPLITS)
RUN = DocumentSpec("skelepipe-run", RunFields, _TRAIN)
CHECKPOINT = DocumentSpec("skelepipe-checkpoint", FolderFields, _TRAIN)
META = DocumentSpec("skelepipe-checkpoint", MetaFields, _TRAIN)
CLASSIFIER = DocumentSpec("skelepipe-classifier", FolderFields, _EVALUATE)
CLASSIFIER_META = DocumentSpec("skelepipe-classifier", ClassifierFields, _EVALUATE)
