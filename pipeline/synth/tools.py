"""Write synthetic files of other tools: MediaPipe, OpenPose, COCO, Azure Kinect, Kinect v1 and BVH.

Clip n shows movement n % 6 by person n // 6 % 4, so 24 clips contain every combination once. A file is in the folder of
its movement and its name starts with the person, `movement_2/p3_0014.json`; MSR-Action3D has its own names. Some joints
are missing, some frames have no people, and people are in random order. Each clip is a function of the seed and its own
number.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.convert.readers.kinect_v1 import MSR
from pipeline.files.atomic import new_folder
from pipeline.files.disk import folder_size
from pipeline.skeleton.shipped_layouts import load_layout
from pipeline.synth import bvh
from pipeline.synth.motion import draw_person, perform
from pipeline.synth.roles import gap, roles
from pipeline.synth.sensor import rotate_about_vertical
from pipeline.synth.summary import SynthSummary, check_counts
from pipeline.synth.tool_skeletons import to_tool_layout

MOVEMENTS = (1, 2, 3, 4, 6, 50)
"""The NTU RGB+D classes whose motion the movements use; 50 has two people."""
SINGLE_PERSON_CLASS = 7
"""Replaces class 50 for tools that record one person."""
PEOPLE = 4
MAX_BROKEN = 1000
WIDTH, HEIGHT, FOCAL = 1280, 720, 900.0
"""Image size and focal length in pixels."""
_CLIP, _PERSON, _BROKEN = range(3)

Xyz = NDArray[np.float64]


def write_tool(tool: str, out: Path, *, clips: int, seed: int, broken: int = 0) -> SynthSummary:
    """Write a tool's files into a new folder, which appears whole or not at all.

    Args:
        tool: a key of `TOOLS`.
        out: the folder; if it exists, it must be empty.
        clips: number of usable recordings.
        seed: determines people and motion; not negative.
        broken: number of additional recordings that cannot be used, damaged by the kinds of `DAMAGE` in turn.

    Raises:
        ConfigError: a number is out of range.
        OutputExists: `out` exists and is not empty.
        OutputFailed: the disk refuses.
    """
    check_counts(clips, broken, MAX_BROKEN, seed)
    damage_kinds: dict[str, str] = {}
    with new_folder(out) as folder:
        for number in range(clips + broken):
            is_broken = number >= clips
            purpose, count = (_BROKEN, number - clips) if is_broken else (_CLIP, number)
            rng = np.random.default_rng([seed, purpose, count])
            files = TOOLS[tool](_performance(tool, seed, number, rng), number, rng)
            if is_broken:
                kind = list(DAMAGE)[count % len(DAMAGE)]
                first = min(files)
                files[first] = DAMAGE[kind](files[first])
                damage_kinds[Path(first).name] = kind
            for name, content in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
        size = folder_size(folder)
    return SynthSummary(
        files=clips + broken,
        broken=damage_kinds,
        classes=tuple(range(min(clips, len(MOVEMENTS)))),
        performers=tuple(sorted({_person(number) for number in range(clips)})),
        bytes=size,
    )


DAMAGE: Mapping[str, Callable[[bytes], bytes]] = {
    "cut short": lambda content: content[: len(content) // 2 - 3],
    "a web page": lambda content: b"<!DOCTYPE html>\n<html><h1>403 Forbidden</h1></html>\n",
    "an empty file": lambda content: b"",
}
"""The kinds of damage, in the order in which the broken recordings of a set use them."""


def _person(number: int) -> int:
    return number // len(MOVEMENTS) % PEOPLE + 1


def _stem(number: int) -> str:
    return f"movement_{number % len(MOVEMENTS) + 1}/p{_person(number)}_{number:04d}"


def _performance(tool: str, seed: int, number: int, rng: np.random.Generator) -> list[Xyz]:
    """Return the bodies of a clip, each (T, 25, 3) metres in camera axes: x to its left, y up, z forward."""
    action = MOVEMENTS[number % len(MOVEMENTS)]
    if tool in ("mediapipe", "kinect-v1", "bvh") and len(roles(action)) > 1:
        action = SINGLE_PERSON_CLASS
    frames, facing = int(rng.integers(40, 71)), rng.normal(0.0, 15.0)
    bodies = []
    for actor, role in enumerate(roles(action)):
        person = draw_person(np.random.default_rng([seed, _PERSON, _person(number), actor]))
        pair = len(roles(action)) > 1
        body = rotate_about_vertical(perform(role, person, frames, rng), 180.0 * actor)
        body = body - np.array([0.0, 0.0, gap(action) * (actor - 0.5)]) if pair else body
        bodies.append(rotate_about_vertical(body, 90.0 + facing if pair else facing) + np.array([0.2, -1.0, 3.2]))
    return bodies


def _add_noise(xyz: Xyz, rng: np.random.Generator) -> Xyz:
    return xyz + rng.normal(0.0, 0.006, xyz.shape)


def _pixels(xyz: Xyz, rng: np.random.Generator) -> Xyz:
    """Project positions (T, V, 3) to an image: (T, V, 2) pixels from the upper left corner."""
    x, y, z = np.moveaxis(_add_noise(xyz, rng), -1, 0)
    return np.stack([WIDTH / 2 - FOCAL * x / z, HEIGHT / 2 - FOCAL * y / z], axis=-1)


def _visibility(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Draw which joints are visible, and the tool's confidence in them."""
    confidence = np.round(np.clip(rng.normal(0.85, 0.1, shape), 0.3, 0.99), 4)
    hidden = rng.random(shape) < 0.03
    return ~hidden, np.where(hidden, np.round(rng.uniform(0.02, 0.25, shape), 4), confidence)


def _dump(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _mediapipe(bodies: list[Xyz], number: int, rng: np.random.Generator) -> dict[str, bytes]:
    """Return the file that the ten lines in docs/data/own-data.md write."""
    xyz = to_tool_layout("mediapipe-33", bodies[0])
    hips = xyz[:, [23, 24]].mean(axis=1, keepdims=True)
    world = np.round(_add_noise((xyz - hips) * (-1, -1, 1), rng), 5)
    flat = np.round(_pixels(xyz, rng) / (WIDTH, HEIGHT), 5)
    _, confidence = _visibility(rng, xyz.shape[:2])
    frames = []
    for t in range(len(xyz)):
        if rng.random() < 0.02:
            frames.append({"timestamp_ms": round(t * 1000 / 30), "pose_landmarks": [], "pose_world_landmarks": []})
            continue
        rest = [{"visibility": v, "presence": min(0.999, v + 0.01)} for v in confidence[t].tolist()]
        depth = np.round((xyz[t, :, 2] - hips[t, 0, 2]) / 2, 5)
        image = [
            {"x": x, "y": y, "z": z, **r} for (x, y), z, r in zip(flat[t].tolist(), depth.tolist(), rest, strict=True)
        ]
        space = [{"x": x, "y": y, "z": z, **r} for (x, y, z), r in zip(world[t].tolist(), rest, strict=True)]
        frames.append(
            {"timestamp_ms": round(t * 1000 / 30), "pose_landmarks": [image], "pose_world_landmarks": [space]}
        )
    return {f"{_stem(number)}.json": _dump({"width": WIDTH, "height": HEIGHT, "frames": frames})}


def _people(layout: str, bodies: list[Xyz], rng: np.random.Generator) -> list[list[tuple[int, NDArray[np.float64]]]]:
    """Return the people of each frame in random order: (actor, (V, 3) pixels and confidence, zeros where missing)."""
    tracks = []
    for xyz in bodies:
        points = _pixels(to_tool_layout(layout, xyz), rng)
        visible, confidence = _visibility(rng, points.shape[:2])
        tracks.append(
            np.round(np.where(visible[..., None], np.concatenate([points, confidence[..., None]], axis=2), 0), 3)
        )
    frames = []
    for t in range(len(tracks[0])):
        present = [(actor, track[t]) for actor, track in enumerate(tracks) if rng.random() >= 0.02]
        frames.append([present[index] for index in rng.permutation(len(present))])
    return frames


def _openpose(bodies: list[Xyz], number: int, rng: np.random.Generator) -> dict[str, bytes]:
    """Return one file per frame, as written by --write_json; ids are -1."""
    stem = _stem(number)
    name = stem.rpartition("/")[2]
    empty: dict[str, list[float]] = {
        f"{part}_keypoints_{axes}": []
        for axes in ("2d", "3d")
        for part in ("pose", "face", "hand_left", "hand_right")
        if (part, axes) != ("pose", "2d")
    }
    files = {}
    for t, people in enumerate(_people("body-25", bodies, rng)):
        entries = [{"person_id": [-1], "pose_keypoints_2d": points.ravel().tolist(), **empty} for _, points in people]
        files[f"{stem}/{name}_{t:012d}_keypoints.json"] = _dump({"version": 1.3, "people": entries})
    return files


def _coco(bodies: list[Xyz], number: int, rng: np.random.Generator) -> dict[str, bytes]:
    """Return a result list in turn of AlphaPose, MMPose and Ultralytics."""
    frames = _people("coco-17", bodies, rng)
    document: Any
    if number % 3 == 0:
        document = [
            {
                "image_id": f"{t}.jpg",
                "category_id": 1,
                "keypoints": points.ravel().tolist(),
                "score": round(float(points[:, 2].sum()), 4),
                "idx": actor + 1,
            }
            for t, people in enumerate(frames)
            for actor, points in people
        ]
    elif number % 3 == 1:
        info = [
            {
                "frame_id": t + 1,
                "instances": [
                    {"keypoints": points[:, :2].tolist(), "keypoint_scores": points[:, 2].tolist()}
                    for _, points in people
                ],
            }
            for t, people in enumerate(frames)
        ]
        document = {"meta_info": {"dataset_name": "coco", "num_keypoints": 17}, "instance_info": info}
    else:
        document = [
            [
                {
                    "name": "person",
                    "class": 0,
                    "confidence": 0.9,
                    "track_id": actor + 1,
                    "keypoints": dict(zip(("x", "y", "visible"), points.T.tolist(), strict=True)),
                }
                for actor, points in people
            ]
            for people in frames
        ]
    return {f"{_stem(number)}.json": _dump(document)}


def _azure_kinect(bodies: list[Xyz], number: int, rng: np.random.Generator) -> dict[str, bytes]:
    """Return the output of offline_processor: millimetres, x to the right, y down, z forward."""
    layout = load_layout("azure-kinect-32")
    tracks = [np.round(1000 * _add_noise(to_tool_layout(layout.name, xyz), rng) * (-1, -1, 1), 2) for xyz in bodies]
    upright = [[1.0, 0.0, 0.0, 0.0]] * len(layout.joints)
    frames = []
    for t in range(len(tracks[0])):
        entries = [
            {"body_id": actor + 1, "joint_positions": track[t].tolist(), "joint_orientations": upright}
            for actor, track in enumerate(tracks)
            if rng.random() >= 0.02
        ]
        frames.append({"frame_id": t, "timestamp_usec": 33333 * t, "num_bodies": len(entries), "bodies": entries})
    bones = [
        [layout.joints[parent].upper(), name.upper()]
        for name, parent in zip(layout.joints, layout.parents, strict=True)
        if parent >= 0
    ]
    header = {"k4abt_sdk_version": "1.1.2", "source_file": f"{number:04d}.mkv", "bone_list": bones}
    names = [name.upper() for name in layout.joints]
    return {f"{_stem(number)}.json": _dump({**header, "joint_names": names, "frames": frames})}


def _kinect_v1(bodies: list[Xyz], number: int, rng: np.random.Generator) -> dict[str, bytes]:
    """Return a file of MSR-Action3D: metres and confidence, one row per joint."""
    layout = load_layout("kinect-v1")
    xyz = _add_noise(to_tool_layout(layout.name, bodies[0]), rng)[:, [layout.index(joint) for joint in MSR]]
    _, confidence = _visibility(rng, xyz.shape[:2])
    rows = np.concatenate([xyz, confidence[..., None]], axis=2).reshape(-1, 4)
    text = "".join(f"{x:.6f} {y:.6f} {z:.6f} {c:.4f}\n" for x, y, z, c in rows.tolist())
    action, repetition = number % len(MOVEMENTS) + 1, number // (len(MOVEMENTS) * PEOPLE) + 1
    return {f"a{action:02d}_s{_person(number):02d}_e{repetition:02d}_skeleton3D.txt": text.encode()}


def _bvh(bodies: list[Xyz], number: int, rng: np.random.Generator) -> dict[str, bytes]:
    return {f"{_stem(number)}.bvh": bvh.bvh_text(bodies[0] + np.array([0.0, 1.0, 0.0])).encode()}


TOOLS: Mapping[str, Callable[[list[Xyz], int, np.random.Generator], dict[str, bytes]]] = {
    "mediapipe": _mediapipe,
    "openpose": _openpose,
    "coco": _coco,
    "azure-kinect": _azure_kinect,
    "kinect-v1": _kinect_v1,
    "bvh": _bvh,
}
"""The function of each tool that returns the files of a clip."""
