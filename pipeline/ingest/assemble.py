"""The last part of an ingest: finished partitions to one store, in the order of the recordings."""

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
from pipeline.ingest.request import IngestRequest, IngestResult, describe
from pipeline.ingest.work_folder import WorkFolder
from pipeline.recipes.recipe import Recipe
from pipeline.sources.source import Source, Survey
from pipeline.store.columns import COLUMNS
from pipeline.store.writer import StoreWriter


@dataclass(frozen=True, kw_only=True, slots=True)
class Assembled:
    """What is in the store."""

    clips: int
    body_frames: int
    store_bytes: int
    digest: str
    quarantined: list[dict[str, Any]]


def assemble(
    place: WorkFolder, data: Source, survey: Survey, chosen: Recipe, *, keep_missing: bool, strict: bool
) -> Assembled:
    """Write the store into the work folder from the finished partitions, in input order.

    Args:
        place: the work folder, where all partitions of the survey's recordings are finished.
        data: the data set.
        survey: its recordings.
        chosen: the recipe that the partitions went by.
        keep_missing: whether samples that are listed as damaged were taken in.
        strict: make nothing if any recording could not be used.

    Raises:
        SkelepipeError: nothing is usable, or `strict` and something could not be used.
    """
    paths = [partition_path(place.parts, number) for number in split_into_partitions(survey.entries)]
    parts = [read_partition(path) for path in paths]
    rows = [values for part in parts for values in part.extra]
    texts = {
        "name": [name for part in parts for name in part.names],
        "recording": [name for part in parts for name in part.recordings],
    }
    extra = {name: [values[place] for values in rows] for place, name in enumerate(data.columns)}
    quarantine = [bad for part in parts for bad in part.quarantine]
    if quarantine and (strict or not texts["name"]):
        why = "--strict" if strict else "none of the recordings can be used"
        shown = "; ".join(str(RawFileError(bad["file"], bad["line"], bad["reason"])) for bad in quarantine[:3])
        raise SkelepipeError(
            f"{len(quarantine)} of {len(survey.entries)} recordings quarantined, nothing published ({why}): {shown}; "
            f"the work is kept in {place.folder}, so another run has only changed files to read"
        )
    table = np.concatenate([part.columns for part in parts])
    columns = {spec.name: table[:, index] for index, spec in enumerate(COLUMNS)}
    body_frames = int((columns["bodies"] * columns["frames"]).sum())
    shutil.rmtree(place.store, ignore_errors=True)
    writer = StoreWriter(place.store, len(data.layout.joints), body_frames)
    for path in paths:
        writer.append(read_partition_motion(path))
    sources = sorted(
        {*zip(texts["recording"], columns["source_size"].tolist(), columns["source_crc32"].tolist(), strict=True)}
        | {(bad["recording"], bad["size"], bad["crc32"]) for bad in quarantine}
    )
    labels = sorted(set(columns["label"].tolist()) - {-1})
    facts = {
        "tool": manifest.tool(),
        "dataset": data.name,
        "layout": data.layout.to_json(),
        "recipe": chosen.resolved,
        "keep_missing": keep_missing,
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
    return Assembled(
        clips=len(texts["name"]),
        body_frames=body_frames,
        store_bytes=folder_size(place.store),
        digest=identity,
        quarantined=quarantine,
    )


def _confidence(parts: Sequence[Partition], joints: int) -> NDArray[np.float32] | None:
    """(N, V) mean confidence of each joint of every clip, NaN in clips without; None where no clip has any."""
    if all(part.confidence is None for part in parts):
        return None
    unknown = [np.full((len(part.names), joints), np.nan, np.float32) for part in parts]
    return np.concatenate(
        [other if part.confidence is None else part.confidence for part, other in zip(parts, unknown, strict=True)]
    )


def finish_ingest(request: IngestRequest, data: Source, survey: Survey, place: work_folder.WorkFolder) -> IngestResult:
    """Assemble the finished partitions, publish the store and remove the work folder; the caller holds the lock.

    Raises:
        OutputFailed: the disk refuses.
        SkelepipeError: nothing is usable, or `strict` and something could not be used.
    """
    needed = sum(part.stat().st_size for part in place.parts.glob("part-*.npz"))
    with disk_errors(request.output, needed=needed):
        made = assemble(place, data, survey, request.recipe, keep_missing=request.keep_missing, strict=request.strict)
        atomic.publish_folder(place.store, request.output)
    record_latest(request.output.parent, "store", request.output.name)
    work_folder.remove(request.output)
    return describe(request, survey, outcome="ingested", **asdict(made))
