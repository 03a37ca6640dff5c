"""Long .csv files: a row per frame, person and joint."""

import io

import numpy as np
import pytest

from pipeline.errors import RawFileError
from pipeline.skeleton.layout import KINECT_V2
from pipeline.sources.folder.csv_table import MAX_FRAMES, Table, read_csv


def read(text: str) -> Table:
    return read_csv(io.BytesIO(text.encode()), "a.csv", KINECT_V2)


def test_a_long_table_gives_the_same_bodies_as_its_numbers() -> None:
    """Rows in any order, people by text, other columns ignored; what has no row is missing."""
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(2, 4, 25, 3)).round(3)
    rows = [
        f"{xyz[m, t, v, 2]};{joint.replace('_', ' ').title()};{t + 7};{('ann', 'bob')[m]};{xyz[m, t, v, 0]};"
        f"{xyz[m, t, v, 1]};0.9"
        for m in range(2)
        for t in range(4)
        for v, joint in enumerate(KINECT_V2.joints)
        if (m, t, v) != (1, 2, 3)
    ]
    rng.shuffle(rows)
    found = read("\ufeffZ;Joint;Frame;Person;X;Y;score\r\n" + "\r\n".join(rows) + "\r\n\r\n")
    xyz[1, 2, 3] = np.nan
    np.testing.assert_array_equal(found.bodies, xyz)
    assert found.first == 7


def test_joints_may_be_numbers_and_positions_two_dimensional() -> None:
    found = read("frame,joint_id,x,y\n0,24,1,2\n1,0,3,\n")
    assert found.bodies.shape == (1, 2, 25, 2)
    np.testing.assert_array_equal(found.bodies[0, 0, 24], [1, 2])
    np.testing.assert_array_equal(found.bodies[0, 1, 0], [3, np.nan])


def test_people_are_sorted_as_numbers() -> None:
    found = read("frame,track_id,joint,x,y,z\n0,10,head,1,1,1\n0,9,head,2,2,2\n")
    np.testing.assert_array_equal(found.bodies[:, 0, KINECT_V2.index("head"), 0], [2, 1])


@pytest.mark.parametrize(
    ("rows", "line", "reason"),
    [
        ("1,heda,1,2,3", 2, "joint 'heda' is not in layout kinect-v2 (did you mean head?); it has 25 joints"),
        ("1,25,1,2,3", 2, "joint '25' is not in layout"),
        ("1,head,1,2,3\n1,Head,1,2,3", 3, "repeats a joint of this frame and person of an earlier line"),
        ("1.5,head,1,2,3", 2, "frame '1.5' is not a whole number"),
        (",head,1,2,3", 2, "frame '' is not a whole number"),
        ("1,head,1,two,3", 2, "y 'two' is not a number"),
        ('1,head,1,"2,5",3', 2, "y '2,5' is not a number; write a decimal point"),
        ("1,head,1,2", 2, "4 fields, the first line has 5"),
        ("", 0, "has no row of numbers"),
        (f"0,head,1,2,3\n{MAX_FRAMES},head,1,2,3", 1, "its frames are numbered over a span of 100,001"),
    ],
)
def test_a_wrong_row_is_named_with_its_line(rows: str, line: int, reason: str) -> None:
    with pytest.raises(RawFileError) as caught:
        read(f"frame,joint,x,y,z\n{rows}\n")
    assert (caught.value.line, caught.value.reason[: len(reason)]) == (line, reason)


def test_a_table_of_several_recordings_is_explained() -> None:
    with pytest.raises(RawFileError) as caught:
        read("trial,mood,frame,joint,x,y,z\na,1,0,head,1,2,3\nb,1,0,head,1,2,3\n")
    assert (caught.value.line, "several recordings (trial, mood), write one file" in caught.value.reason) == (3, True)
