"""Read OpenPose's --write_json output: one file per frame, BODY_25 keypoints, people in arbitrary order."""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.convert.readers import image_coordinates, json_input
from pipeline.convert.readers.person_tracking import Detections, track_people
from pipeline.convert.tool import ConvertedClip, FoundRecording, Options, Unreadable
from pipeline.errors import RawFileError
from pipeline.files.raw_files import RawFile
from pipeline.skeleton.shipped_layouts import load_layout

LAYOUT = "body-25"
_NAME = re.compile(r"(?P<video>.*?)_?(?P<frame>\d{1,15})?_keypoints\.json", re.IGNORECASE)


def find(files: Sequence[RawFile]) -> list[FoundRecording]:
    """Group files named `VIDEO_000000000012_keypoints.json` into videos, separately for each folder."""
    videos: defaultdict[tuple[str, str], list[tuple[int, RawFile]]] = defaultdict(list)
    for file in files:
        if match := _NAME.fullmatch(file.name):
            frames = videos[str(FoundRecording("", (file,)).inner.parent), match["video"] if match["frame"] else ""]
            frames.append((int(match["frame"]) if match["frame"] else len(frames), file))
    recordings = []
    for (folder, video), frames in videos.items():
        frames.sort(key=lambda frame: (frame[0], str(frame[1])))
        name = video or folder.rstrip("/").rpartition("/")[2] or "video"
        recordings.append(
            FoundRecording(name, tuple(file for _, file in frames), tuple(number for number, _ in frames))
        )
    return recordings


def read(found: FoundRecording, options: Options) -> ConvertedClip:
    """Read one video.

    Raises:
        RawFileError: a frame is not in OpenPose's format.
        Unreadable: no person is detected.
    """
    layout, detections = load_layout(LAYOUT), Detections()
    for number, file in zip(found.numbers, found.files, strict=True):
        try:
            _add_people(json_input.read(file), number, detections, len(layout.joints))
        except Unreadable as error:
            raise RawFileError(str(file), 0, str(error)) from error
    xyz, confidence = track_people(detections, (found.numbers[0], found.numbers[-1]))
    return ConvertedClip(layout=layout, xyz=image_coordinates.to_metres(xyz, layout), confidence=confidence)


def _add_people(frame: Any, number: int, detections: Detections, joints: int) -> None:
    """Add the people of one frame to `detections`."""
    people = frame.get("people") if isinstance(frame, dict) else None
    if not isinstance(people, list):
        raise Unreadable("has no list people, as frames of OpenPose have")
    for person in people:
        if not isinstance(person, dict):
            raise Unreadable("a person that is not an object")
        keypoints = person.get("pose_keypoints_2d", person.get("pose_keypoints"))
        values = json_input.numbers(keypoints, "pose_keypoints_2d")
        if not values.size:  # only a face or a hand
            continue
        if values.shape != (3 * joints,):
            raise Unreadable(
                f"pose_keypoints_2d: {values.size / 3:.4g} keypoints, expected the {joints} of BODY_25 "
                "(OpenPose's --model_pose BODY_25)"
            )
        points = values.reshape(joints, 3)
        missing = (points[:, 0] == 0) & (points[:, 1] == 0)
        person_id = json_input.integer(person.get("person_id"))
        known_id = None if person_id is None or person_id < 0 else person_id
        detections.add(number, known_id, np.where(missing[:, None], np.nan, points[:, :2]), points[:, 2])
