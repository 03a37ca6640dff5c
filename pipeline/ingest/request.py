"""The request, progress and result of an ingest."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from pipeline.files.disk import folder_size
from pipeline.files.text_paths import request_with_text_paths
from pipeline.ingest.estimate import IngestEstimate
from pipeline.recipes.recipe import Recipe, load_recipe
from pipeline.sources.source import Source, Survey
from pipeline.store.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestProgress:
    """Progress of an ingest, as totals so far."""

    files: int
    total_files: int
    bytes: int
    total_bytes: int
    quarantined: int


@request_with_text_paths
@dataclass(frozen=True, kw_only=True, slots=True)
class IngestRequest:
    """Options of an ingest."""

    dataset: str
    roots: tuple[Path, ...]
    output: Path
    recipe: Recipe = field(default_factory=load_recipe)
    keep_missing: bool = False
    """Include the samples that the data set's authors list as damaged."""
    workers: int | None = None
    """Number of processes; None means one per core, or a single process for little data."""
    dask: str | None = None
    """Address of a Dask scheduler whose workers process the partitions."""
    force: bool = False
    """Replace an output that was made from other input."""
    strict: bool = False
    """Publish nothing if any recording cannot be used."""

    def limited_by(self, data: Source) -> Self:
        """Return the request with the data set's limit of people in its recipe, unless the recipe has its own."""
        limited = self.recipe if self.recipe.limits_people else self.recipe.with_max_people(data.max_people)
        return replace(self, recipe=limited)


@dataclass(kw_only=True, slots=True)
class IngestResult:
    """What an ingest did."""

    outcome: str
    """`ingested`, `up to date`, `finished before` or `dry run`."""
    output: Path
    dataset: str
    recipe: str
    clips: int = 0
    unlabelled: int = 0
    """Number of clips whose class is unknown."""
    body_frames: int = 0
    source_files: int = 0
    source_bytes: int = 0
    store_bytes: int = 0
    seconds: float = 0.0
    resumed_files: int = 0
    """Recordings that an interrupted ingest had already processed."""
    digest: str = ""
    missing: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What the user should know about the recordings, such as their frame rate."""
    absent: dict[str, int] = field(default_factory=dict)
    """Number of recordings of the full data set that were not found, by the group that they belong to."""
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    forecast: IngestEstimate | None = None
    """Estimated cost; only a dry run has it."""


def store_fields(store: Store) -> dict[str, Any]:
    """Return the fields of an `IngestResult` that describe an existing store."""
    return {
        "clips": len(store),
        "unlabelled": int((store.columns["label"] < 0).sum()),
        "body_frames": int(store.offset[-1]),
        "store_bytes": folder_size(store.path),
        "digest": store.digest,
        "quarantined": store.quarantine,
    }


def make_result(request: IngestRequest, survey: Survey, **fields: Any) -> IngestResult:
    """Build an `IngestResult` from the request, the survey and further fields."""
    return IngestResult(
        output=request.output,
        dataset=request.dataset,
        recipe=request.recipe.name,
        source_files=len(survey.entries),
        source_bytes=sum(entry.size for entry in survey.entries),
        missing=survey.missing,
        left_out=dict(survey.left_out),
        notes=survey.notes,
        absent=dict(survey.absent),
        **fields,
    )
