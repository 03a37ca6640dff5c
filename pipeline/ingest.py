"""Recordings to a store: survey, partitions, assembly in input order, one rename.

The store's bytes depend on the recordings and the recipe alone: not on the number of workers, on interruptions, on the
place or the time.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline import cluster, latest, partitions, plans, pool, publish, standing, work
from pipeline.assembly import assemble
from pipeline.datasets import open_source
from pipeline.forecast import Forecast, forecast
from pipeline.recipe import Recipe, load
from pipeline.source import Entry, Source, Survey
from pipeline.store import Store

POOL_BYTES = 256 << 20
"""Below this much text one process is done before others have started: some two seconds, at over 100 MB/s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """How far an ingest is; each tick replaces the one before."""

    files: int
    total_files: int
    bytes: int
    total_bytes: int
    quarantined: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the user asks of an ingest."""

    dataset: str
    roots: tuple[Path, ...]
    output: Path
    recipe: Recipe = field(default_factory=load)
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
class Report:
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
    forecast: Forecast | None = None
    """What a dry run expects."""


def run(request: Request, progress: Callable[[Tick], None] = lambda tick: None) -> Report:
    """Make the store that `request` describes, or find that it is there already.

    Raises:
        OutputExists: the output was made from other input (the text says what differs) and `force` is off.
        OutputLocked: another process is writing it.
        OutputFailed: the disk refuses.
        SkelepipeError: nothing usable was found, or `strict` and something could not be used.
    """
    started = time.perf_counter()
    with cluster.connected(request.dask) if request.dask else nullcontext() as client:
        if client is not None:  # workers have working folders of their own
            request = replace(request, roots=tuple(root.absolute() for root in request.roots))
        data = open_source(request.dataset, request.roots)
        survey = data.survey(keep_missing=request.keep_missing)
        with publish.sole_writer(request.output):
            there = standing.is_there(request.output)
            work.refuse_jobs(request.output)
            plan = plans.make(data, request.roots, request.keep_missing, request.recipe, survey.entries)
            if there and not request.force:
                return publish_nothing(request, data, survey, plan)
            place = work.prepare(request.output, plan, force=request.force)
            members = partitions.split(survey.entries)
            resumed = run_partitions(request, members, place, progress, client)
            report = finish(request, data, survey, place)
    report.resumed_files = resumed
    report.seconds = time.perf_counter() - started
    return report


def finish(request: Request, data: Source, survey: Survey, place: work.Work) -> Report:
    """Assemble the finished partitions, publish the store and remove the work folder; the caller holds the lock.

    Raises:
        OutputFailed: the disk refuses.
        SkelepipeError: nothing is usable, or `strict` and something could not be used.
    """
    needed = sum(part.stat().st_size for part in place.parts.glob("part-*.npz"))
    with publish.disk_errors(request.output, needed=needed):
        made = assemble(place, data, survey, request.recipe, keep_missing=request.keep_missing, strict=request.strict)
        publish.publish_folder(place.store, request.output)
    latest.record(request.output.parent, "store", request.output.name)
    work.discard(request.output)
    return _describe(request, survey, outcome="ingested", **asdict(made))


def publish_nothing(request: Request, data: Source, survey: Survey, plan: bytes) -> Report:
    """Report that the output is up to date, and finish what a kill right after its publishing left undone.

    Raises:
        OutputExists: it was made from other input.
    """
    kept = standing.require_same(request.output, data, survey, request.recipe, keep_missing=request.keep_missing)
    report = _describe(request, survey, outcome="up to date", **contents(kept))
    if work.forget(request.output, plan):
        latest.record(request.output.parent, "store", request.output.name)
    return report


def dry_run(request: Request) -> Report:
    """What `run` would read and leave out and what it would cost; nothing is written.

    Raises:
        SkelepipeError: as `run`, for the part that looks at the folders.
    """
    data = open_source(request.dataset, request.roots)
    survey = data.survey(keep_missing=request.keep_missing)
    workers = _workers(request, sum(entry.size for entry in survey.entries))
    cost = forecast(data, survey.entries, request.recipe, request.output, workers)
    return _describe(request, survey, outcome="dry run", forecast=cost)


def contents(kept: Store) -> dict[str, Any]:
    """What a report says of a store that stands at the output."""
    return {
        "clips": len(kept),
        "body_frames": int(kept.offset[-1]),
        "store_bytes": publish.folder_size(kept.path),
        "digest": kept.digest,
        "quarantined": kept.quarantine,
    }


def _describe(request: Request, survey: Survey, **known: Any) -> Report:
    return Report(
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


def run_partitions(
    request: Request,
    members: Mapping[int, Sequence[Entry]],
    place: work.Work,
    progress: Callable[[Tick], None],
    client: cluster.Cluster | None = None,
) -> int:
    """Bring partitions into the work folder; returns how many recordings an earlier run had done.

    Args:
        request: what the user asks.
        members: the partitions and their recordings.
        place: the work folder.
        progress: is told how far things are.
        client: the connection to a Dask cluster that is to do it.

    Raises:
        WorkerDied: some recordings killed the processes that worked on them, again and again; the rest is done.
        ClusterError: the cluster cannot do it.
        OutputFailed: the disk refuses.
    """
    total_files = sum(len(entries) for entries in members.values())
    total_bytes = sum(entry.size for entries in members.values() for entry in entries)
    files = size = quarantined = 0

    def count(number: int, bad: int) -> None:
        nonlocal files, size, quarantined
        files += len(members[number])
        size += sum(entry.size for entry in members[number])
        quarantined += bad
        progress(
            Tick(files=files, total_files=total_files, bytes=size, total_bytes=total_bytes, quarantined=quarantined)
        )

    parts = place.parts
    there = {number for number in members if partitions.finished(partitions.path(parts, number), members[number])}
    for number in sorted(there):
        count(number, len(partitions.read(partitions.path(parts, number)).quarantine))
    resumed = files
    waiting = {number: members[number] for number in members if number not in there}
    if client is not None:
        running = client.run_all(place, waiting, request.dataset, request.roots, request.recipe)
    else:
        open_data = partial(open_source, request.dataset, request.roots)
        workers = _workers(request, total_bytes - size)
        running = pool.run_all(parts, waiting, open_data, request.recipe, workers)
    for number, bad in running:
        count(number, bad)
    return resumed


def _workers(request: Request, size: int) -> int:
    """Processes for so many bytes of text: what the user says, else all cores when there is much to do."""
    if request.workers is not None:
        return request.workers
    return _cores() if size > POOL_BYTES else 1


def _cores() -> int:
    """Cores that this process may use: a batch scheduler grants fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
