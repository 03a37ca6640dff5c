"""Choose example clips that show what a recipe changed, with the original recordings if they are found."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report.originals import REPAIR_COUNTS, Original, find_raw_folders
from pipeline.report.report import Block, Film, MovingSkeleton, Scene, Text
from pipeline.store.store import Store

CONTEXT_FRAMES = 30
"""Frames shown before and after the most repaired frame of a clip: a spike lasts one frame."""
PLACED_METRES = 1e-3
"""Distance from which a clip counts as moved, or a joint as turned around the root."""
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
        clip = store.clip(row)
        part, about = _repaired_part(original, clip.shape[1])
        if original is not None:
            note = "as recorded" if original.is_exact else "as recorded, frames matched at even distances"
            recorded = film.add(
                original.xyz[:, original.frames[part]], ringed=_part(original.repaired_as_recorded, part)
            )
            shown.append(MovingSkeleton(label="before", note=f"{note}{about}", clip=recorded))
        counts = [
            f"{name.replace('_', ' ')}: {int(store.columns[f'quality_{name}'][row]):,}"
            for name in ("bodies_dropped", "joints_despiked", *REPAIR_COUNTS, "frames_trimmed")
            if store.columns[f"quality_{name}"][row]
        ]
        absent = "" if original or originals is None else "; its recording was not found, or the file has changed"
        ringed = _part(original.repaired, part) if original else None
        about += "; rings: repaired joints" if ringed is not None and ringed.any() else ""
        stored = film.add(clip[:, part], ringed=ringed)
        shown.append(MovingSkeleton(label="after", note=f"as stored{about}", clip=stored))
        title = f"{store.names[row]}: {store.class_name(int(store.columns['label'][row]))}"
        changes = placement_changes(original.xyz[:, original.frames], clip) if original else []
        placed = f"; {', '.join(changes)}" if changes else ""
        note = f"{reason}; {', '.join(counts) or UNCHANGED}{placed}{absent}"
        blocks.append(Scene(title=title, note=note, shown=shown, together=True))
    return blocks


def _repaired_part(original: Original | None, frames: int) -> tuple[slice, str]:
    """Return the frames to show, around the frame with the most repaired joints or all, and a note on them."""
    if original is None or original.repaired is None or not original.repaired.any():
        return slice(0, frames), ""
    centre = int(original.repaired.sum(axis=(0, 2)).argmax())
    first, last = max(0, centre - CONTEXT_FRAMES), min(frames, centre + CONTEXT_FRAMES + 1)
    return slice(first, last), f", frames {first + 1} to {last} of {frames}" if last - first < frames else ""


def _part(repaired: NDArray[np.bool_] | None, frames: slice) -> NDArray[np.bool_] | None:
    return None if repaired is None else repaired[:, frames]


def placement_changes(before: NDArray[np.float32], after: NDArray[np.float32]) -> list[str]:
    """Describe how a recipe has placed the people of a clip: `moved`, `turned`, `people reordered`.

    Args:
        before: (M', T, V, 3) metres as recorded, NaN where missing.
        after: (M, T, V, 3) the same frames as stored.
    """
    # Distances of joints to the root do not depend on where a body is and how it is turned.
    shapes = [np.linalg.norm(xyz - xyz[:, :, :1], axis=3) for xyz in (before, after)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a body that is never in the same frames
        errors = np.nanmedian(np.abs(shapes[1][:, None] - shapes[0][None]), axis=(2, 3))
    errors = np.where(np.isfinite(errors), errors, np.inf)
    order = errors.argmin(axis=1)
    moved = turned = False
    for body, source in enumerate(order):
        shift = after[body, :, 0] - before[source, :, 0]
        rest = (after[body] - after[body, :, :1]) - (before[source] - before[source, :, :1])
        moved |= bool(_median(np.linalg.norm(shift, axis=1)) > PLACED_METRES)
        turned |= bool(_median(np.linalg.norm(rest, axis=2)) > PLACED_METRES)
    is_reordered = order.tolist() != sorted(order.tolist())
    found = {"moved": moved, "turned": turned, "people reordered": is_reordered}
    return [name for name, is_true in found.items() if is_true]


def _median(values: NDArray[np.float32]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else 0.0


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
