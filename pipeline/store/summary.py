"""What is in a store: counts, lengths, what was done to the clips, where it came from; and its quarantine as CSV."""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.artifacts.paths import SUBSET_MARK, splits_folder
from pipeline.errors import ArtifactError
from pipeline.skeleton.recording import STEP_COUNTS
from pipeline.sources.source import NUMERIC_LABELS
from pipeline.store.splits import load_split
from pipeline.store.store import Store

QUARANTINE_FIELDS = ("name", "recording", "file", "line", "reason", "size", "crc32")


def summarise_store(store: Store) -> dict[str, Any]:
    """Everything about a store but its motion, as plain data.

    Returns:
        `store` (what and where from), `clips`, `counts` by class, subject, camera, setup and replication, `bodies`,
        `frames` (the least, median, mean and greatest length), `quality` (for each count its total
        and the clips that have any), `confidence` (the mean of each joint, or None), `splits` beside it and
        `quarantine`.
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
            "extra_columns": list(store.extra),
        },
        "clips": len(store),
        "recordings": len(set(store.recordings)),
        "body_frames": int(store.offset[-1]),
        "frames": {name: round(float(value), 1) for name, value in lengths.items()},
        "bodies": _counted(columns["bodies"].tolist()),
        "counts": {
            "class": _counted(map(store.class_name, columns["label"].tolist())),
            **{name: _counted(columns[name].tolist()) for name in NUMERIC_LABELS},
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
    """The recordings and clips that could not be used, one a row, as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, QUARANTINE_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(store.quarantine)
    return text.getvalue()


def _confidence(store: Store) -> dict[str, Any] | None:
    """How many clips say how sure they are of their joints, and the mean of each joint; None when no clip does."""
    if store.confidence is None:
        return None
    known = np.isfinite(store.confidence)
    joints = {
        name: round(float(store.confidence[known[:, joint], joint].mean(dtype=np.float64)), 4)
        for joint, name in enumerate(store.layout.joints)
        if known[:, joint].any()
    }
    return {"clips": int(known.any(axis=1).sum()), "joints": joints}


def _counted(values: Iterable[Any]) -> dict[str, int]:
    """How often each value occurs, in order of value; unknown (-1) is called so."""
    counts = Counter(values)
    return {"unknown" if value == -1 else str(value): counts[value] for value in sorted(counts, key=_natural)}


def _natural(value: Any) -> tuple[int, str]:
    """Numbers by their size, also at the start of a text."""
    head = str(value).split(" ", maxsplit=1)[0]
    return (int(head), str(value)) if head.lstrip("-").isdigit() else (-2, str(value))


def _splits(store: Store) -> dict[str, dict[str, Any]]:
    """The splits beside a store, by name: their sizes, or what is wrong with them."""
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
