"""Kinect v1's twenty joints as three data sets ship them, brought into the order of its SDK.

- MSR-Action3D: aAA_sSS_eEE_skeleton3D.txt, twenty rows a frame, x y z and confidence. Its order has pairs side by side.
- NW-UCLA: aAA_sSS_eEE_vVV.json, an array (T, 20, 3) under `skeletons`: the SDK's own order.
- UTD-MHAD: aA_sS_tT_skeleton.mat, an array d_skel (20, 3, T): the SDK's order, but the trunk from the head down.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.convert.readers import json_input
from pipeline.convert.take import ConvertedClip, FoundRecording, Options, Unreadable, content, each_file
from pipeline.files.raw_files import RawFile
from pipeline.skeleton.layout import Layout
from pipeline.skeleton.shipped_layouts import load_layout

LAYOUT = "kinect-v1"
JOINTS = 20
MOST_BYTES = 64 << 20
"""Of one file; the longest of the three sets has 100 kB."""
TALLEST = 3.0
"""Metres from head to foot: of more, positions are pixels or millimetres."""

_SIDES = ("left", "right")
_PAIRED = ("shoulder", "hip", "elbow", "wrist", "hand", "knee", "ankle", "foot")
MSR = [
    "left_shoulder", "right_shoulder", "shoulder_center", "spine", "left_hip", "right_hip", "hip_center",
    *(f"{side}_{joint}" for joint in ("elbow", "wrist", "hand", "knee", "ankle", "foot") for side in _SIDES),
    "head",
]  # fmt: skip
"""The joints of MSR-Action3D's rows: the tree that its users draw (20-3, 1-3, 2-3, 1-8, 8-10, 10-12, ...). Which of a
pair is the left one its authors do not say: see `_facing`."""
UTD = [
    "head", "shoulder_center", "spine", "hip_center",
    *(f"{side}_{joint}" for side in _SIDES for joint in ("shoulder", "elbow", "wrist", "hand")),
    *(f"{side}_{joint}" for side in _SIDES for joint in ("hip", "knee", "ankle", "foot")),
]  # fmt: skip
"""The joints of d_skel's rows, the head first; the SDK's order differs in nothing but that its trunk begins at the
other end, so that which of the two a file has is told by which end is up."""

GRAMMAR = (
    r"a(?P<label>\d{1,2})_s(?P<subject>\d{1,2})_[et](?P<replication>\d{1,2})"
    r"(?:_v(?P<camera>\d{1,2}))?(?:_skeleton.*)?"
)
"""The names of the three sets."""


def _numbered(names: str) -> dict[str, str]:
    return {str(number): name for number, name in enumerate(names.split(", "), start=1)}


CLASSES: Mapping[str, Mapping[str, str]] = {
    # Li, Zhang and Liu 2010; Wang et al. 2014 (numbers 7 and 10 were never used); Chen, Jafari and Kehtarnavaz 2015.
    ".txt": _numbered(
        "high arm wave, horizontal arm wave, hammer, hand catch, forward punch, high throw, draw x, draw tick, "
        "draw circle, hand clap, two hand wave, side boxing, bend, forward kick, side kick, jogging, tennis swing, "
        "tennis serve, golf swing, pick up and throw"
    ),
    ".json": {
        "1": "pick up with one hand", "2": "pick up with two hands", "3": "drop trash", "4": "walk around",
        "5": "sit down", "6": "stand up", "8": "donning", "9": "doffing", "11": "throw", "12": "carry",
    },
    ".mat": _numbered(
        "swipe left, swipe right, wave, clap, throw, arm cross, basketball shoot, draw x, draw circle clockwise, "
        "draw circle counter clockwise, draw triangle, bowling, boxing, baseball swing, tennis swing, arm curl, "
        "tennis serve, push, knock, catch, pick up and throw, jog, walk, sit to stand, stand to sit, lunge, squat"
    ),
}  # fmt: skip


def find(files: Sequence[RawFile]) -> list[FoundRecording]:
    """The recordings among files: by their names, for UTD-MHAD has .mat files of other sensors as well."""
    there = each_file(files, (".txt", ".json", ".mat"))
    return [one for one in there if re.fullmatch(GRAMMAR, one.name) or "skeleton" in one.name.lower()]


def read(found: FoundRecording, options: Options) -> ConvertedClip:
    """One recording of one person.

    Raises:
        RawFileError: the file cannot be read, or is no JSON.
        Unreadable: it is none of the three kinds of file, or nobody is seen in it.
    """
    layout = load_layout(LAYOUT)
    form = {".txt": _msr, ".json": _ucla, ".mat": _utd}[found.file.suffix.lower()]
    xyz, sure = form(found, layout)
    xyz[~np.isfinite(xyz).all(axis=2) | (xyz == 0).all(axis=2)] = np.nan
    seen = xyz[~np.isnan(xyz).all(axis=(1, 2)), :, 1]
    if not len(seen):
        raise Unreadable("nobody is seen in any frame")
    tall = float(np.median(np.nanmax(seen, axis=1) - np.nanmin(seen, axis=1)))
    if tall > TALLEST:
        raise Unreadable(
            f"people are {tall:.4g} tall, expected metres; of MSR-Action3D take MSRAction3DSkeletonReal3D, not the "
            "positions in pictures"
        )
    return ConvertedClip(layout=layout, xyz=xyz[None].astype(np.float32), confidence=sure)


def _msr(found: FoundRecording, layout: Layout) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    rows = []
    for number, line in enumerate(content(found.file, MOST_BYTES).splitlines(), start=1):
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
        raise Unreadable(f"{len(rows)} rows of joints, expected {JOINTS} for each frame; it may be cut short")
    table = np.array(rows).reshape(-1, JOINTS, 4)
    order = [MSR.index(joint) for joint in layout.joints]
    xyz, sure = _facing(table[:, order, :3], layout), table[:, order, 3]
    return xyz, np.clip(sure, 0, 1).astype(np.float32)[None]


def _facing(xyz: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    """Turn y up and settle which joints of pairs are the left ones: of somebody who faces the sensor, as all here do.

    Space is right-handed, so that a body has its left where up and forward say.
    """

    def middle(joint: str, axis: int) -> float:
        values = xyz[:, layout.index(joint), axis]
        known = values[np.isfinite(values) & xyz[:, layout.index(joint)].any(axis=1)]
        return float(np.median(known)) if len(known) else math.nan

    if middle("head", 1) < middle("hip_center", 1):
        xyz = xyz * (1, -1, -1)
    leftward = -math.copysign(1, middle("hip_center", 2))  # up times forward, which is towards the sensor at 0
    apart = middle("left_shoulder", 0) - middle("right_shoulder", 0)
    if apart * leftward < 0:
        swap = [f"{side}_{joint}" for joint in _PAIRED for side in _SIDES]
        here = [layout.index(joint) for joint in swap]
        there = [
            layout.index(joint.replace("left", "*").replace("right", "left").replace("*", "right")) for joint in swap
        ]
        xyz = xyz.copy()
        xyz[:, here] = xyz[:, there]
    return xyz


def _ucla(found: FoundRecording, layout: Layout) -> tuple[NDArray[np.float64], None]:
    document = json_input.read(found.file)
    table = json_input.numbers(document.get("skeletons") if isinstance(document, dict) else document, "skeletons")
    if table.ndim != 3 or table.shape[1:] != (JOINTS, 3) or not len(table):
        raise Unreadable(f"skeletons has shape {table.shape}, expected (T, {JOINTS}, 3)")
    return table, None


def _utd(found: FoundRecording, layout: Layout) -> tuple[NDArray[np.float64], None]:
    held_bytes = content(found.file, MOST_BYTES)
    if not held_bytes.startswith(b"MATLAB 5.0"):
        raise Unreadable("is no MAT-file of version 5, as UTD-MHAD's are")
    try:
        from scipy.io import loadmat  # noqa: PLC0415 (an extra; and slow to import)
    except ImportError:
        raise Unreadable("reading .mat needs scipy: pip install 'skelepipe[analysis]'") from None
    try:
        held = loadmat(io.BytesIO(held_bytes), variable_names=["d_skel"]).get("d_skel")
    except Exception as error:  # scipy raises nearly anything over a damaged file
        raise Unreadable(f"cannot be read as a MAT-file: {str(error)[:100]}") from error
    if held is None or held.dtype.kind not in "fiu" or held.ndim != 3 or held.shape[:2] != (JOINTS, 3):
        raise Unreadable(f"has no array d_skel ({JOINTS}, 3, T), as UTD-MHAD's files have")
    rows = np.moveaxis(held.astype(np.float64), 2, 0)
    if not rows.size or np.median(rows[:, 0, 1]) < np.median(rows[:, 3, 1]):  # the hips first: the SDK's own order
        return rows, None
    return rows[:, [UTD.index(joint) for joint in layout.joints]], None
