"""Synthetic people as other tools write them: MediaPipe, OpenPose, COCO, Azure Kinect, Kinect v1, BVH.

Clip n shows movement n % 6 by person n // 6 % 4, so that 24 clips have each of both once. A file lies in the folder of
its movement and begins with its person, `movement_2/p3_0014.json`; MSR-Action3D has names of its own. Some joints are
missing, some frames show nobody, people come in any order. A clip is a function of (seed, its own number).
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
from pipeline.synth.motion import draw_person, gap, perform, roles
from pipeline.synth.sensor import turned
from pipeline.synth.summary import SynthSummary, refuse_impossible
from pipeline.synth.tool_skeletons import body_of

MOVEMENTS = (1, 2, 3, 4, 6, 50)
"""The NTU RGB+D classes like which the movements go; 50 is between two people, but where a tool sees one."""
ALONE = 7
"""What the last of them is where a tool sees one person."""
PEOPLE = 4
MOST_BROKEN = 1000
WIDTH, HEIGHT, FOCAL = 1280, 720, 900.0
"""Pixels of the pictures."""
_CLIP, _PERSON, _BROKEN = range(3)

Xyz = NDArray[np.float64]


def write_tool(tool: str, out: Path, *, clips: int, seed: int, broken: int = 0) -> SynthSummary:
    """Write a tool's files into a new folder, all of them or nothing.

    Args:
        tool: a key of `TOOLS`.
        out: the folder; may be there if it is empty.
        clips: how many usable recordings.
        seed: which people and performances; not negative.
        broken: how many recordings more that cannot be used, each in another of `DAMAGE`'s ways.

    Raises:
        ConfigError: a number out of range.
        OutputExists: `out` holds something already.
        OutputFailed: the disk refuses.
    """
    refuse_impossible(clips, broken, MOST_BROKEN, seed)
    wrong: dict[str, str] = {}
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
                wrong[Path(first).name] = kind
            for name, content in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
        size = folder_size(folder)
    return SynthSummary(
        files=clips + broken,
        broken=wrong,
        classes=tuple(range(min(clips, len(MOVEMENTS)))),
        performers=tuple(sorted({_person(number) for number in range(clips)})),
        bytes=size,
    )


DAMAGE: Mapping[str, Callable[[bytes], bytes]] = {
    "cut short": lambda content: content[: len(content) // 2 - 3],
    "a web page": lambda content: b"<!DOCTYPE html>\n<html><h1>403 Forbidden</h1></html>\n",
    "an empty file": lambda content: b"",
}
"""What can be wrong with a recording, in the order in which a set's broken ones take turns."""


def _person(number: int) -> int:
    return number // len(MOVEMENTS) % PEOPLE + 1


def _stem(number: int) -> str:
    return f"movement_{number % len(MOVEMENTS) + 1}/p{_person(number)}_{number:04d}"


def _performance(tool: str, seed: int, number: int, rng: np.random.Generator) -> list[Xyz]:
    """The bodies of a clip, (T, 25, 3) metres each in the camera's view: x to its left, y up, z away."""
    action = MOVEMENTS[number % len(MOVEMENTS)]
    if tool in ("mediapipe", "kinect-v1", "bvh") and len(roles(action)) > 1:
        action = ALONE
    frames, facing = int(rng.integers(40, 71)), rng.normal(0.0, 15.0)
    bodies = []
    for actor, role in enumerate(roles(action)):
        person = draw_person(np.random.default_rng([seed, _PERSON, _person(number), actor]))
        pair = len(roles(action)) > 1
        body = turned(perform(role, person, frames, rng), 180.0 * actor)
        body = body - np.array([0.0, 0.0, gap(action) * (actor - 0.5)]) if pair else body
        bodies.append(turned(body, 90.0 + facing if pair else facing) + np.array([0.2, -1.0, 3.2]))
    return bodies


def _noisy(xyz: Xyz, rng: np.random.Generator) -> Xyz:
    return xyz + rng.normal(0.0, 0.006, xyz.shape)


def _pixels(xyz: Xyz, rng: np.random.Generator) -> Xyz:
    """Where a picture shows positions (T, V, 3): (T, V, 2) pixels from the upper left."""
    x, y, z = np.moveaxis(_noisy(xyz, rng), -1, 0)
    return np.stack([WIDTH / 2 - FOCAL * x / z, HEIGHT / 2 - FOCAL * y / z], axis=-1)


def _seen(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which joints are seen, and how sure a tool is of them."""
    sure = np.round(np.clip(rng.normal(0.85, 0.1, shape), 0.3, 0.99), 4)
    hidden = rng.random(shape) < 0.03
    return ~hidden, np.where(hidden, np.round(rng.uniform(0.02, 0.25, shape), 4), sure)


def _dump(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _mediapipe(bodies: list[Xyz], number: int, rng: np.random.Generator) -> dict[str, bytes]:
    """What the ten lines in docs/data/own-data.md write."""
    xyz = body_of("mediapipe-33", bodies[0])
    hips = xyz[:, [23, 24]].mean(axis=1, keepdims=True)
    world = np.round(_noisy((xyz - hips) * (-1, -1, 1), rng), 5)
    flat = np.round(_pixels(xyz, rng) / (WIDTH, HEIGHT), 5)
    _, sure = _seen(rng, xyz.shape[:2])
    frames = []
    for t in range(len(xyz)):
        if rng.random() < 0.02:
            frames.append({"timestamp_ms": round(t * 1000 / 30), "pose_landmarks": [], "pose_world_landmarks": []})
            continue
        rest = [{"visibility": v, "presence": min(0.999, v + 0.01)} for v in sure[t].tolist()]
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
    """For each frame who is seen in it, in any order: (actor, (V, 3) pixels and confidence, zeros where missing)."""
    tracks = []
    for xyz in bodies:
        points = _pixels(body_of(layout, xyz), rng)
        seen, sure = _seen(rng, points.shape[:2])
        tracks.append(np.round(np.where(seen[..., None], np.concatenate([points, sure[..., None]], axis=2), 0), 3))
    frames = []
    for t in range(len(tracks[0])):
        there = [(actor, track[t]) for actor, track in enumerate(tracks) if rng.random() >= 0.02]
        frames.append([there[at] for at in rng.permutation(len(there))])
    return frames


def _openpose(bodies: list[Xyz], number: int, rng: np.random.Generator) -> dict[str, bytes]:
    """A file a frame, as --write_json has them: ids are -1."""
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
        held = [{"person_id": [-1], "pose_keypoints_2d": points.ravel().tolist(), **empty} for _, points in people]
        files[f"{stem}/{name}_{t:012d}_keypoints.json"] = _dump({"version": 1.3, "people": held})
    return files


def _coco(bodies: list[Xyz], number: int, rng: np.random.Generator) -> dict[str, bytes]:
    """A result list as AlphaPose writes it; every third clip as MMPose does, every third as Ultralytics."""
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
    """As offline_processor writes it: millimetres, x to the right, y down, z away."""
    layout = load_layout("azure-kinect-32")
    tracks = [np.round(1000 * _noisy(body_of(layout.name, xyz), rng) * (-1, -1, 1), 2) for xyz in bodies]
    upright = [[1.0, 0.0, 0.0, 0.0]] * len(layout.joints)
    frames = []
    for t in range(len(tracks[0])):
        there = [
            {"body_id": actor + 1, "joint_positions": track[t].tolist(), "joint_orientations": upright}
            for actor, track in enumerate(tracks)
            if rng.random() >= 0.02
        ]
        frames.append({"frame_id": t, "timestamp_usec": 33333 * t, "num_bodies": len(there), "bodies": there})
    bones = [
        [layout.joints[parent].upper(), name.upper()]
        for name, parent in zip(layout.joints, layout.parents, strict=True)
        if parent >= 0
    ]
    about = {"k4abt_sdk_version": "1.1.2", "source_file": f"{number:04d}.mkv", "bone_list": bones}
    names = [name.upper() for name in layout.joints]
    return {f"{_stem(number)}.json": _dump({**about, "joint_names": names, "frames": frames})}


def _kinect_v1(bodies: list[Xyz], number: int, rng: np.random.Generator) -> dict[str, bytes]:
    """As MSR-Action3D: metres and confidence, a row a joint."""
    layout = load_layout("kinect-v1")
    xyz = _noisy(body_of(layout.name, bodies[0]), rng)[:, [layout.index(joint) for joint in MSR]]
    _, sure = _seen(rng, xyz.shape[:2])
    rows = np.concatenate([xyz, sure[..., None]], axis=2).reshape(-1, 4)
    text = "".join(f"{x:.6f} {y:.6f} {z:.6f} {c:.4f}\n" for x, y, z, c in rows.tolist())
    action, take = number % len(MOVEMENTS) + 1, number // (len(MOVEMENTS) * PEOPLE) + 1
    return {f"a{action:02d}_s{_person(number):02d}_e{take:02d}_skeleton3D.txt": text.encode()}


def _bvh(bodies: list[Xyz], number: int, rng: np.random.Generator) -> dict[str, bytes]:
    return {f"{_stem(number)}.bvh": bvh.text(bodies[0] + np.array([0.0, 1.0, 0.0])).encode()}


TOOLS: Mapping[str, Callable[[list[Xyz], int, np.random.Generator], dict[str, bytes]]] = {
    "mediapipe": _mediapipe,
    "openpose": _openpose,
    "coco": _coco,
    "azure-kinect": _azure_kinect,
    "kinect-v1": _kinect_v1,
    "bvh": _bvh,
}
"""For each tool what writes the files of a clip."""
