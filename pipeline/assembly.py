"""The last part of an ingest: finished partitions to one store, in the order of the recordings."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import manifest, partitions, publish
from pipeline.errors import RawFileError, SkelepipeError
from pipeline.recipe import Recipe
from pipeline.source import Source, Survey
from pipeline.store import COLUMNS
from pipeline.store_writer import StoreWriter
from pipeline.work import Work


@dataclass(frozen=True, kw_only=True, slots=True)
class Assembled:
    """What is in the store."""

    clips: int
    body_frames: int
    store_bytes: int
    digest: str
    quarantined: list[dict[str, Any]]


def assemble(
    place: Work, data: Source, survey: Survey, chosen: Recipe, *, keep_missing: bool, strict: bool
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
    paths = [partitions.path(place.parts, number) for number in partitions.split(survey.entries)]
    parts = [partitions.read(path) for path in paths]
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
        writer.append(partitions.read_motion(path))
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
        store_bytes=publish.folder_size(place.store),
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
