"""Read the 20 joints of Kinect v1 as three data sets ship them, and reorder them as in its SDK.

- MSR-Action3D: aAA_sSS_eEE_skeleton3D.txt, twenty rows per frame: x, y, z and confidence. Left and right joints
  alternate.
- NW-UCLA: aAA_sSS_eEE_vVV.json, an array (T, 20, 3) under `skeletons`: the SDK's own order.
- UTD-MHAD: aA_sS_tT_skeleton.mat, an array d_skel (20, 3, T): the SDK's order, except that the trunk starts at the
  head.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.convert.readers import json_input
from pipeline.convert.tool import ConvertedClip, FoundRecording, Options, Unreadable, find_by_suffix, read_content
from pipeline.files.raw_files import RawFile
from pipeline.skeleton.layout import Layout
from pipeline.skeleton.shipped_layouts import load_layout

LAYOUT = "kinect-v1"
JOINTS = 20
MAX_BYTES = 64 << 20
"""Maximum file size; the largest file of the three data sets has 100 kB."""
MAX_HEIGHT = 3.0
"""Maximum body height in metres; above it, positions must be pixels or millimetres."""

_SIDES = ("left", "right")
_PAIRED = ("shoulder", "hip", "elbow", "wrist", "hand", "knee", "ankle", "foot")
MSR = [
    "left_shoulder", "right_shoulder", "shoulder_center", "spine", "left_hip", "right_hip", "hip_center",
    *(f"{side}_{joint}" for joint in ("elbow", "wrist", "hand", "knee", "ankle", "foot") for side in _SIDES),
    "head",
]  # fmt: skip
"""Joint order of MSR-Action3D, from the bones that its users publish (20-3, 1-3, 2-3, 1-8, 8-10, 10-12, ...). Its
authors do not state which joint of a pair is the left one: see `_face_sensor`."""
UTD = [
    "head", "shoulder_center", "spine", "hip_center",
    *(f"{side}_{joint}" for side in _SIDES for joint in ("shoulder", "elbow", "wrist", "hand")),
    *(f"{side}_{joint}" for side in _SIDES for joint in ("hip", "knee", "ankle", "foot")),
]  # fmt: skip
"""Joint order of d_skel, with the head first. The SDK's order differs only in the direction of the trunk, so the
vertical positions show which of the two a file has."""

GRAMMAR = (
    r"a(?P<label>\d{1,2})_s(?P<subject>\d{1,2})_[et](?P<replication>\d{1,2})"
    r"(?:_v(?P<camera>\d{1,2}))?(?:_skeleton.*)?"
)
"""File names of the three data sets."""


def _number_from_1(names: str) -> dict[str, str]:
    return {str(number): name for number, name in enumerate(names.split(", "), start=1)}


CLASSES: Mapping[str, Mapping[str, str]] = {
    # Li, Zhang and Liu 2010; Wang et al. 2014 (numbers 7 and 10 are unused); Chen, Jafari and Kehtarnavaz 2015.
    ".txt": _number_from_1(
        "high arm wave, horizontal arm wave, hammer, hand catch, forward punch, high throw, draw x, draw tick, "
        "draw circle, hand clap, two hand wave, side boxing, bend, forward kick, side kick, jogging, tennis swing, "
        "tennis serve, golf swing, pick up and throw"
    ),
    ".json": {
        "1": "pick up with one hand", "2": "pick up with two hands", "3": "drop trash", "4": "walk around",
        "5": "sit down", "6": "stand up", "8": "donning", "9": "doffing", "11": "throw", "12": "carry",
    },
    ".mat": _number_from_1(
        "swipe left, swipe right, wave, clap, throw, arm cross, basketball shoot, draw x, draw circle clockwise, "
        "draw circle counter clockwise, draw triangle, bowling, boxing, baseball swing, tennis swing, arm curl, "
        "tennis serve, push, knock, catch, pick up and throw, jog, walk, sit to stand, stand to sit, lunge, squat"
    ),
}  # fmt: skip


def find(files: Sequence[RawFile]) -> list[FoundRecording]:
    """Find the recordings by file name, because the data sets also have files of other sensors and descriptions.

    If no file is named as in a data set, all that have `skeleton` in their names are recordings.
    """
    candidates = find_by_suffix(files, (".txt", ".json", ".mat"))
    named = [one for one in candidates if re.fullmatch(GRAMMAR, one.name)]
    return named or [one for one in candidates if "skeleton" in one.name.lower()]


def read(found: FoundRecording, options: Options) -> ConvertedClip:
    """Read one recording of one person.

    Raises:
        RawFileError: the file cannot be read, or is not JSON.
        Unreadable: it has none of the three formats, or no person is detected.
    """
    layout = load_layout(LAYOUT)
    read_format = {".txt": _msr, ".json": _ucla, ".mat": _utd}[found.file.suffix.lower()]
    xyz, confidence = read_format(found, layout)
    xyz[~np.isfinite(xyz).all(axis=2) | (xyz == 0).all(axis=2)] = np.nan
    heights = xyz[~np.isnan(xyz).all(axis=(1, 2)), :, 1]
    if not len(heights):
        raise Unreadable("no person is detected in any frame")
    height = float(np.median(np.nanmax(heights, axis=1) - np.nanmin(heights, axis=1)))
    if height > MAX_HEIGHT:
        raise Unreadable(
            f"people are {height:.4g} tall, expected metres; for MSR-Action3D use MSRAction3DSkeletonReal3D, not the "
            "image coordinates"
        )
    return ConvertedClip(layout=layout, xyz=xyz[None].astype(np.float32), confidence=confidence)


def _msr(found: FoundRecording, layout: Layout) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    rows = []
    for number, line in enumerate(read_content(found.file, MAX_BYTES).splitlines(), start=1):
        if not (words := line.split()):
            continue
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if len(values) != 4:
            raise Unreadable("expected four numbers: x, y, z and confidence", number)
        rows.append(values)
    if not rows or len(rows) % JOINTS:
        raise Unreadable(f"{len(rows)} rows of joints, expected {JOINTS} for each frame; the file may be truncated")
    table = np.array(rows).reshape(-1, JOINTS, 4)
    order = [MSR.index(joint) for joint in layout.joints]
    xyz, confidence = _face_sensor(table[:, order, :3], layout), table[:, order, 3]
    return xyz, np.clip(confidence, 0, 1).astype(np.float32)[None]


def _face_sensor(xyz: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    """Turn y up and decide which joint of each pair is the left one, assuming that the person faces the sensor.

    All people in MSR-Action3D do. The axes are right-handed, so up and forward determine left.
    """

    def median(joint: str, axis: int) -> float:
        values = xyz[:, layout.index(joint), axis]
        known = values[np.isfinite(values) & xyz[:, layout.index(joint)].any(axis=1)]
        return float(np.median(known)) if len(known) else math.nan

    if median("head", 1) < median("hip_center", 1):
        xyz = xyz * (1, -1, -1)
    leftward = -math.copysign(
        1, median("hip_center", 2)
    )  # cross product of up and forward (towards the sensor, at z = 0)
    distance = median("left_shoulder", 0) - median("right_shoulder", 0)
    if distance * leftward < 0:
        swap = [f"{side}_{joint}" for joint in _PAIRED for side in _SIDES]
        indices = [layout.index(joint) for joint in swap]
        swapped = [
            layout.index(joint.replace("left", "*").replace("right", "left").replace("*", "right")) for joint in swap
        ]
        xyz = xyz.copy()
        xyz[:, indices] = xyz[:, swapped]
    return xyz


def _ucla(found: FoundRecording, layout: Layout) -> tuple[NDArray[np.float64], None]:
    document = json_input.read(found.file)
    table = json_input.numbers(document.get("skeletons") if isinstance(document, dict) else document, "skeletons")
    if table.ndim != 3 or table.shape[1:] != (JOINTS, 3) or not len(table):
        raise Unreadable(f"skeletons has shape {table.shape}, expected (T, {JOINTS}, 3)")
    return table, None


def _utd(found: FoundRecording, layout: Layout) -> tuple[NDArray[np.float64], None]:
    mat_bytes = read_content(found.file, MAX_BYTES)
    if not mat_bytes.startswith(b"MATLAB 5.0"):
        raise Unreadable("is not a MAT-file of version 5, unlike those of UTD-MHAD")
    try:
        from scipy.io import loadmat  # noqa: PLC0415 (optional, and slow to import)
    except ImportError:
        raise Unreadable("reading .mat needs scipy: pip install 'skelepipe[analysis]'") from None
    try:
        array = loadmat(io.BytesIO(mat_bytes), variable_names=["d_skel"]).get("d_skel")
    except Exception as error:  # scipy raises many kinds of exceptions for a damaged file
        raise Unreadable(f"cannot be read as a MAT-file: {str(error)[:100]}") from error
    if array is None or array.dtype.kind not in "fiu" or array.ndim != 3 or array.shape[:2] != (JOINTS, 3):
        raise Unreadable(f"has no array d_skel ({JOINTS}, 3, T), unlike the files of UTD-MHAD")
    rows = np.moveaxis(array.astype(np.float64), 2, 0)
    if not rows.size or np.median(rows[:, 0, 1]) < np.median(rows[:, 3, 1]):  # the hips are first: the SDK's order
        return rows, None
    return rows[:, [UTD.index(joint) for joint in layout.joints]], None
