"""Write the folder data set: clips, manifest.csv and skeleton.toml; map clips to another layout."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.convert.tool import ConvertedClip
from pipeline.errors import printable_name
from pipeline.files.spreadsheet import escape_cell
from pipeline.skeleton.layout import Layout
from pipeline.skeleton.shipped_layouts import layout_mapping, layout_names, load_layout
from pipeline.sources.folder.arrays import CONFIDENCE, NUDGE_METRES
from pipeline.sources.folder.manifest_csv import MANIFEST_CSV
from pipeline.sources.folder.skeleton_toml import SKELETON_TOML
from pipeline.sources.source import NUMERIC_LABELS


def map_to_layout(clip: ConvertedClip, target: str) -> ConvertedClip:
    """Convert a clip to another layout by weighted means of its joints.

    A joint is missing if one of its source joints is. Its confidence is the lowest one of its source joints.

    Raises:
        LayoutError: there is no mapping between these two layouts.
    """
    if clip.layout == load_layout(target):
        return clip
    table = layout_mapping(clip.layout.name, target)
    uses = table.weights != 0
    xyz = np.zeros((*clip.xyz.shape[:2], *uses.shape[:1], 3))
    confidence = None if clip.confidence is None else np.empty(xyz.shape[:3], np.float32)
    for joint, used in enumerate(uses):
        weights, sources = table.weights[joint, used], clip.xyz[:, :, used].astype(np.float64)
        xyz[:, :, joint] = (sources * weights[:, None]).sum(axis=2)
        if confidence is not None and clip.confidence is not None:
            confidence[:, :, joint] = clip.confidence[:, :, used].min(axis=2)
    return replace(clip, layout=table.target, xyz=xyz.astype(np.float32), confidence=confidence)


FIRST_COLUMNS = ("file", "label", *NUMERIC_LABELS)


class ClipNames:
    """Makes unique file names for recordings, from characters that are safe in file systems and terminals."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def next(self, name: str) -> str:
        """Return a name that was not returned before."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", printable_name(name)).strip("._")[:120] or "clip"
        unique, count = plain, 1
        while unique.casefold() in self._used:  # some file systems ignore case
            count += 1
            unique = f"{plain}_{count}"
        self._used.add(unique.casefold())
        return unique


def write_clip(folder: Path, name: str, clip: ConvertedClip) -> str:
    """Write one clip; return its file as named in manifest.csv."""
    file = f"clips/{name}.npz"
    xyz = clip.xyz.copy()
    xyz[(xyz == 0).all(axis=3), 0] = NUDGE_METRES  # a joint at the origin; exactly zero would mean missing
    arrays = {"xyz": xyz}
    if clip.confidence is not None:
        arrays[CONFIDENCE] = clip.confidence
    np.savez_compressed(folder / file, **arrays)  # type: ignore[arg-type]
    return file


def write_manifest_csv(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write manifest.csv; omit columns that are empty in all rows."""
    used = dict.fromkeys(column for row in rows for column, value in row.items() if value)
    columns = [column for column in FIRST_COLUMNS if column in used] + sorted(used.keys() - {*FIRST_COLUMNS})
    with (folder / MANIFEST_CSV).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({column: escape_cell(value) for column, value in row.items()})


def write_skeleton_toml(
    folder: Path,
    layout: Layout,
    *,
    comment: str,
    rate: float | None,
    classes: Mapping[int, str],
    splits: Mapping[str, Mapping[str, Mapping[str, Sequence[Any]] | None]],
) -> None:
    """Write skeleton.toml, for positions in metres with y up.

    Args:
        folder: the folder data set.
        layout: the layout; a shipped one is written as its name only.
        comment: text of the first line.
        rate: frames per second, if the same for all clips.
        classes: names by label; may be empty.
        splits: the sides of each split, as in `skeleton.toml`.
    """
    lines = [f"# {comment}", 'units = "m"', 'up = "y"']
    if rate is not None:
        lines.append(f"frames_per_second = {rate:.6g}")
    if layout.name in layout_names() and layout == load_layout(layout.name):
        lines.append(f"layout = {toml_text(layout.name)}")
    else:
        parents = ["" if parent < 0 else layout.joints[parent] for parent in layout.parents]
        pairs = {"spine": layout.spine, "shoulders": layout.shoulders}
        lines += [
            f"name = {toml_text(layout.name)}",
            f"joints = {toml_list(layout.joints)}",
            f"parents = {toml_list(parents)}",
            f"centre = {toml_text(layout.joints[layout.centre])}",
            *(f"{key} = {toml_list([layout.joints[joint] for joint in pair])}" for key, pair in pairs.items()),
            "",
            "[parts]",
            *(
                f"{toml_text(part)} = {toml_list([layout.joints[j] for j in joints])}"
                for part, joints in layout.parts.items()
            ),
        ]
    if classes:
        lines += ["", "[classes]", *(f"{label} = {toml_text(name)}" for label, name in sorted(classes.items()))]
    for name, sides in splits.items():
        lines += ["", f"[splits.{name}]"]
        for side, condition in sides.items():
            if condition is not None:
                values = ", ".join(
                    f"{toml_text(column)} = {toml_list(allowed)}" for column, allowed in condition.items()
                )
                lines.append(f"{side} = {{ {values} }}")
    (folder / SKELETON_TOML).write_text("\n".join(lines) + "\n", encoding="utf-8")


def toml_list(values: Sequence[Any]) -> str:
    """Format a list for TOML."""
    return "[" + ", ".join(toml_text(value) if isinstance(value, str) else json.dumps(value) for value in values) + "]"


def toml_text(text: str) -> str:
    """Quote a string for TOML: as in JSON, except for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
