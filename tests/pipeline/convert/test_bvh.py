"""BVH: trees by hand, forward kinematics against known angles and a slow twin, limbs by name, and hostile files."""

import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.convert.readers import bvh, bvh_limbs
from pipeline.errors import LayoutError, RawFileError, SkelepipeError
from pipeline.synth.bvh import bvh_text as synthetic
from pipeline.synth.motion import draw_person, perform
from pipeline.synth.roles import roles
from tests.pipeline.convert.test_convert import clip, convert, readable, write

ARM = """HIERARCHY
ROOT Hips
{
\tOFFSET 0 0 0
\tCHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
\tJOINT Upper Arm
\t{
\t\tOFFSET 1 0 0
\t\tCHANNELS 3 zrotation xrotation yrotation
\t\tEnd Site
\t\t{
\t\t\tOFFSET 0 2 0
\t\t}
\t}
}
MOTION
Frames: 2
Frame Time: 0.0333333
"""
REST = " ".join(["0"] * 9)


def test_known_angles_rotate_bones_as_expected() -> None:
    nodes, values, rate = bvh.parse(ARM + f"{REST}\n10 20 30 90 0 0 0 90 0\n", "a.bvh")
    assert [(node.name, node.parent) for node in nodes] == [("Hips", -1), ("Upper Arm", 0), ("Upper Arm_end", 1)]
    assert rate == pytest.approx(30, rel=1e-4)
    xyz = bvh.positions(nodes, values)
    np.testing.assert_allclose(xyz[0], [[0, 0, 0], [1, 0, 0], [1, 2, 0]], atol=1e-12)
    # The root's quarter turn about z takes x to y; the arm's quarter turn about its own x takes its y to z.
    np.testing.assert_allclose(xyz[1], [[10, 20, 30], [10, 21, 30], [10, 21, 32]], atol=1e-12)


@pytest.mark.parametrize("order", ["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"])
def test_rotations_are_applied_in_the_order_of_the_channels(order: str) -> None:
    channels = " ".join(f"{axis}rotation" for axis in order)
    text = ARM.replace("Zrotation Xrotation Yrotation", channels).replace("Frames: 2", "Frames: 1")
    angles = {"X": 20.0, "Y": -35.0, "Z": 50.0}
    row = ["0"] * 3 + [str(angles[axis]) for axis in order] + ["0"] * 3
    nodes, values, _ = bvh.parse(text + " ".join(row) + "\n", "a.bvh")
    point = np.array([1.0, 2.0, 0.0])  # from the root, as the arm lies
    for axis in reversed(order):  # the last channel is the innermost turn
        point = turn(axis, angles[axis], point)
    np.testing.assert_allclose(bvh.positions(nodes, values)[0, 2], point, atol=1e-12)


def turn(axis: str, degrees: float, point: NDArray[np.float64]) -> NDArray[np.float64]:
    """A point turned about an axis, written out."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y, z = point
    return np.array(
        {
            "X": (x, c * y - s * z, s * y + c * z),
            "Y": (c * x + s * z, y, c * z - s * x),
            "Z": (c * x - s * y, s * x + c * y, z),
        }[axis]
    )


def twin(nodes: list[bvh.Node], values: list[float]) -> list[NDArray[np.float64]]:
    """Where all joints are in one frame: each point of the tree is carried up to the root, turn by turn."""
    columns, at = [], 0
    for node in nodes:
        columns.append(dict(zip(node.channels, values[at : at + len(node.channels)], strict=True)))
        at += len(node.channels)
    out = []
    for joint in range(len(nodes)):
        point, here = np.zeros(3), joint
        while here >= 0:
            for channel in reversed(nodes[here].channels):
                if channel.endswith("rotation"):
                    point = turn(channel[0], columns[here][channel], point)
            moved = [columns[here].get(f"{axis}position", 0.0) for axis in "XYZ"]
            point = point + nodes[here].offset + moved
            here = nodes[here].parent
        out.append(point)
    return out


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_forward_kinematics_equals_a_slow_twin(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 6))
    number = st.floats(-180, 180, allow_nan=False).map(lambda x: round(x, 3))
    nodes = []
    for at in range(count):
        turns = data.draw(st.permutations(["Xrotation", "Yrotation", "Zrotation"]))
        moves = ["Xposition", "Yposition", "Zposition"] if at == 0 else []
        parent = data.draw(st.integers(0, at - 1)) if at else -1
        offset = np.array(data.draw(st.lists(number, min_size=3, max_size=3)))
        nodes.append(bvh.Node(f"j{at}", parent, offset, data.draw(st.permutations([*turns, *moves]))))
    channels = sum(len(node.channels) for node in nodes)
    values = data.draw(st.lists(number, min_size=channels, max_size=channels))
    np.testing.assert_allclose(bvh.positions(nodes, np.array([values]))[0], twin(nodes, values), atol=1e-8)


def test_position_channels_that_repeat_the_offset_are_absolute() -> None:
    # As suits of sensors write them: each joint's position channels say its offset over again.
    text = ARM.replace("CHANNELS 3 zrotation", "CHANNELS 6 Xposition Yposition Zposition zrotation")
    nodes, values, _ = bvh.parse(text + "0 0 0 0 0 0 1 0 0 0 0 0\n0 0 0 0 0 0 0.9 0.1 0 0 0 0\n", "a.bvh")
    np.testing.assert_allclose(bvh.positions(nodes, values)[:, 1], [[1, 0, 0], [0.9, 0.1, 0]])
    nodes, values, _ = bvh.parse(text + f"{REST} 0 0 0\n0 0 0 0 0 0 0.1 0 0 0 0 0\n", "a.bvh")
    np.testing.assert_allclose(bvh.positions(nodes, values)[:, 1], [[1, 0, 0], [1.1, 0, 0]])


TREES = {
    "vicon": "Hips ToSpine:Hips Spine:ToSpine Chest:Spine Neck:Chest Head:Neck "
    "LeftCollar:Chest LeftShoulder:LeftCollar LeftElbow:LeftShoulder LeftWrist:LeftElbow "
    "RightCollar:Chest RightShoulder:RightCollar RightElbow:RightShoulder RightWrist:RightElbow "
    "LeftHip:Hips LeftKnee:LeftHip LeftAnkle:LeftKnee RightHip:Hips RightKnee:RightHip RightAnkle:RightKnee",
    "cmu": "Hips LHipJoint:Hips LeftUpLeg:LHipJoint LeftLeg:LeftUpLeg LeftFoot:LeftLeg LeftToeBase:LeftFoot "
    "RHipJoint:Hips RightUpLeg:RHipJoint RightLeg:RightUpLeg RightFoot:RightLeg RightToeBase:RightFoot "
    "LowerBack:Hips Spine:LowerBack Spine1:Spine Neck:Spine1 Neck1:Neck Head:Neck1 "
    "LeftShoulder:Spine1 LeftArm:LeftShoulder LeftForeArm:LeftArm LeftHand:LeftForeArm LThumb:LeftHand "
    "LeftFingerBase:LeftHand LeftHandIndex1:LeftFingerBase "
    "RightShoulder:Spine1 RightArm:RightShoulder RightForeArm:RightArm RightHand:RightForeArm RThumb:RightHand",
    "asf": "root lhipjoint:root lfemur:lhipjoint ltibia:lfemur lfoot:ltibia ltoes:lfoot rhipjoint:root "
    "rfemur:rhipjoint rtibia:rfemur lowerback:root upperback:lowerback thorax:upperback lowerneck:thorax "
    "head:lowerneck lclavicle:thorax lhumerus:lclavicle lradius:lhumerus lwrist:lradius lhand:lwrist "
    "rclavicle:thorax rhumerus:rclavicle rradius:rhumerus rwrist:rradius",
    "rigs": "pelvis spine_01:pelvis spine_03:spine_01 neck_01:spine_03 head:neck_01 "
    "clavicle_l:spine_03 upperarm_l:clavicle_l lowerarm_l:upperarm_l hand_l:lowerarm_l "
    "clavicle_r:spine_03 upperarm_r:clavicle_r lowerarm_r:upperarm_r hand_r:lowerarm_r "
    "thigh_l:pelvis calf_l:thigh_l foot_l:calf_l ball_l:foot_l "
    "thigh_r:pelvis calf_r:thigh_r foot_r:calf_r ball_r:foot_r",
}
TOLD = {
    "vicon": ("Chest", "LeftShoulder", "RightShoulder"),
    "cmu": ("Spine1", "LeftArm", "RightArm"),
    "asf": ("thorax", "lhumerus", "rhumerus"),
    "rigs": ("spine_03", "upperarm_l", "upperarm_r"),
}
"""Of each tree the centre and the shoulders."""


@pytest.mark.parametrize("prefix", ["", "mixamorig:"])
@pytest.mark.parametrize("name", TREES)
def test_limbs_spine_and_shoulders_are_found_by_name(name: str, prefix: str) -> None:
    pairs = [joint.partition(":")[::2] for joint in TREES[name].split()]
    joints = [joint for joint, _ in pairs]
    parents = [joints.index(parent) if parent else -1 for _, parent in pairs]
    layout = bvh_limbs.limbs_of_tree([prefix + joint for joint in joints], parents)
    assert tuple(joints[joint] for joint in (layout.centre, *layout.shoulders)) == TOLD[name]
    assert layout.spine == (0, layout.centre)
    for part, members in layout.parts.items():
        side = {"left": "l", "right": "r"}.get(part.split("_")[0])
        for joint in members:
            words = joints[joint].lower()
            if side:
                assert words.startswith(side) or words.endswith(f"_{side}"), (part, joints[joint])
    trunk = {joints[joint].lower() for joint in layout.parts["trunk"]}
    assert {joints[0].lower(), "head"} <= trunk
    assert not any(word in joint for joint in trunk for word in ("arm", "leg", "foot", "hand", "humerus", "knee"))


def test_unclear_joint_names_are_refused_with_a_remedy() -> None:
    with pytest.raises(
        LayoutError, match=r"no left arm and no right arm.*give it with --skeleton; the joints are a, b"
    ):
        bvh_limbs.limbs_of_tree(["a", "b", "LeftLeg", "RightLeg"], [-1, 0, 0, 0])
    with pytest.raises(LayoutError, match="its arms branch at the root a"):
        bvh_limbs.limbs_of_tree(["a", "LeftArm", "RightArm", "LeftLeg", "RightLeg"], [-1, 0, 0, 0, 0])


def body(seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return perform(roles(2)[0], draw_person(rng), 20, rng)


@pytest.mark.parametrize("units", [None, "cm"])
def test_a_whole_body_is_converted_to_metres(units: str | None, tmp_path: Path) -> None:
    write(tmp_path / "in" / "one.bvh", synthetic(body()).replace("\n", "\r\n"))
    report = convert("bvh", tmp_path / "in", tmp_path / "out", units=units)
    assert (report.clips, report.joints) == (1, 22)
    assert any("units are assumed to be cm" in note for note in report.notes) == (units is None)
    xyz, sure = clip(tmp_path / "out", "one")
    assert sure is None
    spec = tomllib.loads((tmp_path / "out" / "skeleton.toml").read_text())
    hips, left = (spec["joints"].index(name) for name in ("Hips", "LeftUpLeg"))
    np.testing.assert_allclose(xyz[0, :, hips], body()[:, 0], atol=1e-4)
    np.testing.assert_allclose(xyz[0, :, left], body()[:, 12], atol=0.03)
    assert spec["spine"] == ["Hips", "Chest"]
    assert len(readable(tmp_path / "out")) == 1


def test_z_up_is_rotated_to_y_up(tmp_path: Path) -> None:
    write(tmp_path / "in" / "one.bvh", synthetic(body()))
    convert("bvh", tmp_path / "in", tmp_path / "y")
    convert("bvh", tmp_path / "in", tmp_path / "z", up="z", units="cm")
    y, z = (clip(tmp_path / out, "one")[0] for out in ("y", "z"))
    np.testing.assert_allclose(z, np.stack([y[..., 0], y[..., 2], -y[..., 1]], axis=-1), atol=1e-6)


def test_a_tree_with_unclear_names_is_read_with_a_skeleton_file(tmp_path: Path) -> None:
    write(tmp_path / "in" / "one.bvh", ARM.replace("Upper Arm", "b").replace("Hips", "a") + f"{REST}\n{REST}\n")
    with pytest.raises(SkelepipeError, match=r"no left arm.*--skeleton; the joints are a, b, b_end"):
        convert("bvh", tmp_path / "in", tmp_path / "out")
    skeleton = write(
        tmp_path / "s.toml",
        'joints = ["a", "b", "b_end"]\nparents = ["", "a", "b"]\ncentre = "b"\nspine = ["a", "b"]\n'
        'shoulders = ["a", "b_end"]\n[parts]\nall = ["a", "b", "b_end"]\n',
    )
    report = convert("bvh", tmp_path / "in", tmp_path / "out", skeleton=skeleton, units="m")
    assert (report.clips, report.joints) == (1, 3)
    write(tmp_path / "in" / "two.bvh", synthetic(body()))
    report = convert("bvh", tmp_path / "in", tmp_path / "both", skeleton=skeleton, units="m")
    assert [bad["file"] for bad in report.refused] == ["two.bvh"]
    assert "its joints differ from those of --skeleton" in report.refused[0]["reason"]


def test_files_with_another_tree_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.bvh", synthetic(body()))
    write(tmp_path / "in" / "b.bvh", synthetic(body()).replace("Spine", "Belly"))
    report = convert("bvh", tmp_path / "in", tmp_path / "out")
    assert [bad["file"] for bad in report.refused] == ["b.bvh"]
    assert (
        "another skeleton than the first recording: 22 joints instead of 22, such as Belly"
        in (report.refused[0]["reason"])
    )


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("HIERARCHY", "HIER", 1, "expected HIERARCHY, found 'HIER'"),
        ("OFFSET 1 0 0", "OFFSET 1 0", 9, "'CHANNELS' is not a number"),
        ("OFFSET 1 0 0", "OFFSET 1 nan 0", 8, "'nan' is not a number"),
        ("CHANNELS 3", "CHANNELS 7", 9, "7 channels, expected at most 6"),
        ("zrotation", "wrotation", 9, "'wrotation' is not a channel"),
        ("JOINT Upper Arm", "JOINT", 6, "JOINT without a name"),
        ("End Site", "JOINT Hips", 0, "two joints are called Hips"),
        ("}\nMOTION", "}\nROOT Second\n{\nOFFSET 0 0 0\n}\nMOTION", 16, "has a second ROOT"),
        ("Frames: 2", "Frames: 3", 20, "2 frames, expected 3; the file is truncated"),
        ("Frames: 2", "Frames: 1", 20, "2 frames, expected 1"),
        ("Frames: 2", "Frames: many", 17, "expected Frames: N"),
        ("Frame Time: 0.0333333", "Frame Time: 0", 18, "a frame time of 0 s"),
        (f"{REST}\nx", "1\nx", 19, "1 values, the joints have 9 channels"),
        (f"{REST}\nx", f"{REST}\n{REST[:-1]}1e999\nx", 20, "a value is not finite"),
        (f"{REST}\nx", f"{REST[:-1]}\x1b[31m\nx", 19, "a value is not a number"),
        ("MOTION", "", 17, "expected MOTION or ROOT, found 'Frames:'"),
        ("{", "", 0, "expected|without a name"),
    ],
)  # fmt: skip
def test_an_invalid_bvh_is_refused_with_the_line(old: str, new: str, line: int, told: str) -> None:
    text = (ARM + f"{REST}\nx").replace(old, new, 1).replace("\nx", f"\n{REST}\n")
    with pytest.raises(RawFileError, match=told) as refused:
        bvh.parse(text, "a.bvh")
    assert not line or refused.value.line == line
    assert str(refused.value).isprintable()


def test_a_tree_without_end_and_too_many_joints_are_refused() -> None:
    deep = "HIERARCHY\n" + "".join(f"{'JOINT' if n else 'ROOT'} j{n}\n{{\nOFFSET 0 0 0\n" for n in range(1100))
    with pytest.raises(RawFileError, match="more than 1000 joints"):
        bvh.parse(deep, "a.bvh")
    with pytest.raises(RawFileError, match="found the end of the file"):
        bvh.parse("HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\n", "a.bvh")
