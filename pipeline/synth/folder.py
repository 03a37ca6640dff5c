"""Write a synthetic folder data set: `skeleton.toml`, `manifest.csv`, and clips in all supported file formats.

It has nineteen joints of the synthetic bodies, in centimetres, z up. Clips come in blocks of 24 of the same movement
(the first two blocks alternate); after 12 blocks the movements repeat. Every sixth movement has two people. Pairs of
clips cycle through ten subjects, of whom every second is a train subject, so four clips have both movements on both
sides of both splits (`xsub` by subject, `xsession` by an extra column). Four clips are .npy files, the next four are
segments of one long .h5 recording, then come four .csv files (joints in another order, given by the header; two people
have one row each) and four .npz files, and so on. Each clip is a function of the seed and its own number. Some joints
are missing.
"""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.files.atomic import new_folder
from pipeline.skeleton.layout import KINECT_V2
from pipeline.synth.motion import draw_person, perform
from pipeline.synth.roles import gap, roles
from pipeline.synth.sensor import rotate_about_vertical
from pipeline.synth.summary import SynthSummary, check_counts

BLOCK = 24
"""Consecutive clips of one movement."""
MOVEMENTS = (1, 2, 50, 3, 4, 5, 6, 7, 51, 8, 9, 10)
"""The NTU RGB+D classes whose motion the movements use; 50 and 51 have two people."""
SUBJECTS = (1, 6, 2, 7, 3, 8, 4, 9, 5, 10)
REST_FRAMES = 20
"""Frames without people between two segments of a long recording."""
MAX_BROKEN = 1000
_CLIP, _PERSON, _BROKEN = range(3)

JOINTS = {
    "pelvis": "spine_base", "belly": "spine_mid", "chest": "spine_shoulder", "neck": "neck", "head": "head",
    "l_shoulder": "left_shoulder", "l_elbow": "left_elbow", "l_wrist": "left_wrist",
    "r_shoulder": "right_shoulder", "r_elbow": "right_elbow", "r_wrist": "right_wrist",
    "l_hip": "left_hip", "l_knee": "left_knee", "l_ankle": "left_ankle", "l_toes": "left_foot",
    "r_hip": "right_hip", "r_knee": "right_knee", "r_ankle": "right_ankle", "r_toes": "right_foot",
}  # fmt: skip
"""Joint names, and the corresponding joints of the synthetic bodies."""
_SOURCE_JOINTS = [KINECT_V2.index(joint) for joint in JOINTS.values()]

SKELETON = f"""# Synthetic people; see docs/folder.md for what each key means.
name = "synthetic-19"
units = "cm"
up = "z"
frames_per_second = 30
joints = [
  "pelvis", "belly", "chest", "neck", "head",
  "l_shoulder", "l_elbow", "l_wrist", "r_shoulder", "r_elbow", "r_wrist",
  "l_hip", "l_knee", "l_ankle", "l_toes", "r_hip", "r_knee", "r_ankle", "r_toes",
]
parents = [-1, 0, 1, 2, 3, 2, 5, 6, 2, 8, 9, 0, 11, 12, 13, 0, 15, 16, 17]
centre = "chest"
spine = ["pelvis", "chest"]
shoulders = ["l_shoulder", "r_shoulder"]

[parts]
trunk = ["pelvis", "belly", "chest", "neck", "head"]
left_arm = ["l_shoulder", "l_elbow", "l_wrist"]
right_arm = ["r_shoulder", "r_elbow", "r_wrist"]
left_leg = ["l_hip", "l_knee", "l_ankle", "l_toes"]
right_leg = ["r_hip", "r_knee", "r_ankle", "r_toes"]

[classes]
names = [{", ".join(f'"movement {number}"' for number in range(1, len(MOVEMENTS) + 1))}]

[splits.xsub]
train = {{ subject = [1, 2, 3, 4, 5] }}

[splits.xsession]
train = {{ session = "morning" }}
test = {{ session = "evening" }}
"""
COLUMNS = ("file", "label", "subject", "session", "start", "end", "name")

Xyz = NDArray[np.float64]
Row = dict[str, object]


def write_folder(out: Path, *, clips: int, seed: int, broken: int = 0) -> SynthSummary:
    """Write a synthetic data set into a new folder, all of it or nothing.

    Args:
        out: the folder; if it exists, it must be empty.
        clips: how many usable clips.
        seed: which people and performances; not negative.
        broken: how many clips more that cannot be used, each in another of `DAMAGE`'s ways.

    Raises:
        ConfigError: a number is out of range.
        OutputExists: `out` exists and is not empty.
        OutputFailed: the disk refuses.
    """
    check_counts(clips, broken, MAX_BROKEN, seed)
    damage_kinds: dict[str, str] = {}
    with new_folder(out) as folder:
        (folder / "clips").mkdir()
        (folder / "skeleton.toml").write_text(SKELETON, encoding="utf-8")
        rows = [
            row
            for start in range(0, clips, 4)
            for row in _write_group(folder, seed, range(start, min(start + 4, clips)))
        ]
        for number in range(broken):
            kind = list(DAMAGE)[number % len(DAMAGE)]
            name = f"broken_{number + 1:04d}"
            row = _row(number) | {"file": f"clips/{name}.npy", "name": name}
            rows.append(DAMAGE[kind](folder, row, _performance(seed, _BROKEN, number)))
            damage_kinds[name] = kind
        with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        files = [path for path in folder.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
    good = [_row(number) for number in range(clips)]
    return SynthSummary(
        files=len(files) - 2,
        broken=damage_kinds,
        classes=tuple(sorted({int(str(row["label"])) for row in good})),
        performers=tuple(sorted({int(str(row["subject"])) for row in good})),
        bytes=size,
    )


def _row(number: int) -> Row:
    """Return a clip's row of manifest.csv, without its file."""
    block, pair = number // BLOCK % len(MOVEMENTS), number // 2
    return {
        "label": number % 2 if block < 2 else block,
        "subject": SUBJECTS[pair % 10],
        "session": ("morning", "evening")[(pair + pair // 10) % 2],
    }


def _performance(seed: int, purpose: int, number: int) -> Xyz:
    """Return a clip, (M, T, V, 3) centimetres, z up; NaN where a joint is missing."""
    rng = np.random.default_rng([seed, purpose, number])
    row = _row(number)
    subject, action = int(str(row["subject"])), MOVEMENTS[int(str(row["label"]))]
    frames = int(rng.integers(60, 111))
    facing = rng.normal(0.0, 20.0)
    bodies = []
    for actor, role in enumerate(roles(action)):
        person = draw_person(np.random.default_rng([seed, _PERSON, subject, actor]))
        distance = np.array([0.0, 0.0, gap(action) * (actor - 0.5)]) if len(roles(action)) > 1 else 0.0
        body = rotate_about_vertical(perform(role, person, frames, rng)[:, _SOURCE_JOINTS], 180.0 * actor) - distance
        bodies.append(rotate_about_vertical(body, facing) + np.array([0.3, 0.02, 2.5]))
    x, y, z = np.moveaxis(
        np.array(bodies) + rng.normal(0.0, 0.004, (len(bodies), frames, len(_SOURCE_JOINTS), 3)), -1, 0
    )
    xyz: Xyz = np.round(100 * np.stack([x, -z, y], axis=-1), 3)
    xyz[rng.random(xyz.shape[:3]) < 0.005] = np.nan
    return xyz


def _write_group(folder: Path, seed: int, numbers: range) -> list[Row]:
    """Write up to four clips in one file format; return their rows."""
    clips = {number: _performance(seed, _CLIP, number) for number in numbers}
    rows = {number: _row(number) for number in numbers}
    suffix = (".npy", ".h5", ".csv", ".npz")[numbers.start // 4 % 4]
    if suffix == ".h5":
        path = folder / "clips" / f"long_{numbers.start // 16 + 1:04d}.h5"
        length = sum(REST_FRAMES + clip.shape[1] for clip in clips.values()) + REST_FRAMES
        recording = np.full((2, length, len(JOINTS), 3), np.nan)
        start = REST_FRAMES
        for number, clip in clips.items():
            end = start + clip.shape[1]
            recording[: len(clip), start:end] = clip
            rows[number] |= {"file": f"clips/{path.name}", "start": start, "end": end}
            start = end + REST_FRAMES
        with h5py.File(path, "w") as file:
            file.create_dataset("xyz", data=recording.astype(np.float32), compression="gzip", shuffle=True)
        return list(rows.values())
    for number, clip in clips.items():
        path = folder / "clips" / f"clip_{number + 1:04d}{suffix}"
        rows[number]["file"] = f"clips/{path.name}"
        WRITERS[suffix](path, clip)
    return list(rows.values())


def _npy(path: Path, xyz: Xyz) -> None:
    np.save(path, (xyz[0] if len(xyz) == 1 else xyz).astype(np.float32))


def _npz(path: Path, xyz: Xyz) -> None:
    """Write .npz, in which missing joints are zero."""
    np.savez_compressed(path, xyz=np.nan_to_num(xyz), confidence=np.isfinite(xyz[..., 0]).astype(np.float32))


def _csv(path: Path, xyz: Xyz) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    order = list(range(len(JOINTS)))[::-1]
    names = [f"{list(JOINTS)[joint]}_{axis}" for joint in order for axis in "xyz"]
    writer.writerow(names if len(xyz) == 1 else ["frame", "body", *names])
    for frame in range(xyz.shape[1]):
        for body in range(len(xyz)):
            cells = ["" if np.isnan(number) else f"{number:.7g}" for number in xyz[body, frame, order].ravel()]
            writer.writerow(cells if len(xyz) == 1 else [frame, body, *cells])
    path.write_text(text.getvalue(), encoding="utf-8", newline="")


WRITERS: Mapping[str, Callable[[Path, Xyz], None]] = {".npy": _npy, ".csv": _csv, ".npz": _npz}


def _damaged_file(change: Callable[[Path, Xyz], object]) -> Callable[[Path, Row, Xyz], Row]:
    """Return a kind of damage that writes a damaged file."""

    def damage(folder: Path, row: Row, xyz: Xyz) -> Row:
        change(folder / str(row["file"]), xyz)
        return row

    return damage


def _wrong_row(**wrong: object) -> Callable[[Path, Row, Xyz], Row]:
    """Return a kind of damage that writes a good file and a wrong manifest row."""

    def damage(folder: Path, row: Row, xyz: Xyz) -> Row:
        _npy(folder / str(row["file"]), xyz)
        return row | wrong

    return damage


DAMAGE: Mapping[str, Callable[[Path, Row, Xyz], Row]] = {
    "another joint count": _damaged_file(lambda path, xyz: _npy(path, xyz[:, :, 1:])),
    "no such file": _damaged_file(lambda path, xyz: None),
    "a label that is no class": _wrong_row(label="movement of another kind"),
    "cut short": _damaged_file(lambda path, xyz: path.write_bytes(_npy_bytes(xyz)[:-100])),
    "a segment beyond the end": _wrong_row(start=10_000, end=10_100),
    "a web page": _damaged_file(
        lambda path, xyz: path.write_bytes(b"<!DOCTYPE html>\n<html><h1>403 Forbidden</h1></html>\n")
    ),
    "an end before the start": _wrong_row(start=50, end=20),
    "no frame": _damaged_file(lambda path, xyz: _npy(path, xyz[:, :0])),
    "text in place of numbers": _damaged_file(lambda path, xyz: np.save(path, xyz.astype(str))),
    "a file outside the folder": _wrong_row(file="../clip_0001.npy"),
    "nobody in it": _damaged_file(lambda path, xyz: _npy(path, np.zeros_like(xyz))),
}
"""The kinds of damage, in the order in which the broken clips of a set use them."""


def _npy_bytes(xyz: Xyz) -> bytes:
    stream = io.BytesIO()
    np.save(stream, xyz)
    return stream.getvalue()
