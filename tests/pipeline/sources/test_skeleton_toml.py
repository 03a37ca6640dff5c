from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError, LayoutError
from pipeline.sources.folder.skeleton_toml import AXES, FolderSpec, read_skeleton_toml

SMALL = """
name = "small"
units = "cm"
frames_per_second = 50
joints = ["hip", "chest", "head", "left_hand", "right_hand"]
parents = [-1, "hip", 1, "chest", "chest"]
centre = "chest"
spine = ["hip", 2]
shoulders = [3, "right_hand"]

[parts]
trunk = ["hip", "chest", 2]
left = ["left_hand"]
right = [4]

[classes]
names = ["wave", "bow"]

[splits.xsub]
train = { subject = [1, 2], correct = "yes" }
test = { subject = [3] }

[splits.rest]
train = { subject = 1 }
"""


def read(folder: Path, text: str) -> FolderSpec:
    path = folder / "skeleton.toml"
    path.write_text(text, encoding="utf-8")
    return read_skeleton_toml(path)


def edited(old: str, new: str) -> str:
    assert SMALL.count(old) == 1, old
    return SMALL.replace(old, new)


def test_joints_are_given_by_name_or_number(tmp_path: Path) -> None:
    spec = read(tmp_path, SMALL)
    assert spec.layout.to_json() == {
        "name": "small",
        "joints": ["hip", "chest", "head", "left_hand", "right_hand"],
        "parents": [-1, 0, 1, 1, 1],
        "parts": {"trunk": [0, 1, 2], "left": [3], "right": [4]},
        "centre": 1,
        "spine": [0, 2],
        "shoulders": [3, 4],
    }
    assert (spec.per_metre, spec.up, spec.frames_per_second) == (100, "y", 50)
    assert spec.classes == {0: "wave", 1: "bow"}
    assert spec.splits == {
        "xsub": {"train": {"subject": [1, 2], "correct": ["yes"]}, "test": {"subject": [3]}},
        "rest": {"train": {"subject": [1]}, "test": None},
    }


@pytest.mark.parametrize("root", ["-1", '""', "0", '"hip"'])
def test_the_root_may_be_written_in_four_ways(tmp_path: Path, root: str) -> None:
    assert read(tmp_path, edited("[-1,", f"[{root},")).layout.parents == (-1, 0, 1, 1, 1)


def test_name_frame_rate_classes_and_splits_are_optional(tmp_path: Path) -> None:
    text = SMALL.split("[classes]")[0].replace('name = "small"', "").replace("frames_per_second = 50", "")
    spec = read(tmp_path, text)
    assert (spec.layout.name, spec.frames_per_second, spec.classes, spec.splits) == ("folder", None, None, {})


def test_classes_may_be_numbered(tmp_path: Path) -> None:
    assert read(tmp_path, edited('names = ["wave", "bow"]', '1 = "wave"\n7 = "bow"')).classes == {1: "wave", 7: "bow"}


def test_windows_line_ends_and_a_byte_order_mark_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "skeleton.toml").write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert read_skeleton_toml(tmp_path / "skeleton.toml").layout == read(tmp_path, SMALL).layout


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('left = ["left_hand"]', "left = []", "joint left_hand is in no part"),
        ('left = ["left_hand"]', 'left = ["left_hand", "head"]', "joint head is in parts trunk, left"),
        ('left = ["left_hand"]', 'left = ["left_hand", "left_hand"]', "left_hand is in parts left, left"),
        ('left = ["left_hand"]', 'left = ["left_hand"]\nface = []', "part face has no joint"),
        (
            'left = ["left_hand"]',
            'left = ["lefthand"]',
            r"parts\.left: there is no joint 'lefthand' .did you mean left_hand.*; joints are hip, .*",
        ),
        ('[-1, "hip", 1,', '[-1, "head", 1,', "parents of chest form a cycle: chest -> head -> chest"),
        ('[-1, "hip", 1,', '["head", "hip", 1,', "parents of hip form a cycle: hip -> head -> chest -> hip"),
        ('[-1, "hip", 1,', '[-1, "hip", -1,', "exactly one joint has no parent, found hip, head"),
        ('[-1, "hip", 1,', '[-1, "hip", 5,', r"parents\[2\]: there is no joint 5; .* 0\.\.4"),
        ('[-1, "hip", 1,', '[-1, "hip",', "5 joints but 4 parents"),
        ('centre = "chest"', 'centre = "middle"', "centre: there is no joint 'middle'"),
        ('spine = ["hip", 2]', "spine = [2, 2]", "spine: both are head"),
        ("shoulders = [3,", "shoulders = [4,", "shoulders: both are right_hand"),
    ],
)
def test_a_layout_that_contradicts_itself_is_refused_with_the_joint(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(LayoutError, match=rf"skeleton\.toml: .*{message}"):
        read(tmp_path, edited(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'name = "small"',
            'nmae = "small"',
            "'nmae' is unknown .did you mean name.*; it takes name, description, units, up",
        ),
        ('units = "cm"', "", "'units' is missing"),
        ('units = "cm"', 'units = "inch"', "units = 'inch': input should be 'm', 'cm', 'mm'"),
        ('units = "cm"', 'units = "cm"\nup = "w"', "up = 'w': input should be 'y', '-y', 'z'"),
        (
            "frames_per_second = 50",
            "frames_per_second = 0",
            "frames_per_second = 0: input should be greater than or equal to 1",
        ),
        ('"head", "left_hand"', '"hip", "left_hand"', "two joints are called hip"),
        ('centre = "chest"', "centre = true", "centre = True: a joint is a name or a number"),
        ('centre = "chest"', 'centre = "chest', "cannot be read as TOML: .*line 7"),
        ("shoulders = [3,", "shoulders = [3, 2,", "shoulders = .*at most 2 items"),
        ('"wave", "bow"', '"wave", ""', "classes: 1 has no name"),
        ('"wave", "bow"', '"wave", "wave"', "classes: two are called 'wave'"),
        ("names = [", 'names = "wave" # [', "classes: expected names = "),
        ("names = [", "name = [", "classes.name is unknown; it takes names, or labels"),
        ("[splits.rest]", '[splits."../rest"]', "a split cannot be called '../rest'"),
        (
            "train = { subject = 1 }",
            "trian = { subject = 1 }",
            "'splits.rest.trian' is unknown .did you mean train.*; it takes train, test",
        ),
        ("train = { subject = 1 }", "train = {}", r"splits\.rest\.train: names no column"),
        ("train = { subject = 1 }", "train = { subject = [] }", "subject: expected a list of numbers or strings"),
        ("test = { subject = [3] }", "test = { subject = [[3]] }", r"splits\.xsub\.test: subject: expected a list"),
    ],
)
def test_an_invalid_key_is_refused_by_name(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"skeleton\.toml: .*{message}"):
        read(tmp_path, edited(old, new))


def test_binary_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "skeleton.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read as TOML"):
        read_skeleton_toml(tmp_path / "skeleton.toml")


@pytest.mark.parametrize("up", list(AXES))
def test_the_axis_that_points_up_becomes_y_without_reflection(tmp_path: Path, up: str) -> None:
    spec = read(tmp_path, f'up = "{up}"\n{SMALL}')
    turned = spec.metres(100 * np.eye(3))  # the files' x, y and z, a metre each
    np.testing.assert_array_equal(turned["xyz".index(up[-1])], [0, -1 if up[0] == "-" else 1, 0])
    assert np.linalg.det(turned) == pytest.approx(1)


@pytest.mark.parametrize(("units", "factor"), [("m", 1), ("cm", 100), ("mm", 1000), ("millimetres", 1000)])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "i2", "u4", "i8"])
def test_units_become_metres(tmp_path: Path, units: str, factor: int, dtype: str) -> None:
    spec = read(tmp_path, edited('"cm"', f'"{units}"'))
    given = np.array([[1, 20, 300]], dtype)
    metres = spec.metres(given)
    assert metres.dtype == np.float32
    np.testing.assert_array_equal(metres, (given.astype(float) / factor).astype(np.float32))


def test_a_joint_with_one_missing_coordinate_is_missing(tmp_path: Path) -> None:
    spec = read(tmp_path, SMALL)
    given = np.array([[100, np.nan, 1], [1, 2, np.inf], [0, 0, 0], [1e300, 0, 0], [100, 200, 300]])
    np.testing.assert_array_equal(spec.metres(given), [[np.nan] * 3] * 2 + [[0] * 3] + [[np.nan] * 3] + [[1, 2, 3]])


def chain(joints: int) -> str:
    """A body of very many joints, each the child of the previous one."""
    names = [f"j{n}" for n in range(joints)]
    return (
        f'name = "chain"\nunits = "m"\njoints = {names}\nparents = {[*range(-1, joints - 1)]}\ncentre = 0\n'
        f"spine = [0, 1]\nshoulders = [1, 2]\n[parts]\nall = {[*range(joints)]}\n"
    )


@pytest.mark.timeout(60)  # by the square of the file it would be many minutes
def test_many_joints_are_read_quickly_and_too_many_are_refused(tmp_path: Path) -> None:
    assert len(read(tmp_path, chain(1000)).layout.joints) == 1000
    with pytest.raises(ConfigError, match=r"joints = .*: list should have at most 1000 items"):
        read(tmp_path, chain(50_000))


@pytest.mark.timeout(60)  # by the square of the file it would be many minutes
def test_many_classes_are_read_quickly(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(40_000)]
    assert len(read(tmp_path, edited('["wave", "bow"]', str(names))).classes or ()) == 40_000
