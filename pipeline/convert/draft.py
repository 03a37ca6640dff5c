"""Draft the `skeleton.toml` and `manifest.csv` of a folder with a user's own recordings (`skelepipe init`)."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.convert.draft_files import manifest_csv, skeleton_toml
from pipeline.convert.file_name_columns import guess_columns, pattern_columns
from pipeline.convert.labels import compile_pattern, split_rules
from pipeline.convert.skeleton_guess import SkeletonGuess, guess_skeleton
from pipeline.errors import ArtifactNotFound, ConfigError, OutputExists, RawFileError
from pipeline.files import raw_files
from pipeline.files.atomic import write_file
from pipeline.files.raw_files import RawFile
from pipeline.files.system_files import is_system_file
from pipeline.files.text_paths import accept_text_paths
from pipeline.skeleton.layout import Layout
from pipeline.skeleton.shipped_layouts import layout_names, load_layout
from pipeline.sources.folder import arrays
from pipeline.sources.folder.csv_table import coordinate_columns
from pipeline.sources.folder.long_csv import JOINT_COLUMNS, is_long, read_header
from pipeline.sources.folder.manifest_csv import MANIFEST_CSV
from pipeline.sources.folder.skeleton_toml import SKELETON_TOML, FolderSpec, Up
from pipeline.sources.folder.source import FolderSource

SUFFIXES = (*arrays.TABLE_SUFFIXES, *arrays.OPENERS)
HINTS = {
    ".txt": "rename tables that end in .txt to .csv",
    ".json": "files of a pose tool are read by `skelepipe convert`",
    ".jsonl": "files of a pose tool are read by `skelepipe convert`",
    ".bvh": "motion capture is read by `skelepipe convert bvh`",
    ".skeleton": "NTU RGB+D is read by `skelepipe ingest ntu60`",
    ".mat": "Kinect data sets in .mat files are read by `skelepipe convert kinect-v1`",
}
"""What to do with other files, by suffix."""
MIN_JOINTS = 3
"""Fewest columns that are taken for joints, if no name says so."""
MEASURED_FILES = 5
"""Recordings from which units and the upward axis are measured."""
_UNITS = ((0.02, "m"), (0.25, "cm"))
"""Size of a body when its coordinates are read as millimetres, in metres, up to which the unit is this one; else mm."""
_AXIS = re.compile(r"(.+?)[\s._:-]*([xyz])")


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """What was found and written."""

    folder: Path
    recordings: int
    joints: list[str]
    layout: str
    """The shipped layout with these joints; empty if the skeleton was guessed from the names."""
    units: str
    up: str
    columns: dict[str, str]
    """Columns of the manifest.csv, with where their values come from."""
    todo: list[str]
    """What the user has to write into skeleton.toml."""
    notes: list[str]


@accept_text_paths
def draft_folder(folder: Path, *, pattern: str | None = None, force: bool = False) -> Draft:
    """Write `skeleton.toml` and `manifest.csv` for the recordings in a folder, as far as they can be guessed.

    Args:
        folder: with .csv, .npy, .npz or .h5 files, also in folders below.
        pattern: a regular expression with named groups (label, subject, ...), searched in the path of each file.
        force: replace these two files if they exist.

    Raises:
        ArtifactNotFound: there is no such folder.
        ConfigError: it has no recording, the first one cannot be read, or the pattern is invalid.
        OutputExists: one of the two files exists, and `force` is off.
        OutputFailed: the disk refuses.
    """
    if not folder.is_dir():
        raise ArtifactNotFound(folder, "name the folder that holds the recordings")
    for name in (SKELETON_TOML, MANIFEST_CSV):
        if (folder / name).exists() and not force:
            raise OutputExists(f"{folder / name}: exists; replace it with --force")
    files = _find_recordings(folder)
    joints = _find_joints(folder, files)
    guess = _known_skeleton(joints) or guess_skeleton(joints)
    key = _array_key(folder / files[0])
    measured = [_measure(folder, file, joints, key) for file in files[:MEASURED_FILES]]
    xyz = [body for body in measured if body is not None and body.size]
    units, up = _units(xyz), _up(xyz, joints, guess)
    named = [PurePosixPath(file.as_posix()) for file in files]
    rows, columns = pattern_columns(compile_pattern(pattern), named) if pattern else guess_columns(named)
    rows = [{**row, "key": key} for row in rows] if key else rows
    rules = split_rules(rows, {})
    write_file(folder / SKELETON_TOML, skeleton_toml(joints, guess, units, up, rules).encode())
    write_file(folder / MANIFEST_CSV, manifest_csv(named, rows).encode())
    todo = _todo(guess)
    if not todo:
        FolderSource([folder])  # raises if what was written contradicts itself
    return Draft(
        folder=folder,
        recordings=len(files),
        joints=list(joints),
        layout=guess.layout,
        units=units,
        up=up,
        columns=columns,
        todo=todo,
        notes=[*_layout_notes(joints), *_notes(xyz, columns, rules)],
    )


def _find_recordings(folder: Path) -> list[Path]:
    """Return the paths of all recordings below the folder, relative to it, sorted."""
    found = sorted(
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and path.name != MANIFEST_CSV
    )
    usable = [
        path for path in found if not is_system_file(path) and not any(part.startswith(".") for part in path.parts)
    ]
    if not usable:
        others = {path.suffix.lower() for path in folder.rglob("*")}
        hints = dict.fromkeys(hint for suffix, hint in HINTS.items() if suffix in others)
        expected = f"expected {', '.join(SUFFIXES)} files, also in folders below"
        raise ConfigError("; ".join([f"{folder}: has no recording", expected, *hints]))
    return usable


def _find_joints(folder: Path, files: Sequence[Path]) -> list[str]:
    """Return the names of the joints, from the header of a .csv or the shape of an array; unnamed: joint_0, ..."""
    path = folder / files[0]
    file = RawFile(path, "", path.stat().st_size)
    try:
        with raw_files.open_file(file) as stream:
            if path.suffix.lower() in arrays.TABLE_SUFFIXES:
                return _csv_joints(io.BufferedReader(stream), str(path))
            return _unnamed(_array_joints(file))
    except RawFileError as error:
        raise ConfigError(f"{error}; init reads the joints from this file") from error


def _csv_joints(stream: "io.BufferedReader[Any]", source: str) -> list[str]:
    names = read_header(stream)
    with io.TextIOWrapper(stream, "utf-8-sig", errors="replace", newline="") as text:
        first = text.readline()
        delimiter = next((mark for mark in ";\t" if mark in first), ",")
        header = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter))]
        if is_long(names):
            at = next(names.index(name) for name in JOINT_COLUMNS if name in names)
            cells = [row[at].strip() for row in csv.reader(text, delimiter=delimiter) if len(row) > at]
            joints = list(dict.fromkeys(cells))
            return _unnamed(max(map(int, joints)) + 1) if all(joint.isdecimal() for joint in joints) else joints
    used = [header[column] for column in coordinate_columns([name.casefold() for name in header])]
    matches = [_AXIS.fullmatch(name.casefold()) for name in used]
    joints = list(dict.fromkeys(name[: len(match[1])] for name, match in zip(used, matches, strict=True) if match))
    if joints:
        return joints
    axes = next((axes for axes in (3, 2) if len(used) % axes == 0 and len(used) >= MIN_JOINTS * axes), 0)
    if not axes:
        raise RawFileError(source, 1, f"its {len(used)} columns are not the coordinates of {MIN_JOINTS} or more joints")
    return _unnamed(len(used) // axes)


def _array_joints(file: RawFile) -> int:
    """Return the number of joints of an array (T, V, C), (M, T, V, C) or (T, 3 V)."""
    with arrays.open_shapes(file) as shapes:
        named = {key: shapes[key] for key in (*arrays.DEFAULT_KEYS, *shapes) if key in shapes}
    key = _motion_key(named)
    if key is None:
        raise RawFileError(str(file), 0, f"has no array (T, V, 3), (M, T, V, 3) or (T, 3 V), but {[*named.values()]}")
    shape = named[key]
    return int(shape[-2]) if len(shape) > 2 else shape[1] // 3


def _motion_key(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Return the key of the array that has the shape of a motion."""
    of_bodies = [key for key, shape in shapes.items() if len(shape) in (3, 4) and shape[-1] in (2, 3)]
    of_rows = [
        key for key, shape in shapes.items() if len(shape) == 2 and shape[1] % 3 == 0 and shape[1] >= 3 * MIN_JOINTS
    ]
    return next(iter([*of_bodies, *of_rows]), None)


def _array_key(path: Path) -> str:
    """Return the key that the manifest.csv has to name, because a file has several arrays; empty if it need not."""
    if path.suffix.lower() in arrays.TABLE_SUFFIXES:
        return ""
    try:
        with arrays.open_shapes(RawFile(path, "", path.stat().st_size)) as shapes:
            found = dict(shapes)
    except RawFileError:
        return ""
    is_default = len(found) == 1 or sum(key in found for key in arrays.DEFAULT_KEYS) == 1
    return "" if is_default else _motion_key(found) or ""


def _unnamed(count: int) -> list[str]:
    return [f"joint_{index}" for index in range(count)]


def _known_skeleton(joints: Sequence[str]) -> SkeletonGuess | None:
    """Return the shipped layout with as many joints, for joints without names."""
    if not all(joint.startswith("joint_") for joint in joints):
        return None
    fitting = _layouts_of_size(len(joints))
    return guess_skeleton(load_layout(fitting[-1]).joints) if fitting else None


def _layouts_of_size(joints: int) -> list[str]:
    return [name for name in layout_names() if len(load_layout(name).joints) == joints]


def _layout_notes(joints: Sequence[str]) -> list[str]:
    """Say that a layout was chosen by its number of joints alone."""
    if _known_skeleton(joints) is None:
        return []
    *others, chosen = _layouts_of_size(len(joints))
    note = f"the joints have no names: {chosen} is assumed, which has as many"
    if others:
        note += f"; if they are {' or '.join(others)}, correct the layout in {SKELETON_TOML}"
    return [note]


def _measure(folder: Path, file: Path, joints: Sequence[str], key: str) -> NDArray[np.float32] | None:
    """Return the bodies of a recording, (M, T, V, 3), read as millimetres with y up; None if it cannot be read."""
    V = len(joints)
    layout = Layout(
        name="draft",
        joints=tuple(joints),
        parents=(-1, *[0] * (V - 1)),
        parts={"all": tuple(range(V))},
        centre=0,
        spine=(0, V - 1),
        shoulders=(0, V - 1),
    )
    spec = FolderSpec(
        path=folder / SKELETON_TOML,
        layout=layout,
        per_metre=1000,
        up="y",
        frames_per_second=None,
        classes=None,
        splits={},
    )
    path = folder / file
    try:
        with arrays.open_arrays(RawFile(path, "", path.stat().st_size), spec) as read_bodies:
            xyz = read_bodies(key).xyz
    except RawFileError:
        return None
    return np.where((xyz == 0).all(axis=3, keepdims=True), np.nan, xyz)


def _units(bodies: Sequence[NDArray[np.float32]]) -> str:
    """Return the unit in which bodies have the size of people."""
    extents = [
        float(np.nanmedian(np.nanmax(xyz, axis=2) - np.nanmin(xyz, axis=2), axis=(0, 1)).max()) for xyz in bodies
    ]
    size = float(np.nanmedian(extents)) if extents else 0.0
    return next((unit for limit, unit in _UNITS if size < limit), "mm")


def _up(bodies: Sequence[NDArray[np.float32]], joints: Sequence[str], guess: SkeletonGuess) -> Up:
    """Return the axis along which the spine points up; without a known spine, along which bodies are largest."""
    if not bodies:
        return "y"
    names: tuple[tuple[Up, Up], ...] = (("x", "-x"), ("y", "-y"), ("z", "-z"))
    ends = guess.spine
    if guess.layout and not ends:
        layout = load_layout(guess.layout)
        ends = layout.joints[layout.spine[0]], layout.joints[layout.spine[1]]
    if ends is None or not {*ends} <= {*joints}:
        extents = [np.nanmedian(np.nanmax(xyz, axis=2) - np.nanmin(xyz, axis=2), axis=(0, 1)) for xyz in bodies]
        return names[int(np.nanargmax(np.mean(extents, axis=0)))][0]
    low, high = (list(joints).index(end) for end in ends)
    spine = np.nanmean([np.nanmean(xyz[:, :, high] - xyz[:, :, low], axis=(0, 1)) for xyz in bodies], axis=0)
    axis = int(np.nanargmax(np.abs(spine)))
    return names[axis][int(spine[axis] < 0)]


def _todo(guess: SkeletonGuess) -> list[str]:
    """Return the keys that the user has to complete."""
    if guess.is_complete:
        return []
    few = ", ".join(guess.unplaced[:6]) + (", ..." if len(guess.unplaced) > 6 else "")
    keys = [key for key in ("centre", "spine", "shoulders") if getattr(guess, key) is None]
    return [*([f"parents and parts of {few}"] if guess.unplaced else []), *keys]


def _notes(
    bodies: Sequence[NDArray[np.float32]], columns: Mapping[str, str], rules: Mapping[str, Mapping[str, Sequence[str]]]
) -> list[str]:
    notes = []
    if not bodies:
        notes.append("none of the first recordings could be measured: units and up are guesses")
    if "label" not in columns:
        notes.append("no labels were found, so nothing can be evaluated; --pattern finds them in the paths")
    for name, rule in rules.items():
        notes += [f"split {name}: trains on {column} {', '.join(allowed)}" for column, allowed in rule.items()]
    return notes
