"""A folder data set as a conversion writes it: skeleton.toml, manifest.csv, clips/*.npz."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import folder_layout, folder_manifest, shipped_layouts
from pipeline.convert.takes import Take
from pipeline.errors import shown
from pipeline.folder_clips import CONFIDENCE, NUDGE
from pipeline.layout import Layout
from pipeline.source import NUMBERED

FIRST = ("file", "label", *NUMBERED)


class Names:
    """Names of files for recordings, all different, with nothing in them that a system or a terminal minds."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def next(self, name: str) -> str:
        """A name that no other has had."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", shown(name)).strip("._")[:120] or "clip"
        out, count = plain, 1
        while out.casefold() in self._taken:  # file systems may not tell a from A
            count += 1
            out = f"{plain}_{count}"
        self._taken.add(out.casefold())
        return out


def clip(folder: Path, name: str, take: Take) -> str:
    """Write one clip; returns its file as the manifest names it."""
    place = f"clips/{name}.npz"
    xyz = take.xyz.copy()
    xyz[(xyz == 0).all(axis=3), 0] = NUDGE  # a joint at the origin is there; exactly zero would be missing
    arrays = {"xyz": xyz}
    if take.confidence is not None:
        arrays[CONFIDENCE] = take.confidence
    np.savez_compressed(folder / place, **arrays)  # type: ignore[arg-type]
    return place


def manifest(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write manifest.csv; columns that every row leaves empty are left out."""
    used = dict.fromkeys(column for row in rows for column, value in row.items() if value)
    columns = [column for column in FIRST if column in used] + sorted(used.keys() - {*FIRST})
    with (folder / folder_manifest.NAME).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def skeleton(
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
    if layout.name in shipped_layouts.names() and layout == shipped_layouts.load(layout.name):
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
    (folder / folder_layout.NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _list(values: Sequence[Any]) -> str:
    return "[" + ", ".join(_text(value) if isinstance(value, str) else json.dumps(value) for value in values) + "]"


def _text(text: str) -> str:
    """A text as TOML writes it, which is as JSON does but for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
