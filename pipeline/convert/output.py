"""Bodies of one layout made into bodies of another."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.convert.take import ConvertedClip
from pipeline.errors import printable_name
from pipeline.skeleton.layout import Layout
from pipeline.skeleton.shipped_layouts import layout_mapping, layout_names, load_layout
from pipeline.sources.folder.arrays import CONFIDENCE, NUDGE_METRES
from pipeline.sources.folder.manifest_csv import MANIFEST_CSV
from pipeline.sources.folder.skeleton_toml import SKELETON_TOML
from pipeline.sources.source import NUMERIC_LABELS


def map_to_layout(take: ConvertedClip, target: str) -> ConvertedClip:
    """A take in another layout; a joint is missing when one that it is made of is, and no surer than the least sure.

    Raises:
        LayoutError: there is no table for these two layouts.
    """
    if take.layout == load_layout(target):
        return take
    table = layout_mapping(take.layout.name, target)
    uses = table.weights != 0
    xyz = np.zeros((*take.xyz.shape[:2], *uses.shape[:1], 3))
    sure = None if take.confidence is None else np.empty(xyz.shape[:3], np.float32)
    for joint, parts in enumerate(uses):
        weights, members = table.weights[joint, parts], take.xyz[:, :, parts].astype(np.float64)
        xyz[:, :, joint] = (members * weights[:, None]).sum(axis=2)
        if sure is not None and take.confidence is not None:
            sure[:, :, joint] = take.confidence[:, :, parts].min(axis=2)
    return replace(take, layout=table.target, xyz=xyz.astype(np.float32), confidence=sure)


FIRST = ("file", "label", *NUMERIC_LABELS)


class ClipNames:
    """Names of files for recordings, all different, with nothing in them that a system or a terminal minds."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def next(self, name: str) -> str:
        """A name that no other has had."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", printable_name(name)).strip("._")[:120] or "clip"
        out, count = plain, 1
        while out.casefold() in self._taken:  # file systems may not tell a from A
            count += 1
            out = f"{plain}_{count}"
        self._taken.add(out.casefold())
        return out


def write_clip(folder: Path, name: str, take: ConvertedClip) -> str:
    """Write one clip; returns its file as the manifest names it."""
    place = f"clips/{name}.npz"
    xyz = take.xyz.copy()
    xyz[(xyz == 0).all(axis=3), 0] = NUDGE_METRES  # a joint at the origin is there; exactly zero would be missing
    arrays = {"xyz": xyz}
    if take.confidence is not None:
        arrays[CONFIDENCE] = take.confidence
    np.savez_compressed(folder / place, **arrays)  # type: ignore[arg-type]
    return place


def write_manifest_csv(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write manifest.csv; columns that every row leaves empty are left out."""
    used = dict.fromkeys(column for row in rows for column, value in row.items() if value)
    columns = [column for column in FIRST if column in used] + sorted(used.keys() - {*FIRST})
    with (folder / MANIFEST_CSV).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_skeleton_toml(
    folder: Path,
    layout: Layout,
    *,
    comment: str,
    rate: float | None,
    classes: Mapping[int, str],
    splits: Mapping[str, Mapping[str, Mapping[str, Sequence[Any]] | None]],
) -> None:
    """Write skeleton.toml: positions are in metres, y up.

    Args:
        folder: where.
        layout: a shipped one goes by its name.
        comment: where the recordings come from.
        rate: frames a second, if all have the same.
        classes: names by label; none writes none.
        splits: for each the sides, as `skeleton.toml` has them.
    """
    lines = [f"# {comment}", 'units = "m"', 'up = "y"']
    if rate is not None:
        lines.append(f"frames_per_second = {rate:.6g}")
    if layout.name in layout_names() and layout == load_layout(layout.name):
        lines.append(f"layout = {_text(layout.name)}")
    else:
        parents = ["" if parent < 0 else layout.joints[parent] for parent in layout.parents]
        pairs = {"spine": layout.spine, "shoulders": layout.shoulders}
        lines += [
            f"name = {_text(layout.name)}",
            f"joints = {_list(layout.joints)}",
            f"parents = {_list(parents)}",
            f"centre = {_text(layout.joints[layout.centre])}",
            *(f"{key} = {_list([layout.joints[joint] for joint in pair])}" for key, pair in pairs.items()),
            "",
            "[parts]",
            *(f"{_text(part)} = {_list([layout.joints[j] for j in held])}" for part, held in layout.parts.items()),
        ]
    if classes:
        lines += ["", "[classes]", *(f"{label} = {_text(name)}" for label, name in sorted(classes.items()))]
    for name, sides in splits.items():
        lines += ["", f"[splits.{name}]"]
        for side, condition in sides.items():
            if condition is not None:
                values = ", ".join(f"{_text(column)} = {_list(held)}" for column, held in condition.items())
                lines.append(f"{side} = {{ {values} }}")
    (folder / SKELETON_TOML).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _list(values: Sequence[Any]) -> str:
    return "[" + ", ".join(_text(value) if isinstance(value, str) else json.dumps(value) for value in values) + "]"


def _text(text: str) -> str:
    """A text as TOML writes it, which is as JSON does but for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
