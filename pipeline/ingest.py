"""Recordings to a store: survey, partitions, assembly in input order, one rename.

The store's bytes depend on the recordings and the recipe alone: not on the number of workers, on interruptions, on the
place or the time.
"""

import importlib.metadata
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import cluster, documents, latest, manifest, partitions, plans, pool, publish, raw_files, store, work
from pipeline.datasets import open_source
from pipeline.errors import ArtifactError, OutputExists, RawFileError, SkelepipeError
from pipeline.forecast import Forecast, forecast
from pipeline.recipe import Recipe, load
from pipeline.source import Entry, Source, Survey, checksum
from pipeline.store_writer import StoreWriter

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
            there = is_there(request.output)
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
        report = _assemble(request, data, survey, place)
        publish.publish_folder(place.store, request.output)
    latest.record(request.output.parent, "store", request.output.name)
    work.discard(request.output)
    return report


def publish_nothing(request: Request, data: Source, survey: Survey, plan: bytes) -> Report:
    """Report that the output is up to date, and finish what a kill right after its publishing left undone.

    Raises:
        OutputExists: it was made from other input.
    """
    report = up_to_date(request, data, survey)
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


def _assemble(request: Request, data: Source, survey: Survey, place: work.Work) -> Report:
    """Write the store into the work folder from the finished partitions, in input order."""
    paths = [partitions.path(place.parts, number) for number in partitions.split(survey.entries)]
    parts = [partitions.read(path) for path in paths]
    rows = [values for part in parts for values in part.extra]
    texts = {
        "name": [name for part in parts for name in part.names],
        "recording": [name for part in parts for name in part.recordings],
    }
    extra = {name: [values[place] for values in rows] for place, name in enumerate(data.columns)}
    quarantine = [bad for part in parts for bad in part.quarantine]
    if quarantine and (request.strict or not texts["name"]):
        why = "--strict" if request.strict else "none of the recordings can be used"
        shown = "; ".join(str(RawFileError(bad["file"], bad["line"], bad["reason"])) for bad in quarantine[:3])
        raise SkelepipeError(
            f"{len(quarantine)} of {len(survey.entries)} recordings quarantined, nothing published ({why}): {shown}; "
            f"the work is kept in {place.folder}, so another run has only changed files to read"
        )
    table = np.concatenate([part.columns for part in parts])
    columns = {spec.name: table[:, index] for index, spec in enumerate(store.COLUMNS)}
    body_frames = int((columns["bodies"] * columns["frames"]).sum())
    shutil.rmtree(place.store, ignore_errors=True)
    writer = StoreWriter(place.store, len(data.layout.joints), body_frames)
    for path in paths:
        writer.append(partitions.read_motion(path))
    sources = sorted(
        {*zip(texts["recording"], columns["source_size"].tolist(), columns["source_crc32"].tolist(), strict=True)}
        | {(bad["recording"], bad["size"], bad["crc32"]) for bad in quarantine}
    )
    labels = sorted(set(columns["label"].tolist()) - {-1})
    facts = {
        "tool": f"skelepipe {importlib.metadata.version('skelepipe')}",
        "dataset": request.dataset,
        "layout": data.layout.to_json(),
        "recipe": request.recipe.resolved,
        "keep_missing": request.keep_missing,
        "missing_left_out": len(survey.missing),
        "sources": {
            "count": len(sources),
            "bytes": sum(size for _, size, _ in sources),
            "shared": data.shared,
            "digest": manifest.digest([data.shared, *sources]),
        },
        "classes": {str(label): data.classes[label] for label in labels},
        "dense_labels": {str(label): place for place, label in enumerate(labels)},
        "splits": dict(data.rules),
    }
    identity = writer.finish(texts, extra, columns, facts, quarantine, _confidence(parts, len(data.layout.joints)))
    return _describe(
        request,
        survey,
        outcome="ingested",
        clips=len(texts["name"]),
        body_frames=body_frames,
        store_bytes=size(place.store),
        digest=identity,
        quarantined=quarantine,
    )


def _confidence(parts: Sequence[partitions.Part], joints: int) -> NDArray[np.float32] | None:
    """(N, V) mean confidence of each joint of every clip, NaN in clips without; None where no clip has any."""
    if all(part.confidence is None for part in parts):
        return None
    unknown = [np.full((len(part.names), joints), np.nan, np.float32) for part in parts]
    return np.concatenate(
        [other if part.confidence is None else part.confidence for part, other in zip(parts, unknown, strict=True)]
    )


def up_to_date(request: Request, data: Source, survey: Survey) -> Report:
    """Report that the store at the output is what the request would make, down to the bytes of its input.

    Raises:
        OutputExists: it is not; the text says how they differ.
    """
    try:
        kept = store.Store(request.output)
    except ArtifactError as error:
        raise OutputExists(f"{error}; --force makes it anew") from error
    asked = {"data set": request.dataset, "recipe": request.recipe.name, "keep-missing": request.keep_missing}
    asked["missing left out"] = len(survey.missing)
    there = {
        "data set": kept.facts["dataset"],
        "recipe": kept.facts["recipe"]["name"],
        "keep-missing": kept.facts["keep_missing"],
        "missing left out": kept.facts["missing_left_out"],
    }
    differences = [f"{what} {there[what]} there, {asked[what]} asked" for what in asked if there[what] != asked[what]]
    if not differences and kept.facts["recipe"] != request.recipe.resolved:
        differences.append(f"recipe {request.recipe.name} has other steps or parameters")
    if kept.facts["sources"]["shared"] != data.shared:
        differences.append("what describes the recordings (manifest, layout, classes) has changed")
    differences += _changed_sources(kept, survey.entries)
    if differences:
        raise OutputExists(
            f"{request.output}: was made from other input ({'; '.join(differences)}); "
            "--force replaces it, another --out keeps both"
        )
    return _describe(
        request,
        survey,
        outcome="up to date",
        clips=len(kept),
        body_frames=int(kept.offset[-1]),
        store_bytes=size(request.output),
        digest=kept.digest,
        quarantined=kept.quarantine,
    )


def _changed_sources(kept: store.Store, entries: Sequence[Entry]) -> list[str]:
    """How the recordings that lie there now differ from those that a store was made from, in words."""
    sizes, sums = kept.columns["source_size"].tolist(), kept.columns["source_crc32"].tolist()
    before = dict(zip(kept.recordings, zip(sizes, sums, strict=True), strict=True))
    before |= {bad["recording"]: (bad["size"], bad["crc32"]) for bad in kept.quarantine}
    now = {entry.name: entry for entry in entries}
    both = sorted(now.keys() & before.keys())

    def is_changed(entry: Entry) -> bool:
        size, crc32 = before[entry.name]
        return bool(entry.size != size or checksum([raw_files.crc32(file) for file in entry.files]) != crc32)

    changes = {
        "added": sorted(now.keys() - before.keys()),
        "gone": sorted(before.keys() - now.keys()),
        "changed": [name for name in both if is_changed(now[name])],
    }
    return [f"{len(names)} recordings {how}, first {names[0]}" for how, names in changes.items() if names]


def is_there(output: Path) -> bool:
    """Whether a store, whole or not, stands at the output; an empty folder is as good as none.

    Raises:
        OutputExists: something stands there that no ingest has made.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    papers = [path for path in (output / manifest.MANIFEST, output / "zarr.json") if path.is_file()]
    if not any(documents.STORE.kind.encode() in path.read_bytes() for path in papers):
        raise OutputExists(f"{output}: is not a skelepipe store and is not replaced; name another --out")
    return True


def _workers(request: Request, size: int) -> int:
    """Processes for so many bytes of text: what the user says, else all cores when there is much to do."""
    if request.workers is not None:
        return request.workers
    return _cores() if size > POOL_BYTES else 1


def _cores() -> int:
    """Cores that this process may use: a batch scheduler grants fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
