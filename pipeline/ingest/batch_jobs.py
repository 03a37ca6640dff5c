"""Ingest in n jobs of a batch scheduler (`--partition k/n`) on a shared file system, then `finalise` the store."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import ArtifactError, ArtifactNotFound
from pipeline.files.locks import sole_writer
from pipeline.files.text_paths import accept_text_paths
from pipeline.ingest import existing_store, work_folder
from pipeline.ingest.assemble import finish_ingest
from pipeline.ingest.execute import run_partitions
from pipeline.ingest.existing_store import up_to_date_result
from pipeline.ingest.partitions import (
    changed_recordings,
    is_finished,
    partition_path,
    read_partition,
    split_into_partitions,
)
from pipeline.ingest.plan import make_plan, plan_differences
from pipeline.ingest.request import IngestProgress, IngestRequest, IngestResult, store_fields
from pipeline.recipes.recipe import recipe_from_plain
from pipeline.sources.registry import open_source
from pipeline.sources.source import Entry
from pipeline.store.store import Store

MAX_LISTED_PARTITIONS = 8
"""Maximum number of partitions that an error lists."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobResult:
    """Result of one job."""

    outcome: str
    """`partitions done`, or `up to date` if the store already exists."""
    job: str
    """k/n."""
    output: Path
    dataset: str
    recipe: str
    partitions: list[int] = field(default_factory=list)
    """Numbers of this job's partitions."""
    of: int = 0
    """Number of partitions of all jobs."""
    unfinished: int = 0
    """Number of partitions that other jobs have not finished yet."""
    source_files: int = 0
    source_bytes: int = 0
    resumed_files: int = 0
    """Recordings that an earlier run of the job had already processed."""
    seconds: float = 0.0
    quarantined: list[dict[str, Any]] = field(default_factory=list)


def run_job(
    request: IngestRequest, job: tuple[int, int], progress: Callable[[IngestProgress], None] = lambda tick: None
) -> JobResult:
    """Process the partitions of job k of n into the work folder; publish nothing.

    Raises:
        OutputExists: the output, or the work of other jobs, belongs to other input or another recipe.
        OutputLocked: another process is running the same job, or a whole ingest to the same output.
        WorkerDied: some recordings killed the processes that worked on them.
        OutputFailed: the disk refuses.
    """
    started = time.perf_counter()
    data = open_source(request.dataset, request.roots)
    request = request.limited_by(data)
    survey = data.survey(keep_missing=request.keep_missing)
    plan = make_plan(data, request.roots, request.keep_missing, request.recipe, survey.entries)
    common: dict[str, Any] = {
        "job": f"{job[0]}/{job[1]}",
        "output": request.output,
        "dataset": request.dataset,
        "recipe": request.recipe.name,
    }
    with ExitStack() as stack:
        with sole_writer(request.output, wait=work_folder.SETUP_SECONDS):
            store_exists = existing_store.exists(request.output) and not request.force
            if not store_exists:
                work = stack.enter_context(work_folder.join_as_job(request.output, plan, job))
        if store_exists:
            existing_store.require_unchanged(
                request.output, data, survey, request.recipe, keep_missing=request.keep_missing
            )
            return JobResult(outcome="up to date", **common)
        partitions = split_into_partitions(survey.entries)
        own = {number: entries for number, entries in partitions.items() if number % job[1] == job[0] - 1}
        resumed = run_partitions(request, own, work, progress)
        finished = [read_partition(partition_path(work.partitions, number)) for number in own]
        unfinished = sum(not partition_path(work.partitions, number).exists() for number in partitions)
    entries = [entry for number in own for entry in own[number]]
    return JobResult(
        outcome="partitions done",
        partitions=list(own),
        of=len(partitions),
        unfinished=unfinished,
        source_files=len(entries),
        source_bytes=sum(entry.size for entry in entries),
        resumed_files=resumed,
        seconds=time.perf_counter() - started,
        quarantined=[bad for partition in finished for bad in partition.quarantine],
        **common,
    )


def find_unfinished_output(folder: Path) -> Path:
    """Return the only output in a folder whose ingest is unfinished.

    Raises:
        ArtifactNotFound: there is none.
        ArtifactError: there are several.
    """
    outputs = work_folder.find_unfinished_outputs(folder)
    if not outputs:
        raise ArtifactNotFound(folder, "name its output", suggestion="", message="there is no unfinished ingest")
    if len(outputs) > 1:
        raise ArtifactError(f"{folder}: has several unfinished ingests ({', '.join(map(str, outputs))}); name one")
    return outputs[0]


@accept_text_paths
def finalise(output: Path, *, strict: bool = False, force: bool = False) -> IngestResult:
    """Publish the store once all jobs have ended: its bytes are the same as those of a single ingest.

    Args:
        output: the path of the store, as given to the jobs.
        strict: publish nothing if any recording was quarantined.
        force: replace a store that was made from other input.

    Raises:
        ArtifactNotFound: there is neither an unfinished ingest nor a store.
        ArtifactError: partitions are missing or recordings have changed; the message says which jobs to run again.
        OutputExists: the existing store was made from other input.
        OutputLocked: a job is running, or another process is writing the output.
        SkelepipeError: no recording is usable, or `strict` and one was quarantined.
    """
    started = time.perf_counter()
    with sole_writer(output):
        work_folder.refuse_running_jobs(output)
        try:
            work = work_folder.open_unfinished(output)
        except ArtifactNotFound:
            if existing_store.exists(output):
                work_folder.remove(output)  # a work folder without a plan is useless
                return _finished_before(output)
            raise
        old_plan = work_folder.plan_as_dict(work)
        request = IngestRequest(
            dataset=old_plan["dataset"],
            roots=tuple(map(Path, old_plan["roots"])),
            output=output,
            recipe=recipe_from_plain(old_plan["recipe"], str(work.folder)),
            keep_missing=old_plan["keep_missing"],
            strict=strict,
            force=force,
        )
        data = open_source(request.dataset, request.roots)
        survey = data.survey(keep_missing=request.keep_missing)
        plan = make_plan(data, request.roots, request.keep_missing, request.recipe, survey.entries)
        if existing_store.exists(output) and not force:
            return up_to_date_result(request, data, survey, plan)
        if plan != work.plan:
            differences = "; ".join(plan_differences(work.plan, plan))
            raise ArtifactError(
                f"{work.folder}: the input has changed since the jobs ran ({differences}); "
                "restore it, or remove the folder and run all jobs again"
            )
        _refuse_unfinished(work, split_into_partitions(survey.entries))
        result = finish_ingest(request, data, survey, work)
    result.seconds = time.perf_counter() - started
    return result


def _finished_before(output: Path) -> IngestResult:
    store = Store(output)
    return IngestResult(
        outcome="finished before",
        output=output,
        dataset=store.attributes["dataset"],
        recipe=store.attributes["recipe"]["name"],
        **store_fields(store),
    )


def _refuse_unfinished(work: work_folder.WorkFolder, partitions: Mapping[int, Sequence[Entry]]) -> None:
    missing, changed = [], list[str]()
    for number, entries in partitions.items():
        path = partition_path(work.partitions, number)
        if not is_finished(path, entries):
            missing.append(number)
            changed += changed_recordings(path, entries)
    if not missing:
        return
    reason = f"; {len(changed)} recordings have changed since, first {changed[0]}" if changed else ""
    raise ArtifactError(
        f"{work.folder}: {len(missing)} of {len(partitions)} partitions are missing ({_format_list(missing)}){reason}; "
        f"nothing published; {_rerun_hint(work_folder.known_jobs(work), missing)}, then finalise"
    )


def _rerun_hint(jobs: set[tuple[int, int]], missing: Sequence[int]) -> str:
    """Say which jobs to run again."""
    totals = {n for _, n in jobs}
    if len(totals) == 1:
        (n,) = totals
        return (
            f"run again {_format_list(f'--partition {k}/{n}' for k in sorted({number % n + 1 for number in missing}))}"
        )
    return "run the jobs of these partitions again" if jobs else "run the ingest again, or its jobs"


def _format_list(values: Iterable[object]) -> str:
    texts = [str(value) for value in values]
    return ", ".join(texts[:MAX_LISTED_PARTITIONS]) + (
        f", and {len(texts) - MAX_LISTED_PARTITIONS} more" if len(texts) > MAX_LISTED_PARTITIONS else ""
    )
