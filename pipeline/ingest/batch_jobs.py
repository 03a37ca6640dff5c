"""An ingest in n jobs of a batch scheduler on hosts that share a file system, and the assembly when all have ended."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import ArtifactError, ArtifactNotFound
from pipeline.files.locks import sole_writer
from pipeline.ingest import existing_store, work_folder
from pipeline.ingest.assemble import finish_ingest
from pipeline.ingest.execute import run_partitions
from pipeline.ingest.existing_store import report_up_to_date
from pipeline.ingest.partitions import (
    changed_recordings,
    is_finished,
    partition_path,
    read_partition,
    split_into_partitions,
)
from pipeline.ingest.plan import make_plan, plan_differences
from pipeline.ingest.request import IngestProgress, IngestRequest, IngestResult, store_facts
from pipeline.recipes.recipe import recipe_from_plain
from pipeline.sources.registry import open_source
from pipeline.sources.source import Entry
from pipeline.store import store

MAX_LISTED_PARTITIONS = 8
"""Partitions listed in an error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobResult:
    """What one job did."""

    outcome: str
    """`partitions done`, or `up to date` when the store is there already."""
    job: str
    """k/n."""
    output: Path
    dataset: str
    recipe: str
    partitions: list[int] = field(default_factory=list)
    """Those of this job, by number."""
    of: int = 0
    """Partitions of all jobs."""
    unfinished: int = 0
    """Partitions of other jobs that are not there yet."""
    source_files: int = 0
    source_bytes: int = 0
    resumed_files: int = 0
    """Recordings whose work an earlier run had done already."""
    seconds: float = 0.0
    quarantined: list[dict[str, Any]] = field(default_factory=list)


def run_job(
    request: IngestRequest, job: tuple[int, int], progress: Callable[[IngestProgress], None] = lambda tick: None
) -> JobResult:
    """Do the partitions of job k of n into the work folder beside the output, and publish nothing.

    Raises:
        OutputExists: the output, or the work of other jobs there, is for other input or another recipe.
        OutputLocked: another process is at work as the same job, or a whole ingest on the same output.
        WorkerDied: some recordings killed the processes that worked on them.
        OutputFailed: the disk refuses.
    """
    started = time.perf_counter()
    data = open_source(request.dataset, request.roots)
    survey = data.survey(keep_missing=request.keep_missing)
    plan = make_plan(data, request.roots, request.keep_missing, request.recipe, survey.entries)
    known: dict[str, Any] = {
        "job": f"{job[0]}/{job[1]}",
        "output": request.output,
        "dataset": request.dataset,
        "recipe": request.recipe.name,
    }
    with ExitStack() as held:
        with sole_writer(request.output, wait=work_folder.SETUP_SECONDS):
            there = existing_store.exists(request.output) and not request.force
            if not there:
                place = held.enter_context(work_folder.join_as_job(request.output, plan, job))
        if there:
            existing_store.require_unchanged(
                request.output, data, survey, request.recipe, keep_missing=request.keep_missing
            )
            return JobResult(outcome="up to date", **known)
        members = split_into_partitions(survey.entries)
        mine = {number: entries for number, entries in members.items() if number % job[1] == job[0] - 1}
        resumed = run_partitions(request, mine, place, progress)
        parts = [read_partition(partition_path(place.parts, number)) for number in mine]
        unfinished = sum(not partition_path(place.parts, number).exists() for number in members)
    entries = [entry for number in mine for entry in mine[number]]
    return JobResult(
        outcome="partitions done",
        partitions=list(mine),
        of=len(members),
        unfinished=unfinished,
        source_files=len(entries),
        source_bytes=sum(entry.size for entry in entries),
        resumed_files=resumed,
        seconds=time.perf_counter() - started,
        quarantined=[bad for part in parts for bad in part.quarantine],
        **known,
    )


def find_unfinished(folder: Path) -> Path:
    """The one output in a folder beside which finished partitions wait.

    Raises:
        ArtifactNotFound: there is none.
        ArtifactError: there are several.
    """
    found = work_folder.find_unfinished_outputs(folder)
    if not found:
        raise ArtifactNotFound(folder, "name its output", near="", said="no ingest waits to be finished")
    if len(found) > 1:
        raise ArtifactError(f"{folder}: several ingests wait to be finished ({', '.join(map(str, found))}); name one")
    return found[0]


def finalise(output: Path, *, strict: bool = False, force: bool = False) -> IngestResult:
    """Publish the store of the partitions in the work folder, which are all there: the bytes of an ingest in one go.

    Args:
        output: the store, as the jobs were given it.
        strict: publish nothing if any recording could not be used.
        force: replace a store that was made from other input.

    Raises:
        ArtifactNotFound: nothing waits to be finished there, and there is no store.
        ArtifactError: partitions are missing or their recordings have changed; the text says which jobs to run again.
        OutputExists: the store that is there was made from other input.
        OutputLocked: a job, or another process, is at work.
        SkelepipeError: `strict`, and something could not be used, or nothing could.
    """
    started = time.perf_counter()
    with sole_writer(output):
        work_folder.refuse_running_jobs(output)
        try:
            place = work_folder.open_unfinished(output)
        except ArtifactNotFound:
            if existing_store.exists(output):
                work_folder.remove(output)  # what has no plan any more serves nobody
                return _finished_before(output)
            raise
        facts = work_folder.plan_as_dict(place)
        request = IngestRequest(
            dataset=facts["dataset"],
            roots=tuple(map(Path, facts["roots"])),
            output=output,
            recipe=recipe_from_plain(facts["recipe"], str(place.folder)),
            keep_missing=facts["keep_missing"],
            strict=strict,
            force=force,
        )
        data = open_source(request.dataset, request.roots)
        survey = data.survey(keep_missing=request.keep_missing)
        plan = make_plan(data, request.roots, request.keep_missing, request.recipe, survey.entries)
        if existing_store.exists(output) and not force:
            return report_up_to_date(request, data, survey, plan)
        if plan != place.plan:
            raise ArtifactError(
                f"{place.folder}: what the jobs read has changed ({'; '.join(plan_differences(place.plan, plan))}, "
                "where asked is now); bring it back, or remove the folder and run all jobs again"
            )
        _refuse_unfinished(place, split_into_partitions(survey.entries))
        report = finish_ingest(request, data, survey, place)
    report.seconds = time.perf_counter() - started
    return report


def _finished_before(output: Path) -> IngestResult:
    kept = store.Store(output)
    return IngestResult(
        outcome="finished before",
        output=output,
        dataset=kept.attributes["dataset"],
        recipe=kept.attributes["recipe"]["name"],
        **store_facts(kept),
    )


def _refuse_unfinished(place: work_folder.WorkFolder, members: Mapping[int, Sequence[Entry]]) -> None:
    missing, touched = [], list[str]()
    for number, entries in members.items():
        part = partition_path(place.parts, number)
        if not is_finished(part, entries):
            missing.append(number)
            touched += changed_recordings(part, entries)
    if not missing:
        return
    why = f"; {len(touched)} recordings were changed since, first {touched[0]}" if touched else ""
    raise ArtifactError(
        f"{place.folder}: {len(missing)} of {len(members)} partitions are missing ({_listed(missing)}){why}; "
        f"nothing published; {_rerun_hint(work_folder.known_jobs(place), missing)}, then finalise"
    )


def _rerun_hint(jobs: set[tuple[int, int]], missing: Sequence[int]) -> str:
    """What to run again."""
    divisions = {n for _, n in jobs}
    if len(divisions) == 1:
        (n,) = divisions
        return f"run again {_listed(f'--partition {k}/{n}' for k in sorted({number % n + 1 for number in missing}))}"
    return "run the jobs of these partitions again" if jobs else "run the ingest again, or its jobs"


def _listed(values: Iterable[object]) -> str:
    texts = [str(value) for value in values]
    return ", ".join(texts[:MAX_LISTED_PARTITIONS]) + (
        f", and {len(texts) - MAX_LISTED_PARTITIONS} more" if len(texts) > MAX_LISTED_PARTITIONS else ""
    )
