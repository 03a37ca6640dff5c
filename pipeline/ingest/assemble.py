"""Assemble the finished partitions into one store, in the order of the recordings, and publish it."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import manifest
from pipeline.artifacts.latest import record_latest
from pipeline.errors import RawFileError, SkelepipeError
from pipeline.files import atomic
from pipeline.files.disk import disk_errors, folder_size
from pipeline.ingest import work_folder
from pipeline.ingest.partitions import (
    Partition,
    partition_path,
    read_partition,
    read_partition_motion,
    split_into_partitions,
)
from pipeline.ingest.request import IngestRequest, IngestResult, make_result
from pipeline.ingest.work_folder import WorkFolder
from pipeline.recipes.recipe import Recipe
from pipeline.sources.source import Source, Survey
from pipeline.store.columns import COLUMNS
from pipeline.store.writer import StoreWriter


@dataclass(frozen=True, kw_only=True, slots=True)
class AssembledStore:
    """Contents of an assembled store: fields of `IngestResult`."""

    clips: int
    unlabelled: int
    body_frames: int
    store_bytes: int
    digest: str
    quarantined: list[dict[str, Any]]


def assemble(
    work: WorkFolder, data: Source, survey: Survey, recipe: Recipe, *, keep_missing: bool, strict: bool
) -> AssembledStore:
    """Write the store into the work folder, from the finished partitions and in the order of the input.

    Args:
        work: the work folder, in which all partitions of the survey are finished.
        data: the data set.
        survey: the recordings.
        recipe: the recipe of the partitions.
        keep_missing: whether samples that are listed as damaged were included.
        strict: write nothing if any recording was quarantined.

    Raises:
        SkelepipeError: no recording is usable, or `strict` and one was quarantined.
    """
    paths = [partition_path(work.partitions, number) for number in split_into_partitions(survey.entries)]
    partitions = [read_partition(path) for path in paths]
    extra_rows = [values for partition in partitions for values in partition.extra]
    texts = {
        "name": [name for partition in partitions for name in partition.names],
        "recording": [name for partition in partitions for name in partition.recordings],
    }
    extra = {name: [values[index] for values in extra_rows] for index, name in enumerate(data.columns)}
    quarantine = [bad for partition in partitions for bad in partition.quarantine]
    if quarantine and (strict or not texts["name"]):
        reason = "--strict" if strict else "no usable recording"
        shown = "; ".join(str(RawFileError(bad["file"], bad["line"], bad["reason"])) for bad in quarantine[:3])
        raise SkelepipeError(
            f"{_describe_quarantine(quarantine, len(survey.entries))} quarantined, nothing published ({reason}): "
            f"{shown}; the work is kept in {work.folder}: the next ingest reads only the files that have changed"
        )
    table = np.concatenate([partition.columns for partition in partitions])
    columns = {spec.name: table[:, index] for index, spec in enumerate(COLUMNS)}
    body_frames = int((columns["bodies"] * columns["frames"]).sum())
    shutil.rmtree(work.store, ignore_errors=True)
    writer = StoreWriter(work.store, len(data.layout.joints), body_frames)
    for path in paths:
        for block in read_partition_motion(path):
            writer.append(block)
    sources = sorted(
        {*zip(texts["recording"], columns["source_size"].tolist(), columns["source_crc32"].tolist(), strict=True)}
        | {(bad["recording"], bad["size"], bad["crc32"]) for bad in quarantine}
    )
    labels = sorted(set(columns["label"].tolist()) - {-1})
    facts = {
        "tool": manifest.tool_version(),
        "dataset": data.name,
        "layout": data.layout.to_json(),
        "recipe": recipe.resolved,
        "keep_missing": keep_missing,
        "missing_left_out": len(survey.missing),
        "sources": {
            "count": len(sources),
            "bytes": sum(size for _, size, _ in sources),
            "shared": data.shared,
            "digest": manifest.json_digest([data.shared, *sources]),
        },
        "classes": {str(label): data.classes[label] for label in labels},
        "dense_labels": {str(label): index for index, label in enumerate(labels)},
        "splits": dict(data.rules),
        "frames_per_second": data.frames_per_second,
    }
    digest = writer.finish(
        texts, extra, columns, facts, quarantine, _joint_confidence(partitions, len(data.layout.joints))
    )
    return AssembledStore(
        clips=len(texts["name"]),
        unlabelled=int((columns["label"] < 0).sum()),
        body_frames=body_frames,
        store_bytes=folder_size(work.store),
        digest=digest,
        quarantined=quarantine,
    )


def _describe_quarantine(quarantine: Sequence[dict[str, Any]], recordings: int) -> str:
    """Return the number of quarantined recordings, or that of clips where recordings have several."""
    affected = len({bad["recording"] for bad in quarantine})
    if affected == len(quarantine):
        return f"{affected} of {recordings} recordings"
    return f"{len(quarantine)} clips of {affected} of {recordings} recordings"


def _joint_confidence(partitions: Sequence[Partition], joints: int) -> NDArray[np.float32] | None:
    """Return (N, V) mean confidence per clip and joint, NaN for clips without confidence; None if no clip has any."""
    if all(partition.confidence is None for partition in partitions):
        return None
    return np.concatenate(
        [
            np.full((len(partition.names), joints), np.nan, np.float32)
            if partition.confidence is None
            else partition.confidence
            for partition in partitions
        ]
    )


def finish_ingest(request: IngestRequest, data: Source, survey: Survey, work: WorkFolder) -> IngestResult:
    """Assemble the finished partitions, publish the store and remove the work folder; the caller holds the lock.

    Raises:
        OutputFailed: the disk refuses.
        SkelepipeError: no recording is usable, or `strict` and one was quarantined.
    """
    needed = sum(path.stat().st_size for path in work.partitions.glob("part-*.npz"))
    with disk_errors(request.output, needed=needed):
        assembled = assemble(
            work, data, survey, request.recipe, keep_missing=request.keep_missing, strict=request.strict
        )
        atomic.publish_folder(work.store, request.output)
    record_latest(request.output.parent, "store", request.output.name)
    work_folder.remove(request.output)
    return make_result(request, survey, outcome="ingested", **asdict(assembled))
