"""Synthetic files of other tools: they can be converted, agree with each other, and what is broken is refused."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.skeleton.shipped_layouts import layout_names
from pipeline.synth.synth import write
from pipeline.synth.tools import TOOLS
from tests.pipeline.convert.test_convert import clip, convert, readable, rows

CLIPS, BROKEN = 7, 3


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tools_files_are_converted_and_the_broken_ones_refused(tool: str, tmp_path: Path) -> None:
    summary = write(tool, tmp_path / "raw", clips=CLIPS, seed=1, broken=BROKEN)
    assert (summary.files, summary.performers, len(summary.classes)) == (CLIPS + BROKEN, (1, 2), 6)
    report = convert(tool, tmp_path / "raw", tmp_path / "own", pattern=r"(?P<subject>p\d)_")
    assert (report.clips, report.subjects, len(report.classes)) == (CLIPS, 2, 6)
    assert {bad["file"] for bad in report.refused} == {*summary.broken}
    assert len(readable(tmp_path / "own")) == CLIPS
    if tool in ("bvh", "openpose"):  # a tree of its own; thousands of files
        return
    convert(tool, tmp_path / "raw", tmp_path / "k2", target="kinect-v2")
    for row in rows(tmp_path / "k2"):
        xyz, _ = clip(tmp_path / "k2", Path(row["file"]).stem)
        assert np.nanmedian(xyz[0, :, 3, 1] - xyz[0, :, 0, 1]) > 0.3, "the head is above the pelvis"
        if tool in ("mediapipe", "azure-kinect", "kinect-v1"):
            left, up = np.nanmean(xyz[0, :, 4] - xyz[0, :, 8], axis=0), np.array([0, 1, 0])
            ahead = np.nanmean(xyz[0, :, 15] - xyz[0, :, 14], axis=0)
            assert ahead @ np.cross(left, up) > 0, "feet point to where left and up say that ahead is"


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for out, seed in (("a", 3), ("b", 3), ("c", 4)):
        write("coco", tmp_path / out, clips=3, seed=seed)
    a, b, c = (sorted((p.name, p.read_bytes()) for p in (tmp_path / out).rglob("*.json")) for out in "abc")
    assert a == b
    assert a != c


def test_every_layout_of_a_tool_has_synthetic_joints() -> None:
    assert {*TOOLS} == {"mediapipe", "openpose", "coco", "azure-kinect", "kinect-v1", "bvh"}
    assert len(layout_names()) == len(TOOLS)  # a layout each, but for BVH's own tree, and Kinect v2's
