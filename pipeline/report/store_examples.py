"""Choose example clips that show what a recipe changed, with the original recordings if they are found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report.originals import find_raw_folders
from pipeline.report.report import Block, Film, MovingSkeleton, Scene, Text
from pipeline.store.store import Store

REPAIR_COUNTS = ("joints_filled", "joints_smoothed")
"""Counts of the joints that a recipe has repaired; filled joints include removed spikes."""
UNCHANGED = "no joints repaired, no bodies dropped, no frames trimmed"
"""Said of a clip whose counts are all zero. It may still have been moved, rotated, or its people reordered."""


def example_scenes(store: Store, film: Film, roots: Sequence[Path], default_root: Path) -> list[Block]:
    """Show clips that the recipe has changed, in motion, next to their recordings if those are found.

    Raises:
        ArtifactError: the store is damaged.
        SkelepipeError: a given root does not exist, or contains no recording of the data set.
    """
    blocks: list[Block] = []
    originals, notes = find_raw_folders(store, roots, default_root)
    blocks += [Text(text=note, warns=True) for note in (notes if originals is None else ())]
    for row, reason in _choose_rows(store):
        shown: list[MovingSkeleton] = []
        original = originals.find(row) if originals else None
        if original is not None:
            note = "as recorded" if original.is_exact else "as recorded, frames matched at even distances"
            shown.append(MovingSkeleton(label="before", note=note, clip=film.add(original.xyz[:, original.frames])))
        counts = [
            f"{name.replace('_', ' ')}: {int(store.columns[f'quality_{name}'][row]):,}"
            for name in ("bodies_dropped", "joints_despiked", *REPAIR_COUNTS, "frames_trimmed")
            if store.columns[f"quality_{name}"][row]
        ]
        absent = "" if original or originals is None else "; its recording was not found, or the file has changed"
        shown.append(MovingSkeleton(label="after", note="as stored", clip=film.add(store.clip(row))))
        title = f"{store.names[row]}: {store.class_name(int(store.columns['label'][row]))}"
        note = f"{reason}; {', '.join(counts) or UNCHANGED}{absent}"
        blocks.append(Scene(title=title, note=note, shown=shown, together=True))
    return blocks


def _choose_rows(store: Store) -> list[tuple[int, str]]:
    """Choose the rows to show, each once, with the reason."""
    columns = store.columns
    repaired, joints = repaired_joints(store)
    rankings: list[tuple[NDArray[Any], str]] = [
        (repaired / np.maximum(joints, 1), "the largest share of repaired joints"),
        (columns["quality_joints_despiked"], "the most spikes"),
        (columns["quality_bodies_dropped"], "the most bodies dropped"),
        (columns["quality_frames_trimmed"], "the most frames trimmed"),
    ]
    chosen: dict[int, str] = {}
    for values, reason in rankings:
        for row in np.lexsort((np.arange(len(store)), -values.astype(float))).tolist():
            if values[row] <= 0:
                break
            if row not in chosen:
                chosen[row] = reason
                break
    # Typical: close to the median length and the median number of repaired joints.
    distance = np.abs(columns["frames"] / np.median(columns["frames"]) - 1) + np.abs(repaired - np.median(repaired)) / (
        1 + np.median(repaired)
    )
    typical = [row for row in np.argsort(distance, kind="stable").tolist() if row not in chosen][:2]
    return [*chosen.items(), *((row, "a typical clip") for row in typical)]


def repaired_joints(store: Store) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (N,) repaired joints and (N,) all joints of each clip; a joint can be both filled and smoothed."""
    columns = store.columns
    repaired = sum(
        (columns[f"quality_{name}"].astype(np.int64) for name in REPAIR_COUNTS), np.zeros(len(store), np.int64)
    )
    joints = columns["frames"].astype(np.int64) * columns["bodies"] * len(store.layout.joints)
    return np.minimum(repaired, joints), joints
