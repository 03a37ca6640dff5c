"""What an ingest is asked to do, its progress and its result."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.files.disk import folder_size
from pipeline.ingest.estimate import IngestEstimate
from pipeline.recipes.recipe import Recipe, load_recipe
from pipeline.sources.source import Survey
from pipeline.store.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestProgress:
    """How far an ingest is; each tick replaces the one before."""

    files: int
    total_files: int
    bytes: int
    total_bytes: int
    quarantined: int


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestRequest:
    """What the user asks of an ingest."""

    dataset: str
    roots: tuple[Path, ...]
    output: Path
    recipe: Recipe = field(default_factory=load_recipe)
    keep_missing: bool = False
    """Take in the samples that the data set's authors list as damaged."""
    workers: int | None = None
    """Processes; None chooses: one per core, or just this one when there is little to do."""
    dask: str | None = None
    """Address of a Dask scheduler whose workers run the partitions."""
    force: bool = False
    """Replace an output that was made from other input."""
    strict: bool = False
    """Publish nothing if any recording cannot be used."""


@dataclass(kw_only=True, slots=True)
class IngestResult:
    """What an ingest did."""

    outcome: str
    """`ingested`, `up to date`, `finished before` or `dry run`."""
    output: Path
    dataset: str
    recipe: str
    clips: int = 0
    body_frames: int = 0
    source_files: int = 0
    source_bytes: int = 0
    store_bytes: int = 0
    seconds: float = 0.0
    resumed_files: int = 0
    """Recordings whose work an interrupted run had done already."""
    digest: str = ""
    missing: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    absent: dict[str, int] = field(default_factory=dict)
    """Recordings of the whole data set that are not there, by where they belong."""
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    forecast: IngestEstimate | None = None
    """What a dry run expects."""


def store_facts(kept: Store) -> dict[str, Any]:
    """What a report says of a store that stands at the output."""
    return {
        "clips": len(kept),
        "body_frames": int(kept.offset[-1]),
        "store_bytes": folder_size(kept.path),
        "digest": kept.digest,
        "quarantined": kept.quarantine,
    }


def describe(request: IngestRequest, survey: Survey, **known: Any) -> IngestResult:
    """The result of an ingest: what was asked and read, and what else is known."""
    return IngestResult(
        output=request.output,
        dataset=request.dataset,
        recipe=request.recipe.name,
        source_files=len(survey.entries),
        source_bytes=sum(entry.size for entry in survey.entries),
        missing=survey.missing,
        left_out=dict(survey.left_out),
        absent=dict(survey.absent),
        **known,
    )
