"""Conversion of hand-written files in the exact formats of other tools."""

import csv
import json
import shutil
import sys
import tomllib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from pipeline.convert import convert as convert_module
from pipeline.convert.convert import ConvertResult
from pipeline.convert.inputs import ConvertRequest
from pipeline.convert.readers import kinect_v1
from pipeline.errors import ArtifactNotFound, ConfigError, LayoutError, OutputExists, OutputFailed, SkelepipeError
from pipeline.ingest.ingest import ingest
from pipeline.ingest.request import IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.skeleton.segments import DEFAULT_FRAME_INDEX
from pipeline.skeleton.shipped_layouts import load_layout
from pipeline.sources.folder.source import FolderSource
from pipeline.sources.source import Reading
from pipeline.store.build_splits import build_splits
from pipeline.store.store import Store
from pipeline.synth.motion import draw_person, perform
from pipeline.synth.roles import roles
from pipeline.synth.tool_skeletons import to_tool_layout

T = 12


def standing(layout: str, frames: int = T, seed: int = 0) -> NDArray[np.float64]:
    """A person of 1.7 m who stands and sways, (T, V, 3) metres: x to their right, y up, z backward."""
    rng = np.random.default_rng(seed)
    return to_tool_layout(layout, perform(roles(1)[0], draw_person(rng), frames, rng))


def convert(tool: str, root: Path, out: Path, **options: Any) -> ConvertResult:
    return convert_module.convert(ConvertRequest(tool=tool, roots=(root,), output=out, **options))


def clip(out: Path, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    with np.load(out / "clips" / f"{name}.npz") as held:
        return held["xyz"], held["confidence"] if "confidence" in held.files else None


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "manifest.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def readable(out: Path) -> list[Reading]:
    """The clips of a folder as ingest reads them; none may be refused."""
    source = FolderSource([out])
    found = [one for e in source.survey(keep_missing=True).entries for one in source.read(e, DEFAULT_FRAME_INDEX)]
    assert all(isinstance(one, Reading) for one in found), found
    return [one for one in found if isinstance(one, Reading)]


# MediaPipe


def landmarks(xyz: NDArray[np.float64]) -> list[dict[str, float]]:
    return [dict(zip("xyz", row, strict=True)) | {"visibility": 0.75, "presence": 0.5} for row in xyz.tolist()]


JOINTS = load_layout("mediapipe-33").joints
WORLD = standing("mediapipe-33") * (-1, -1, 1)
FORMS: Mapping[str, Callable[[list[Any]], Any]] = {
    "frames below frames": lambda poses: {"frames": [{"pose_world_landmarks": [pose]} for pose in poses]},
    "a list of frames": lambda poses: [{"pose_world_landmarks": [pose], "pose_landmarks": [pose]} for pose in poses],
    "one person": lambda poses: [{"pose_world_landmarks": pose} for pose in poses],
    "the older API": lambda poses: [{"pose_world_landmarks": {"landmark": pose}} for pose in poses],
    "camel case": lambda poses: [{"worldLandmarks": [pose]} for pose in poses],
    "frames by number": lambda poses: {str(n): {"pose_world_landmarks": [pose]} for n, pose in enumerate(poses)},
    "frames by name": lambda poses: {f"frame_{n}": {"poseWorldLandmarks": [pose]} for n, pose in enumerate(poses)},
    "lists": lambda poses: [{"pose_world_landmarks": [[list(lm.values()) for lm in pose]]} for pose in poses],
}


@pytest.mark.parametrize("form", FORMS)
def test_mediapipe_world_landmarks_are_read_in_every_format(form: str, tmp_path: Path) -> None:
    write(tmp_path / "in" / "one.json", FORMS[form]([landmarks(frame) for frame in WORLD]))
    report = convert("mediapipe", tmp_path / "in", tmp_path / "out")
    assert (report.layout, report.clips, report.frames, report.refused) == ("mediapipe-33", 1, T, [])
    xyz, sure = clip(tmp_path / "out", "one")
    np.testing.assert_allclose(xyz[0], WORLD * (1, -1, -1), atol=1e-6)
    assert sure is not None
    np.testing.assert_array_equal(sure, np.full((1, T, 33), 0.5, np.float32))


@pytest.mark.parametrize(
    "header",
    [
        [f"{name}_{value}" for name in JOINTS for value in ("x", "y", "z", "visibility")],
        [f"{name.upper()}.{value}" for name in JOINTS for value in "xyzv"],
        [f"{value}{number}" for number in range(33) for value in "xyzv"],
        [f"{value}{number}" for number in range(1, 34) for value in "xyzv"],
        [f"landmark_{number}_{value}" for number in range(33) for value in "xyzv"],
        [],
    ],
)  # fmt: skip
def test_mediapipe_csv_has_one_row_per_frame(header: list[str], tmp_path: Path) -> None:
    table = np.concatenate([WORLD, np.full((T, 33, 1), 0.5)], axis=2).reshape(T, -1)
    lines = [",".join(header)] * bool(header) + [",".join(map(str, row)) for row in table.tolist()]
    write(tmp_path / "in" / "one.csv", "\n".join(lines))
    assert convert("mediapipe", tmp_path / "in", tmp_path / "out").refused == []
    np.testing.assert_allclose(clip(tmp_path / "out", "one")[0][0], WORLD * (1, -1, -1), atol=1e-6)


def test_mediapipe_json_lines_and_a_frame_column_leave_gaps(tmp_path: Path) -> None:
    poses = [{"frame": 2 * n, "pose_world_landmarks": [landmarks(frame)]} for n, frame in enumerate(WORLD)]
    poses[3]["pose_world_landmarks"] = []
    write(tmp_path / "in" / "one.jsonl", "\n".join(map(json.dumps, poses)))
    convert("mediapipe", tmp_path / "in", tmp_path / "out")
    xyz, _ = clip(tmp_path / "out", "one")
    assert xyz.shape == (1, 2 * T - 1, 33, 3)
    there = np.isfinite(xyz[0, :, 0, 0])
    assert there.tolist() == [n % 2 == 0 and n != 6 for n in range(2 * T - 1)]


def picture(xyz: NDArray[np.float64], width: int = 1280, height: int = 720) -> NDArray[np.float64]:
    """Pixels of somebody three metres away, nearly without perspective, x to the right, y down."""
    return np.stack([width / 2 - 250 * xyz[..., 0], height / 2 - 250 * (xyz[..., 1] - 1)], axis=-1)


@pytest.mark.parametrize(("width", "height", "said"), [(1280, 720, True), (720, 1280, True), (1280, 720, False)])
def test_mediapipe_without_world_landmarks_is_scaled_from_the_image(
    width: int, height: int, said: bool, tmp_path: Path
) -> None:
    body = standing("mediapipe-33")
    flat = picture(body, width, height) / (width, height)
    frames = [
        {"pose_landmarks": [landmarks(np.concatenate([xy, z[:, None] * 250 / width], axis=1))]}
        for xy, z in zip(flat, body[..., 2], strict=True)
    ]
    write(tmp_path / "in" / "one.json", {"frames": frames} | ({"width": width, "height": height} if said else {}))
    report = convert("mediapipe", tmp_path / "in", tmp_path / "out")
    assert any("16:9" in note for note in report.notes) != said
    xyz, _ = clip(tmp_path / "out", "one")
    twin = body * (-1, 1, -1)
    ratio = np.ptp(xyz[0, 0], axis=0) / np.ptp(twin[0], axis=0)
    np.testing.assert_allclose(ratio, ratio[1], rtol=1e-4)  # one factor for all, so nothing is squeezed
    assert 0.8 < ratio[1] < 1.2


def test_world_landmarks_under_the_key_of_image_landmarks_are_recognised(tmp_path: Path) -> None:
    world = WORLD - WORLD[:, 23:25].mean(axis=1, keepdims=True)
    write(tmp_path / "in" / "one.json", [{"landmarks": landmarks(frame)} for frame in world])
    report = convert("mediapipe", tmp_path / "in", tmp_path / "out")
    assert any("read as world landmarks" in note for note in report.notes)
    np.testing.assert_allclose(clip(tmp_path / "out", "one")[0][0], world * (1, -1, -1), atol=1e-6)


# OpenPose


def openpose(
    folder: Path, frame: int, *people: NDArray[np.float64], ids: tuple[int, ...] = (), video: str = "v"
) -> Path:
    held = [
        {
            "person_id": [ids[n] if ids else -1],
            "pose_keypoints_2d": np.concatenate([points, np.full((25, 1), 0.5)], axis=1).ravel().tolist(),
            "face_keypoints_2d": [],
            "pose_keypoints_3d": [],
        }
        for n, points in enumerate(people)
    ]
    return write(folder / f"{video}_{frame:012d}_keypoints.json", {"version": 1.3, "people": held})


def test_openpose_people_are_tracked_by_distance(tmp_path: Path) -> None:
    left, right = picture(standing("body-25", seed=1)), picture(standing("body-25", seed=2)) + np.array([300, 0])
    for n in range(T):
        people = [] if n == 5 else [left[n], right[n]]
        openpose(tmp_path / "in", 7 + n, *(people if n % 2 else people[::-1]))
    report = convert("openpose", tmp_path / "in", tmp_path / "out")
    assert (report.layout, report.clips, report.frames) == ("body-25", 1, T)
    xyz, sure = clip(tmp_path / "out", "v")
    assert xyz.shape == (2, T, 25, 3)
    assert not np.isfinite(xyz[:, 5]).any()
    scale = (
        0.288
        * 1.7
        / np.percentile(
            [np.linalg.norm(body[:, [9, 12]].mean(1) - body[:, [2, 5]].mean(1), axis=1) for body in (left, right)], 90
        )
    )
    seen = [n for n in range(T) if n != 5]
    for body, track in zip((right, left), xyz, strict=True):
        np.testing.assert_allclose(track[seen, :, 0], scale * body[seen, :, 0], rtol=0.01)
        np.testing.assert_allclose(track[seen, :, 1], -scale * body[seen, :, 1], rtol=0.01)
        assert not track[seen, :, 2].any()
    assert sure is not None
    assert (sure[:, seen] == 0.5).all()


def test_openpose_ids_are_used_and_missing_points_are_missing(tmp_path: Path) -> None:
    left, right = picture(standing("body-25", seed=1)), picture(standing("body-25", seed=2)) + np.array([300, 0])
    left[2, 4] = 0
    for n in range(T):  # they change places, which no distance would tell
        openpose(tmp_path / "in", n, *((left[n], right[n]) if n < 6 else (right[n], left[n])), ids=(3, 9))
    convert("openpose", tmp_path / "in", tmp_path / "out")
    xyz, _ = clip(tmp_path / "out", "v")
    moved = np.abs(np.diff(xyz[..., 8, 0], axis=1)).max(axis=1)
    assert (moved > 0.4).all()
    assert np.isnan(xyz[:, 2, 4]).all(axis=-1).sum() == 1


def test_openpose_videos_are_distinguished_by_folder_and_name(tmp_path: Path) -> None:
    body = picture(standing("body-25"))
    for label in ("wave", "walk"):
        for video in ("a", "b_1"):
            for n in (0, 1):
                openpose(tmp_path / "in" / label, n, body[n], video=video)
    report = convert("openpose", tmp_path / "in", tmp_path / "out")
    assert sorted((row["label"], row["source"]) for row in rows(tmp_path / "out")) == [
        ("walk", "a"), ("walk", "b_1"), ("wave", "a"), ("wave", "b_1")
    ]  # fmt: skip
    assert report.sources["label"] == ["the folders' names"]
    assert len({row["file"] for row in rows(tmp_path / "out")}) == 4


def test_openpose_folders_of_one_video_each_use_the_parent_folders_label(tmp_path: Path) -> None:
    body = picture(standing("body-25"))
    for label, video in (("wave", "v1"), ("walk", "v2")):
        openpose(tmp_path / "in" / label / video, 0, body[0], video=video)
        openpose(tmp_path / "in" / label / video, 1, body[1], video=video)
    convert("openpose", tmp_path / "in", tmp_path / "out")
    assert {row["label"] for row in rows(tmp_path / "out")} == {"wave", "walk"}


def test_openpose_of_another_model_is_refused_by_its_frame(tmp_path: Path) -> None:
    openpose(tmp_path / "in", 0, picture(standing("body-25"))[0], video="good")
    write(tmp_path / "in" / "bad_000000000001_keypoints.json", {"people": [{"pose_keypoints": [1.0] * 54}]})
    report = convert("openpose", tmp_path / "in", tmp_path / "out")
    assert [(bad["file"], bad["reason"]) for bad in report.refused] == [
        (
            "bad_000000000001_keypoints.json",
            "pose_keypoints_2d: 18 keypoints, expected the 25 of BODY_25 (OpenPose's --model_pose BODY_25)",
        )
    ]


# COCO

BODY = picture(standing("coco-17"))
POINTS = np.concatenate([BODY, np.full((T, 17, 1), 0.25)], axis=2)
COCO_FORMS: Mapping[str, Any] = {
    "detectron2": [
        {"image_id": n + 40, "category_id": 1, "keypoints": frame.ravel().tolist(), "score": 0.9}
        for n, frame in enumerate(POINTS)
    ],
    "alphapose": [
        {"image_id": f"{n}.jpg", "category_id": 1, "keypoints": frame.ravel().tolist(), "score": 2.9, "idx": [1]}
        for n, frame in reversed([*enumerate(POINTS)])
    ],
    "halpe": [
        {"image_id": f"v_{n:03d}.jpg", "keypoints": [*frame.ravel().tolist(), *[7.0] * 27], "idx": 1.0}
        for n, frame in enumerate(POINTS)
    ],
    "mmpose": {
        "meta_info": {"dataset_name": "coco"},
        "instance_info": [
            {"frame_id": n + 1, "instances": [{"keypoints": frame.tolist(), "keypoint_scores": [0.25] * 17}]}
            for n, frame in enumerate(BODY)
        ],
    },
    "mmpose inferencer": [
        {"frame_id": n, "instances": [{"keypoints": frame.tolist(), "keypoint_scores": [0.25] * 17}]}
        for n, frame in enumerate(BODY)
    ],
    "ultralytics": [
        [{"name": "person", "keypoints": {"x": f[:, 0].tolist(), "y": f[:, 1].tolist(), "visible": [0.25] * 17}}]
        for f in BODY
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", COCO_FORMS)
def test_coco_is_read_in_every_format(form: str, tmp_path: Path) -> None:
    write(tmp_path / "in" / "one.json", COCO_FORMS[form])
    report = convert("coco", tmp_path / "in", tmp_path / "out")
    assert (report.layout, report.clips, report.frames, report.refused) == ("coco-17", 1, T, [])
    xyz, sure = clip(tmp_path / "out", "one")
    trunk = BODY[:, [5, 6]].mean(axis=1) - BODY[:, [11, 12]].mean(axis=1)
    scale = 0.288 * 1.7 / np.percentile(np.linalg.norm(trunk, axis=1), 90)
    np.testing.assert_allclose(xyz[0, ..., :2], scale * BODY * (1, -1), rtol=1e-5)
    assert sure is not None
    assert (sure == 0.25).all()


def test_ultralytics_frames_may_be_lines(tmp_path: Path) -> None:
    write(tmp_path / "in" / "one.jsonl", "\n".join(map(json.dumps, COCO_FORMS["ultralytics"])) + "\n[]\n")
    assert convert("coco", tmp_path / "in", tmp_path / "out").frames == T + 1


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"instance_info": 3}, "expected a list of people or of frames, or MMPose's instance_info"),
        ({"meta_info": {"dataset_name": "h36m"}, "instance_info": []}, "those of 'h36m', expected those of COCO"),
        ([{"frame_id": 0, "instances": [{"keypoints": [[1.0, 2.0, 3.0]] * 17}]}], "in Human3.6M's order"),
        ([{"image_id": 1, "keypoints": [1.0] * 50}], r"keypoints: found \(50,\), expected 17"),
        ([{"image_id": 1, "keypoints": ["1"] * 51}], "keypoints: expected lists of numbers"),
        ([{"image_id": 1, "keypoints": [True] * 51}], "keypoints: expected lists of numbers"),
        ([{"image_id": [1], "keypoints": [1.0] * 51}], "neither a COCO result list|a person without image_id"),
        ([[], []], "no person is detected in any frame"),
        ([], "contains no frame"),
        ([{"keypoints": {"x": [], "y": []}}], "one frame of Ultralytics; expected a list of frames"),
        ([{"image_id": n, "keypoints": [1.0] * 51} for n in (0, 2_000_000_000)], "numbers span 2000000001 frames"),
        ([{"image_id": 7, "keypoints": [1.0] * 51}] * 101, "101 people in one frame, expected at most 100"),
        ([{"image_id": 7, "keypoints": [0.0] * 51}], "no person is detected in any frame"),
        ([{"image_id": 7, "keypoints": [5.0] * 51}], "neither a trunk nor a limb is visible"),
    ],
)  # fmt: skip
def test_an_invalid_coco_file_is_refused_with_the_reason(document: Any, told: str, tmp_path: Path) -> None:
    write(tmp_path / "in" / "bad.json", document)
    with pytest.raises(SkelepipeError, match=f"none of 1 recordings can be used, nothing written: bad.json: .*{told}"):
        convert("coco", tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Azure Kinect


def test_azure_kinect_is_in_millimetres_with_ids(tmp_path: Path) -> None:
    body = standing("azure-kinect-32") * (-1, -1, 1) + (0, 0, 2)
    frames = [
        {
            "frame_id": n,
            "timestamp_usec": n,
            "num_bodies": 1,
            "bodies": [
                {
                    "body_id": 5,
                    "joint_positions": (1000 * body[n]).tolist(),
                    "joint_orientations": [[1, 0, 0, 0]] * 32,
                    "joint_confidence_levels": [2] * 31 + [0],
                }
            ]
            * (n != 4),
        }
        for n in range(T)
    ]
    write(tmp_path / "in" / "one.json", {"k4abt_sdk_version": "1.1.2", "joint_names": [], "frames": frames})
    convert("azure-kinect", tmp_path / "in", tmp_path / "out")
    xyz, sure = clip(tmp_path / "out", "one")
    seen = [n for n in range(T) if n != 4]
    np.testing.assert_allclose(xyz[0, seen], body[seen] * (1, -1, -1), atol=1e-6)
    assert sure is not None
    np.testing.assert_allclose(sure[0, seen], [[2 / 3] * 31 + [0]] * (T - 1))
    assert np.isnan(xyz[0, 4]).all()


# Kinect v1


def msr(folder: Path, xyz: NDArray[np.float64], name: str = "a01_s01_e01") -> Path:
    layout = load_layout("kinect-v1")
    order = [layout.index(joint) for joint in kinect_v1.MSR]
    text = "".join(f"{x:.6f} {y:.6f} {z:.6f} 0.5\n" for x, y, z in xyz[:, order].reshape(-1, 3).tolist())
    return write(folder / f"{name}_skeleton3D.txt", text)


FACING = standing("kinect-v1") + np.array([0.1, -1, 3])
"""In the sensor's space: x to its left, which is the person's right."""


@pytest.mark.parametrize("sides", ["as they are", "swapped", "y down"])
def test_msr_action3d_is_reordered_whichever_side_comes_first(sides: str, tmp_path: Path) -> None:
    layout = load_layout("kinect-v1")
    given = FACING.copy()
    if sides == "swapped":
        swap = {"left": "right", "right": "left"}
        given = given[:, [layout.index("_".join(swap.get(w, w) for w in j.split("_"))) for j in layout.joints]]
    if sides == "y down":
        given = given * (1, -1, -1)
    msr(tmp_path / "in", given, "a13_s02_e03")
    convert("kinect-v1", tmp_path / "in", tmp_path / "out")
    xyz, sure = clip(tmp_path / "out", "a13_s02_e03_skeleton3D")
    np.testing.assert_allclose(xyz[0], FACING, atol=1e-6)
    assert sure is not None
    assert (sure == 0.5).all()
    assert {k: v for k, v in rows(tmp_path / "out")[0].items() if k in ("label", "subject", "replication")} == {
        "label": "bend", "subject": "2", "replication": "3",
    }  # fmt: skip


def test_the_order_of_msr_action3d_matches_the_published_bones() -> None:
    # Pairs of joints, from 1, as its users join them: 20-3, 1-3, 2-3, 1-8, 8-10, 10-12, ...
    drawn = "20-3 1-3 2-3 1-8 8-10 10-12 2-9 9-11 11-13 3-4 4-7 7-5 7-6 5-14 14-16 16-18 6-15 15-17 17-19"
    layout = load_layout("kinect-v1")
    bones = {
        frozenset({name, layout.joints[p]}) for name, p in zip(layout.joints, layout.parents, strict=True) if p >= 0
    }
    pairs = [[kinect_v1.MSR[int(end) - 1] for end in pair.split("-")] for pair in drawn.split()]
    assert {frozenset(pair) for pair in pairs} == bones


def test_nw_ucla_has_the_order_of_the_sdk_and_its_own_classes_and_cameras(tmp_path: Path) -> None:
    for n, name in enumerate(("a01_s01_e00_v01", "a12_s02_e01_v02", "a12_s01_e00_v03")):
        body = (FACING + n).tolist()
        write(tmp_path / "in" / f"{name}.json", {"file_name": name, "skeletons": body, "label": 1})
    convert("kinect-v1", tmp_path / "in", tmp_path / "out")
    np.testing.assert_allclose(clip(tmp_path / "out", "a12_s02_e01_v02")[0][0], FACING + 1, atol=1e-6)
    spec = tomllib.loads((tmp_path / "out" / "skeleton.toml").read_text())
    assert spec["splits"]["xview"]["train"] == {"camera": ["1", "2"]}
    assert spec["splits"]["xsub"]["train"] == {"subject": ["1"]}
    assert spec["classes"]["9"] == "carry"
    assert [(row["label"], row["camera"]) for row in rows(tmp_path / "out")] == [
        ("pick up with one hand", "1"), ("carry", "3"), ("carry", "2")
    ]  # fmt: skip


@pytest.mark.parametrize("names", [kinect_v1.UTD, load_layout("kinect-v1").joints])
def test_utd_mhad_is_read_from_its_mat_files_and_in_a_zip(names: Sequence[str], tmp_path: Path) -> None:
    layout = load_layout("kinect-v1")
    order = [layout.index(joint) for joint in names]
    (tmp_path / "in").mkdir()
    savemat(tmp_path / "a27_s8_t4_skeleton.mat", {"d_skel": np.moveaxis(FACING[:, order], 0, 2)})
    with zipfile.ZipFile(tmp_path / "in" / "Skeleton.zip", "w") as archive:
        archive.write(tmp_path / "a27_s8_t4_skeleton.mat", "Skeleton/a27_s8_t4_skeleton.mat")
    convert("kinect-v1", tmp_path / "in", tmp_path / "out")
    np.testing.assert_allclose(clip(tmp_path / "out", "a27_s8_t4_skeleton")[0][0], FACING, atol=1e-6)
    assert rows(tmp_path / "out")[0]["label"] == "squat"


def test_kinect_v1_files_that_cannot_be_used_are_refused_one_by_one(tmp_path: Path) -> None:
    msr(tmp_path / "in", FACING, "a01_s01_e01")
    pixels = msr(tmp_path / "in", FACING * 200 + 300, "a01_s01_e02")
    pixels.rename(tmp_path / "in" / "a01_s01_e02_skeleton.txt")
    cut = msr(tmp_path / "in", FACING, "a01_s01_e03")
    cut.write_text("\n".join(cut.read_text().splitlines()[:-3]))
    write(tmp_path / "in" / "a01_s01_e04_skeleton3D.txt", "1 2 3 1\n1 2 x 1\n")
    (tmp_path / "in" / "a1_s1_t1_skeleton.mat").write_bytes(b"MATLAB 5.0 MAT-file" + b"\0" * 200)
    savemat(tmp_path / "in" / "a1_s1_t2_skeleton.mat", {"d_iner": np.zeros((4, 6))})
    (tmp_path / "in" / "a1_s1_t3_skeleton.mat").write_bytes(b"\x80\x04\x95")
    write(tmp_path / "in" / "a02_s01_e00_v01.json", {"skeletons": [[[0, 0, 0]] * 20] * 3})
    report = convert("kinect-v1", tmp_path / "in", tmp_path / "out")
    told = {bad["file"]: (bad["line"], bad["reason"]) for bad in report.refused}
    assert report.clips == 1
    assert told["a01_s01_e04_skeleton3D.txt"] == (2, "expected four numbers: x, y, z and confidence")
    for name, reason in {
        "a01_s01_e02_skeleton.txt": "tall, expected metres; for MSR-Action3D use MSRAction3DSkeletonReal3D",
        "a01_s01_e03_skeleton3D.txt": "237 rows of joints, expected 20 for each frame",
        "a1_s1_t1_skeleton.mat": "MAT",
        "a1_s1_t2_skeleton.mat": "has no array d_skel (20, 3, T)",
        "a1_s1_t3_skeleton.mat": "is not a MAT-file of version 5",
        "a02_s01_e00_v01.json": "no person is detected in any frame",
    }.items():
        assert reason in told[name][1], told[name]


def test_kinect_v1_ignores_files_of_other_sensors(tmp_path: Path) -> None:
    msr(tmp_path / "in", FACING)
    for name in ("a1_s1_t1_inertial.mat", "readme.txt", "fileList.txt"):
        write(tmp_path / "in" / name, "x")
    report = convert("kinect-v1", tmp_path / "in", tmp_path / "out")
    assert (report.clips, report.refused, sum(report.left_out.values())) == (1, [], 3)


def test_without_scipy_mat_files_are_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    savemat(tmp_path / "in" / "a1_s1_t1_skeleton.mat", {"d_skel": np.ones((20, 3, 5))})
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(SkelepipeError, match=r"reading .mat needs scipy: pip install 'skelepipe\[analysis\]'"):
        convert("kinect-v1", tmp_path / "in", tmp_path / "out")


# All together


@pytest.mark.parametrize("tool", ["mediapipe", "coco", "azure-kinect", "openpose"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"frames": ' + b"[" * 90_000 + b"]" * 90_000 + b"}", "nested too deeply"),
        (b"[1, 2", "is not valid JSON: expecting"),
        (b"\xff\xfe[\x00", "is not valid JSON"),
        (b"[" + b"9" * 5000 + b"]", "is not valid JSON: Exceeds the limit|expected|a person"),
        (b'"\\u001b[31mred"', "expected|has no"),
        (b"null", "expected|has no"),
        (b"[null, 3, \"x\", NaN]", "expected|has no|neither"),
        (b'{"frames": [{"pose_world_landmarks": [[1, 2], {"x": {}}]}]}', "landmarks|has no|expected"),
        (
            b'{"people": [3], "frames": [{"bodies": [3]}], "instance_info": [[{"keypoints": 3}]]}',
            "expected|not an object|without|no person",
        ),
    ],
)  # fmt: skip
def test_hostile_json_is_one_line(tool: str, content: bytes, told: str, tmp_path: Path) -> None:
    name = "bad_000000000000_keypoints.json" if tool == "openpose" else "bad.json"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(content)
    with pytest.raises(SkelepipeError, match=told) as refused:
        convert(tool, tmp_path / "in", tmp_path / "out")
    assert name in str(refused.value)
    assert str(refused.value).isprintable()
    assert not (tmp_path / "out").exists()


def test_absurd_numbers_are_missing_joints(tmp_path: Path) -> None:
    poses = [landmarks(frame) for frame in WORLD]
    poses[0][3]["x"] = float("nan")
    poses[1][3]["y"] = 1e300
    poses[2][3]["z"] = 10**400
    poses[3][3]["x"] = None
    write(tmp_path / "in" / "one.json", [{"pose_world_landmarks": [pose]} for pose in poses])
    convert("mediapipe", tmp_path / "in", tmp_path / "out")
    xyz, _ = clip(tmp_path / "out", "one")
    assert np.argwhere(np.isnan(xyz).any(axis=3)).tolist() == [[0, n, 3] for n in range(4)]


def coco_files(root: Path, *names: str) -> None:
    for n, name in enumerate(names):
        write(root / name, (np.array(0), COCO_FORMS[["mmpose", "alphapose", "ultralytics"][n % 3]])[1])


def test_labels_come_from_table_pattern_and_folder_in_this_order(tmp_path: Path) -> None:
    coco_files(tmp_path / "in", "wave/p1_a.json", "wave/p2_b.json", "walk/p1_c.json")
    table = write(tmp_path / "in" / "table.csv", "file;label;room\nwave/p2_b.json;sit;north\n")
    report = convert("coco", tmp_path / "in", tmp_path / "out", labels=table, pattern=r"(?P<subject>p\d)")
    assert sorted((r["source"], r["label"], r["subject"], r["room"]) for r in rows(tmp_path / "out")) == [
        ("p1_a.json", "wave", "p1", ""), ("p1_c.json", "walk", "p1", ""), ("p2_b.json", "sit", "p2", "north"),
    ]  # fmt: skip
    assert report.sources["label"] == ["--labels", "the folders' names"]
    assert report.sources["subject"] == ["--pattern"]
    assert report.splits == {"xsub": {"subject": ["p1"]}}


def test_a_table_may_name_videos_and_unmatched_rows_are_counted(tmp_path: Path) -> None:
    coco_files(tmp_path / "in", "a.json", "b.json")
    table = write(tmp_path / "t.csv", "file,label\na.mp4,one\nvideos/b.mp4,two\nc.mp4,three\n")
    report = convert("coco", tmp_path / "in", tmp_path / "out", labels=table)
    assert [(row["source"], row["label"]) for row in rows(tmp_path / "out")] == [("a.json", "one"), ("b.json", "two")]
    assert report.left_out == {"rows of --labels that match no recording": 1}


def test_people_returning_within_the_gap_keep_their_id_and_only_eight_are_kept(tmp_path: Path) -> None:
    body = picture(standing("body-25"))[0]
    for n in range(80):
        here = [body + np.array([400 * k, 0]) for k in range(9) if k < 8 or n == 3]
        gone = {0: range(5, 30), 1: range(5, 40)}
        openpose(tmp_path / "in", n, *(person for k, person in enumerate(here) if n not in gone.get(k, ())))
    convert("openpose", tmp_path / "in", tmp_path / "out")
    xyz, _ = clip(tmp_path / "out", "v")
    assert xyz.shape[:2] == (8, 80)
    frames = sorted(np.isfinite(xyz[..., 8, 0]).sum(axis=1).tolist())
    assert frames == [40, 55, 80, 80, 80, 80, 80, 80]  # who was away for longer is somebody new, and was seen least


def test_ntu_file_names_are_recognised_for_any_tool(tmp_path: Path) -> None:
    names = [f"S001C00{c}P00{p}R001A0{a}_rgb.json" for c, p, a in ((1, 1, 43), (2, 3, 43), (3, 3, 10))]
    coco_files(tmp_path / "in", *names)
    report = convert("coco", tmp_path / "in", tmp_path / "out", target="kinect-v2")
    assert {row["label"] for row in rows(tmp_path / "out")} == {"42", "9"}
    assert report.splits == {"xsub": {"subject": ["1"]}, "xview": {"camera": ["2", "3"]}}
    assert readable(tmp_path / "out")[0].labels.label == 42


def test_recordings_without_label_are_converted_and_counted(tmp_path: Path) -> None:
    coco_files(tmp_path / "in", "a.json", "b.json")
    result = convert("coco", tmp_path / "in", tmp_path / "out")
    assert result.classes == ()
    assert result.notes == {"no labels found; --labels or --pattern gives them": 2}
    assert [reading.labels.label for reading in readable(tmp_path / "out")] == [-1, -1]
    result = convert("coco", tmp_path / "in", tmp_path / "some", pattern="(?P<label>a)")
    assert (result.clips, result.refused) == (2, [])
    assert result.notes == {"have no label, although others have one; --labels or --pattern gives them": 1}
    assert sorted(reading.labels.label for reading in readable(tmp_path / "some")) == [-1, 0]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"pattern": "("}, "is not a regular expression"),
        ({"pattern": "abc"}, "has no named group"),
        ({"pattern": "(?P<start>a)"}, "start has another meaning in manifest.csv"),
        ({"labels": Path("nowhere.csv")}, "nowhere.csv: does not exist"),
        ({"units": "cm"}, "--units does not apply to coco, only to bvh"),
        ({"aspect": 1.5}, "--aspect does not apply to coco, only to mediapipe"),
        ({"target": "coco-18"}, "no layout is called 'coco-18'"),
        ({"target": "body-25"}, "coco-17: cannot be converted to body-25; possible are"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], told: str, tmp_path: Path) -> None:
    coco_files(tmp_path / "in", "a.json")
    with pytest.raises((ConfigError, LayoutError), match=told):
        convert("coco", tmp_path / "in", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_contradictory_tables_are_refused(tmp_path: Path) -> None:
    coco_files(tmp_path / "in", "a.json")
    for text, told in (
        ("file,label\na,1\na,2\n", ":3: a is in an earlier line"),
        ("file,label\n,1\n", ":2: has no file"),
        ("file,label\na,1,2\n", ":2: 3 fields"),
        ("file,start\na,1\n", "start has another meaning"),
    ):
        table = write(tmp_path / "t.csv", text)
        with pytest.raises(ConfigError, match=told):
            convert("coco", tmp_path / "in", tmp_path / "out", labels=table)


def test_no_file_of_the_tool_and_an_empty_folder_are_errors(tmp_path: Path) -> None:
    write(tmp_path / "in" / "readme.md", "x")
    with pytest.raises(SkelepipeError, match=r"no file of bvh found; expected .bvh; left out, other than .bvh: 1"):
        convert("bvh", tmp_path / "in", tmp_path / "out")
    with pytest.raises(ArtifactNotFound):
        convert("bvh", tmp_path / "nowhere", tmp_path / "out")


def test_an_output_folder_that_is_not_empty_is_never_touched(tmp_path: Path) -> None:
    coco_files(tmp_path / "in", "a.json")
    write(tmp_path / "out" / "mine.txt", "x")
    with pytest.raises(OutputExists):
        convert("coco", tmp_path / "in", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_names_are_made_safe_and_unique(tmp_path: Path) -> None:
    coco_files(tmp_path / "in", "x/a b\x1b[31m.json", "y/A_B_x1b_31m.json", "y/-.json")
    convert("coco", tmp_path / "in", tmp_path / "out")
    files = sorted(path.name for path in (tmp_path / "out" / "clips").iterdir())
    assert len({name.casefold() for name in files}) == 3
    assert all(name.isprintable() and " " not in name for name in files)
    assert "\x1b" not in (tmp_path / "out" / "manifest.csv").read_text()
    assert len(readable(tmp_path / "out")) == 3


def test_every_nth_frame_is_kept(tmp_path: Path) -> None:
    poses = [{"pose_world_landmarks": [landmarks(frame)]} for frame in WORLD]
    write(tmp_path / "in" / "one.json", {"fps": 120, "frames": poses})
    slow = convert("mediapipe", tmp_path / "in", tmp_path / "slow")
    assert any("120 frames per second, recipes assume about 30: consider --every 4" in note for note in slow.notes)
    assert convert("mediapipe", tmp_path / "in", tmp_path / "out", every=4).frames == 3
    np.testing.assert_allclose(clip(tmp_path / "out", "one")[0][0], WORLD[::4] * (1, -1, -1), atol=1e-6)
    assert tomllib.loads((tmp_path / "out" / "skeleton.toml").read_text())["frames_per_second"] == 30


def test_mapped_joints_are_means_with_the_lowest_confidence(tmp_path: Path) -> None:
    write(tmp_path / "in" / "one.json", COCO_FORMS["mmpose"])
    document = json.loads((tmp_path / "in" / "one.json").read_text())
    person = document["instance_info"][2]["instances"][0]
    person["keypoint_scores"][5] = 0.125
    person["keypoints"][12] = [0, 0]
    write(tmp_path / "in" / "one.json", document)
    for target, out in ((None, "own"), ("kinect-v2", "out")):
        report = convert("coco", tmp_path / "in", tmp_path / out, target=target)
    assert {"spine_base", "left_hand_tip", "head"} <= {*report.made_up}
    assert "left_wrist" not in report.made_up
    (before, _), (after, sure) = clip(tmp_path / "own", "one"), clip(tmp_path / "out", "one")
    source, target = load_layout("coco-17"), load_layout("kinect-v2")
    middle = (before[0, 5, source.index("left_hip")] + before[0, 5, source.index("right_hip")]) / 2
    np.testing.assert_allclose(after[0, 5, target.index("spine_base")], middle, atol=1e-6)
    elbow, wrist = (before[0, 5, source.index(f"left_{joint}")] for joint in ("elbow", "wrist"))
    np.testing.assert_allclose(after[0, 5, target.index("left_hand")], wrist + 0.3 * (wrist - elbow), atol=1e-5)
    gone = [target.joints[joint] for joint in np.flatnonzero(np.isnan(after[0, 2, :, 0]))]
    assert gone == ["spine_base", "spine_mid", "right_hip"]
    assert sure is not None
    assert sure[0, 2, target.index("spine_shoulder")] == 0.125
    assert sure[0, 3, target.index("spine_shoulder")] == 0.25


def test_a_folder_keeps_its_labels_in_another_layout(tmp_path: Path) -> None:
    coco_files(tmp_path / "in", "wave/ann_1.json", "walk/bob_2.json", "walk/ann_3.json")
    convert("coco", tmp_path / "in", tmp_path / "own", pattern="(?P<subject>[a-z]+)_(?P<day>[0-9])")
    report = convert("folder", tmp_path / "own", tmp_path / "out", target="kinect-v2")
    assert (report.clips, report.refused) == (3, [])
    keys = ("label", "subject", "day", "source")
    assert [[row[key] for key in keys] for row in rows(tmp_path / "out")] == [
        [row[key] for key in keys] for row in rows(tmp_path / "own")
    ]
    both = [tomllib.loads((tmp_path / name / "skeleton.toml").read_text()) for name in ("own", "out")]
    assert both[0]["splits"] == both[1]["splits"] != {}
    assert both[0]["classes"] == both[1]["classes"]
    convert("coco", tmp_path / "in", tmp_path / "at-once", target="kinect-v2")
    np.testing.assert_array_equal(clip(tmp_path / "out", "ann_1")[0], clip(tmp_path / "at-once", "ann_1")[0])


def test_a_folder_with_another_layout_name_and_broken_clips_is_converted(tmp_path: Path) -> None:
    coco_files(tmp_path / "in", "a.json", "b.json")
    convert("coco", tmp_path / "in", tmp_path / "own")
    path = tmp_path / "own" / "skeleton.toml"
    path.write_text(
        path.read_text() + 'name = "mine"\n' if "[" not in path.read_text() else 'name = "mine"\n' + path.read_text()
    )
    (tmp_path / "own" / "clips" / "b.npz").write_bytes(b"PK")
    report = convert("folder", tmp_path / "own", tmp_path / "out", target="kinect-v2")
    assert (report.layout, report.clips, [bad["file"] for bad in report.refused]) == ("kinect-v2", 1, ["b.npz"])
    shutil.rmtree(tmp_path / "out")
    path.write_text(path.read_text().replace('layout = "coco-17"', 'layout = "kinect-v1"'))
    with pytest.raises(SkelepipeError, match=r"none of 2 recordings can be used, nothing written: .*17 joints"):
        convert("folder", tmp_path / "own", tmp_path / "out", target="kinect-v2")


def test_converted_data_becomes_a_store_with_splits_and_confidence(tmp_path: Path) -> None:
    coco_files(tmp_path / "in", *(f"{label}/p{n}_{label}.json" for label in ("wave", "walk") for n in range(3)))
    convert("coco", tmp_path / "in", tmp_path / "own", pattern=r"(?P<subject>p\d)", target="kinect-v2")
    request = IngestRequest(
        dataset="folder", roots=(tmp_path / "own",), output=tmp_path / "s.zarr", recipe=load_recipe("clean")
    )
    assert ingest(request).quarantined == []
    store = Store(tmp_path / "s.zarr")
    assert store.layout == load_layout("kinect-v2")
    assert store.confidence is not None
    np.testing.assert_allclose(store.confidence, 0.25)
    assert [split.name for split in build_splits(store).splits] == ["xsub"]
    assert store.attributes["classes"] == {"0": "walk", "1": "wave"}


def test_links_without_a_file_are_refused_and_the_others_are_converted(tmp_path: Path) -> None:
    write(tmp_path / "in" / "one.json", COCO_FORMS["ultralytics"])
    (tmp_path / "in" / "loop.json").symlink_to("loop.json")
    (tmp_path / "in" / "lost.json").symlink_to("nowhere")
    report = convert("coco", tmp_path / "in", tmp_path / "out")
    assert (report.clips, [bad["name"] for bad in report.refused]) == (1, ["loop", "lost"])
    (tmp_path / "labels.csv").symlink_to("labels.csv")
    with pytest.raises(ConfigError, match=r"labels\.csv: does not exist"):
        convert("coco", tmp_path / "in", tmp_path / "other", labels=tmp_path / "labels.csv")
    (tmp_path / "self").symlink_to("self")
    with pytest.raises(OutputFailed, match="self: cannot be written: Too many levels of symbolic links"):
        convert("coco", tmp_path / "in", tmp_path / "self")
