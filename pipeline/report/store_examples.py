"""Examples of what a recipe did to a store's clips: which are worth a look, and how they were recorded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report.originals import find_raw_folders
from pipeline.report.report import Block, Film, Moving, Scene, Text
from pipeline.store.store import Store

MENDED = ("joints_filled", "joints_smoothed")
"""Counts of joints that a recipe has changed; filled ones include spikes."""


def examples(store: Store, film: Film, roots: Sequence[Path], usual: Path) -> list[Block]:
    """Clips that show what the recipe does, in motion, beside their recordings where those are found.

    Raises:
        ArtifactError: the store is damaged.
        SkelepipeError: a named root is not there, or holds nothing of the data set.
    """
    blocks: list[Block] = []
    originals, notes = find_raw_folders(store, roots, usual)
    blocks += [Text(text=note, warns=True) for note in (notes if originals is None else ())]
    for row, why in _picked(store):
        shown: list[Moving] = []
        original = originals.find(row) if originals else None
        if original is not None:
            note = "as recorded" if original.is_exact else "as recorded, frames matched evenly"
            shown.append(Moving(label="before", note=note, clip=film.add(original.xyz[:, original.shown])))
        counts = [
            f"{name.replace('_', ' ')}: {int(store.columns[f'quality_{name}'][row]):,}"
            for name in ("bodies_dropped", "joints_despiked", *MENDED, "frames_trimmed")
            if store.columns[f"quality_{name}"][row]
        ]
        absent = (
            "" if original or originals is None else "; its recording is not there, or is another file than was read"
        )
        shown.append(Moving(label="after", note="as the store has it", clip=film.add(store.clip(row))))
        title = f"{store.names[row]}: {store.class_name(int(store.columns['label'][row]))}"
        note = f"{why}; {', '.join(counts) or 'nothing was changed'}{absent}"
        blocks.append(Scene(title=title, note=note, shown=shown, together=True))
    return blocks


def _picked(store: Store) -> list[tuple[int, str]]:
    """Rows that are worth a look, each once, and why."""
    columns = store.columns
    mended, joints = mended_joints(store)
    most: list[tuple[NDArray[Any], str]] = [
        (mended / np.maximum(joints, 1), "most of its joints were mended"),
        (columns["quality_joints_despiked"], "it has the most spikes"),
        (columns["quality_bodies_dropped"], "the most bodies were left out"),
        (columns["quality_frames_trimmed"], "the most frames were cut off its ends"),
    ]
    picked: dict[int, str] = {}
    for values, why in most:
        for row in np.lexsort((np.arange(len(store)), -values.astype(float))).tolist():
            if values[row] <= 0:
                break
            if row not in picked:
                picked[row] = why
                break
    # Typical: of middling length, and mended as much as the median clip.
    away = np.abs(columns["frames"] / np.median(columns["frames"]) - 1) + np.abs(mended - np.median(mended)) / (
        1 + np.median(mended)
    )
    typical = [row for row in np.argsort(away, kind="stable").tolist() if row not in picked][:2]
    return [*picked.items(), *((row, "a typical clip") for row in typical)]


def mended_joints(store: Store) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N,) joints of each clip that were mended, and all that it has; a joint may have been filled and smoothed."""
    columns = store.columns
    mended = sum((columns[f"quality_{name}"].astype(np.int64) for name in MENDED), np.zeros(len(store), np.int64))
    joints = columns["frames"].astype(np.int64) * columns["bodies"] * len(store.layout.joints)
    return np.minimum(mended, joints), joints
