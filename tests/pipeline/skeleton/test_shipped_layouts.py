"""The layouts that come with skelepipe: whole, as their tools number them, and how one becomes another."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError, LayoutError
from pipeline.skeleton.layout import KINECT_V2
from pipeline.skeleton.shipped_layouts import layout_mapping, layout_names, load_layout
from pipeline.sources.folder.skeleton_toml import read_skeleton_toml

COUNTS = {"kinect-v2": 25, "kinect-v1": 20, "azure-kinect-32": 32, "coco-17": 17, "mediapipe-33": 33, "body-25": 25}
PLACES = {
    # As the tools' own documentation numbers them.
    "coco-17": {"nose": 0, "left_eye": 1, "right_ear": 4, "left_shoulder": 5, "right_wrist": 10, "right_ankle": 16},
    "body-25": {"nose": 0, "neck": 1, "right_shoulder": 2, "left_wrist": 7, "mid_hip": 8, "right_eye": 15,
                "left_big_toe": 19, "left_heel": 21, "right_big_toe": 22, "right_heel": 24},
    "mediapipe-33": {"nose": 0, "left_ear": 7, "mouth_right": 10, "left_shoulder": 11, "right_wrist": 16,
                     "left_pinky": 17, "right_index": 20, "left_hip": 23, "right_heel": 30, "right_foot_index": 32},
    "azure-kinect-32": {"pelvis": 0, "neck": 3, "left_clavicle": 4, "left_thumb": 10, "right_clavicle": 11,
                        "left_hip": 18, "right_foot": 25, "head": 26, "nose": 27, "left_ear": 29, "right_ear": 31},
    "kinect-v1": {"hip_center": 0, "spine": 1, "shoulder_center": 2, "head": 3, "left_shoulder": 4, "right_hand": 11,
                  "left_hip": 12, "left_foot": 15, "right_hip": 16, "right_foot": 19},
}  # fmt: skip


def other(text: str) -> str:
    """The name on the other side."""
    return text.replace("left", "*").replace("right", "left").replace("*", "right")


UNITS = 'units = "m"\n'


def test_there_are_just_these() -> None:
    assert {name: len(load_layout(name).joints) for name in layout_names()} == COUNTS


def test_kinect_v2_is_the_one_that_ntu_has() -> None:
    assert load_layout("kinect-v2") == KINECT_V2


@pytest.mark.parametrize("name", PLACES)
def test_joints_stand_where_the_tool_has_them(name: str) -> None:
    layout = load_layout(name)
    assert {joint: layout.index(joint) for joint in PLACES[name]} == PLACES[name]


@pytest.mark.parametrize("name", COUNTS)
def test_left_and_right_mirror_each_other(name: str) -> None:
    layout = load_layout(name)
    for joint in layout.joints:
        assert other(joint) in layout.joints
    for part, members in layout.parts.items():
        mirrored = {other(layout.joints[joint]) for joint in members}
        assert mirrored == {layout.joints[joint] for joint in layout.parts[other(part)]}
    assert [layout.joints[joint] for joint in layout.shoulders] == ["left_shoulder", "right_shoulder"]


@pytest.mark.parametrize("name", sorted({*COUNTS} - {"kinect-v2"}))
def test_every_layout_becomes_kinect_v2_by_weights_that_mirror(name: str) -> None:
    recast = layout_mapping(name, "kinect-v2")
    assert recast.target == KINECT_V2
    np.testing.assert_allclose(recast.weights.sum(axis=1), 1)
    rows, columns = ([layout.index(other(joint)) for joint in layout.joints] for layout in (KINECT_V2, recast.source))
    np.testing.assert_array_equal(recast.weights, recast.weights[rows][:, columns])
    assert {*recast.made_up} <= {*KINECT_V2.joints}
    for joint, row in zip(KINECT_V2.joints, recast.weights, strict=True):
        same = joint in recast.source.joints and row[recast.source.index(joint)] == 1
        assert not (same and joint in recast.made_up)
        if joint.split("_")[-1] in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") and "spine" not in joint:
            assert same


def test_what_cannot_be_made_is_told_with_what_can() -> None:
    with pytest.raises(
        LayoutError, match="kinect-v2: cannot be converted to coco-17; possible are azure-kinect-32 to kin"
    ):
        layout_mapping("kinect-v2", "coco-17")
    with pytest.raises(
        LayoutError,
        match=r"no layout is called 'coco' .did you mean coco-17.*; there are azure-kinect-32, body-25, coco-17",
    ):
        load_layout("coco")


def test_a_skeleton_may_name_a_shipped_layout(tmp_path: Path) -> None:
    path = tmp_path / "skeleton.toml"
    path.write_text(UNITS + 'layout = "coco-17"\n')
    assert read_skeleton_toml(path).layout == load_layout("coco-17")
    path.write_text(UNITS + 'layout = "kinect-v2"\nname = "ours"\n')
    assert read_skeleton_toml(path).layout.name == "ours"


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ('layout = "coco-17"\ncentre = "nose"', ConfigError, "has layout = 'coco-17' and centre; .* keep one"),
        ('layout = "coco-18"', LayoutError, r"no layout is called 'coco-18' .did you mean coco-17.*; there are azure"),
        ('layout = "../layouts/coco-17"', LayoutError, "no layout is called"),
        ("layout = 17", ConfigError, "layout = 17: input should be a valid string"),
        ("", ConfigError, "'joints' is missing; 'parents' is missing"),
    ],
)
def test_a_layout_that_is_not_clear_is_refused(tmp_path: Path, text: str, error: type[Exception], told: str) -> None:
    path = tmp_path / "skeleton.toml"
    path.write_text(UNITS + text)
    with pytest.raises(error, match=told):
        read_skeleton_toml(path)
