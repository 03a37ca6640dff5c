"""Data source for MSR Action3D (Li et al. 2010): text files of one person each, 20 joints of Kinect v1.

`a01_s02_e03_skeleton3D.txt` is action 1 by subject 2, third repetition: one row `x y z confidence` per joint, metres in
the sensor's space, 20 rows per frame.
"""

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import RawFileError, SkelepipeError
from pipeline.files import raw_files
from pipeline.skeleton.layout import Layout
from pipeline.skeleton.recording import Recording
from pipeline.skeleton.segments import FrameIndex
from pipeline.sources.source import Entry, Labels, Reading, Refusal, Survey

NAME = re.compile(r"(a(\d\d)_s(\d\d)_e(\d\d))_skeleton3D\.txt", re.IGNORECASE)
MAX_BYTES = 1 << 24
"""Limit for a file; the longest recording has about 100 frames, 80 kB."""
CLASSES = (
    "high arm wave", "horizontal arm wave", "hammer", "hand catch", "forward punch", "high throw", "draw x",
    "draw tick", "draw circle", "hand clap", "two hand wave", "side boxing", "bend", "forward kick", "side kick",
    "jogging", "tennis swing", "tennis serve", "golf swing", "pick up and throw",
)  # fmt: skip
LAYOUT = Layout(
    name="kinect-v1-msr",
    joints=(
        "right_shoulder", "left_shoulder", "shoulders", "spine", "right_hip", "left_hip", "hips", "right_elbow",
        "left_elbow", "right_wrist", "left_wrist", "right_hand", "left_hand", "right_knee", "left_knee",
        "right_ankle", "left_ankle", "right_foot", "left_foot", "head",
    ),
    parents=(2, 2, 3, 6, 6, 6, -1, 0, 1, 7, 8, 9, 10, 4, 5, 13, 14, 15, 16, 2),
    parts={
        "trunk": (2, 3, 6, 19),
        "left_arm": (1, 8, 10, 12),
        "right_arm": (0, 7, 9, 11),
        "left_leg": (5, 14, 16, 18),
        "right_leg": (4, 13, 15, 17),
    },
    centre=2,
    spine=(6, 2),
    shoulders=(1, 0),
)  # fmt: skip


class Msr3dSource:
    """The recordings of MSR Action3D: loose, in folders of any depth, or zipped."""

    name = "msr3d"
    layout = LAYOUT
    frames_per_second: float | None = None  # the authors do not state it
    max_people: int | None = None
    classes = CLASSES
    shared = ""
    columns: tuple[str, ...] = ()
    # The authors' cross-subject test: five of the ten subjects train.
    rules: Mapping[str, Any] = {"xsub": {"train": {"subject": [1, 3, 5, 7, 9]}, "test": {"subject": [2, 4, 6, 8, 10]}}}

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = tuple(roots)

    def survey(self, *, keep_missing: bool) -> Survey:
        """Find the recordings, in order of name.

        Raises:
            SkelepipeError: there is none, or one was found twice.
        """
        found = raw_files.find(self._roots)
        left_out, entries = found.left_out, dict[str, Entry]()
        for file in found.files:
            if not (parts := NAME.fullmatch(file.name)):
                left_out["not aNN_sNN_eNN_skeleton3D.txt"] += 1
            elif (name := parts[1].lower()) in entries:
                raise SkelepipeError(f"{name}: found twice, as {entries[name].file} and {file}; keep one")
            else:
                entries[name] = Entry(name, file)
        if not entries:
            where = ", ".join(map(str, self._roots))
            raise SkelepipeError(f"{where}: no recording of {self.name} there, like a01_s01_e01_skeleton3D.txt")
        return Survey(entries=tuple(entries[name] for name in sorted(entries)), left_out=left_out)

    def read(self, entry: Entry, frame_index: FrameIndex) -> Iterator[Reading | Refusal]:
        """Parse one recording, which gives one clip.

        Raises:
            RawFileError: the file cannot be used.
        """
        action, subject, repetition = (int(number) for number in re.findall(r"\d\d", entry.name))
        if not 1 <= action <= len(CLASSES):
            raise RawFileError(str(entry.file), 0, f"there is no action {action}, only 1 to {len(CLASSES)}")
        if entry.size > MAX_BYTES:
            raise RawFileError(str(entry.file), 0, f"{entry.size:,} bytes; a recording has at most {MAX_BYTES:,}")
        text = raw_files.read(entry.file)
        recording = Recording.from_bodies(entry.name, LAYOUT, _frames(text, str(entry.file)))
        labels = Labels(label=action - 1, subject=subject, replication=repetition)
        yield Reading(recording=recording, labels=labels, crc32=zlib.crc32(text))


def _frames(text: bytes, source: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(1, T, 20, 3) metres.

    Raises:
        RawFileError: a row is not four numbers, or the last frame is not whole.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            x, y, z, _ = map(float, line.split())
        except ValueError as error:
            raise RawFileError(source, number, "expected four numbers: x y z confidence") from error
        rows.append((x, y, z))
    joints = len(LAYOUT.joints)
    if not rows or len(rows) % joints:
        raise RawFileError(
            source, len(rows), f"{len(rows)} rows are not a multiple of {joints}, the joints of a frame; truncated?"
        )
    with np.errstate(over="ignore"):  # 1e39 is infinite in float32: a missing joint
        return np.array(rows, np.float32).reshape(1, -1, joints, 3)
