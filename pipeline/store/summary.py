"""Summarise a store for `skelepipe inspect`: counts, lengths, repairs, lineage; its quarantine list as CSV."""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from pipeline.artifacts.paths import SUBSET_MARK, splits_folder
from pipeline.errors import ArtifactError, one_line
from pipeline.files.spreadsheet import escape_cell
from pipeline.skeleton.recording import STEP_COUNTS
from pipeline.sources.source import NUMERIC_LABELS
from pipeline.store.splits import load_split
from pipeline.store.store import Store

QUARANTINE_FIELDS = ("name", "recording", "file", "line", "reason", "size", "crc32")


def summarise_store(store: Store) -> dict[str, Any]:
    """Describe a store without its motion, as plain data.

    Returns:
        `store` (path, recipe, lineage), `clips`, `counts` by class, subject, camera, setup and replication, `bodies`,
        `frames` (minimum, median, mean and maximum length), `quality` (total of each step count, and the number of
        clips that have any), `confidence` (the mean of each joint, or None), `splits` and `quarantine`.
    """
    columns = store.columns
    frames = columns["frames"]
    lengths = {"min": frames.min(), "median": np.median(frames), "mean": frames.mean(), "max": frames.max()}
    return {
        "store": {
            "path": str(store.path),
            "digest": store.digest,
            **{key: store.attributes[key] for key in ("dataset", "tool", "format_version", "recipe", "sources")},
            "layout": {"name": store.layout.name, "joints": len(store.layout.joints)},
            "keep_missing": store.attributes["keep_missing"],
            "missing_left_out": store.attributes["missing_left_out"],
            "frames_per_second": store.attributes.get("frames_per_second"),
            "extra_columns": list(store.extra),
        },
        "clips": len(store),
        "recordings": len(set(store.recordings)),
        "body_frames": int(store.offset[-1]),
        "frames": {name: round(float(value), 1) for name, value in lengths.items()},
        "bodies": _count_values(columns["bodies"].tolist()),
        "counts": {
            "class": _count_values(map(partial(_class_key, store), columns["label"].tolist())),
            **{name: _count_values(columns[name].tolist()) for name in NUMERIC_LABELS},
        },
        "quality": {
            count: {
                "total": int(columns[f"quality_{count}"].sum()),
                "clips": int((columns[f"quality_{count}"] > 0).sum()),
                "meaning": meaning,
            }
            for count, meaning in STEP_COUNTS.items()
        },
        "confidence": _confidence(store),
        "splits": _splits(store),
        "quarantine": store.quarantine,
    }


def quarantine_csv(store: Store) -> str:
    """Return the quarantine list as CSV: a header and one row per recording or clip, without control characters."""
    text = io.StringIO()
    writer = csv.DictWriter(text, QUARANTINE_FIELDS, lineterminator="\n")
    writer.writeheader()
    for bad in store.quarantine:
        writer.writerow({key: escape_cell(one_line(str(value))) for key, value in bad.items()})
    return text.getvalue()


def _confidence(store: Store) -> dict[str, Any] | None:
    """Return the number of clips with confidences and the mean of each joint; None if no clip has any."""
    if store.confidence is None:
        return None
    known = np.isfinite(store.confidence)
    joints = {
        name: round(float(store.confidence[known[:, joint], joint].mean(dtype=np.float64)), 4)
        for joint, name in enumerate(store.layout.joints)
        if known[:, joint].any()
    }
    return {"clips": int(known.any(axis=1).sum()), "joints": joints}


def _class_key(store: Store, label: int) -> str:
    """Return label and name of a class, `0 drink water`; `unknown` below 0."""
    return f"{label} {store.attributes['classes'].get(str(label), '')}".rstrip() if label >= 0 else "unknown"


def _count_values(values: Iterable[Any]) -> dict[str, int]:
    """Return the number of occurrences of each value, in order of value; -1 is named `unknown`."""
    counts = Counter(values)
    return {"unknown" if value == -1 else str(value): counts[value] for value in sorted(counts, key=_natural_order)}


def _natural_order(value: Any) -> tuple[int, str]:
    """Sort key that orders numbers by value, also at the start of a text."""
    head = str(value).split(" ", maxsplit=1)[0]
    return (int(head), str(value)) if head.lstrip("-").isdigit() else (-2, str(value))


def _splits(store: Store) -> dict[str, dict[str, Any]]:
    """Return the splits of a store by name: their sizes, or the problem with them."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(splits_folder(store.path).glob("*.json")):
        if SUBSET_MARK not in path.name:
            try:
                split = load_split(path, store)
            except ArtifactError as error:
                found[path.stem] = {"problem": str(error)}
            else:
                found[path.stem] = {
                    "train": len(split.train),
                    "test": len(split.test),
                    "separates": split.disjoint_column,
                }
    return found
