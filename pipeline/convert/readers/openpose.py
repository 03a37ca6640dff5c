"""OpenPose's --write_json: a file a frame, BODY_25, people in no order."""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.convert.readers import image_coordinates, json_input
from pipeline.convert.readers.person_tracking import Detections, track_people
from pipeline.convert.take import ConvertedClip, FoundRecording, Options, Unreadable
from pipeline.errors import RawFileError
from pipeline.files.raw_files import RawFile
from pipeline.skeleton.shipped_layouts import load_layout

LAYOUT = "body-25"
_NAME = re.compile(r"(?P<video>.*?)_?(?P<frame>\d{1,15})?_keypoints\.json", re.IGNORECASE)


def find(files: Sequence[RawFile]) -> list[FoundRecording]:
    """The videos that files `VIDEO_000000000012_keypoints.json` are the frames of, folder by folder."""
    videos: defaultdict[tuple[str, str], list[tuple[int, RawFile]]] = defaultdict(list)
    for file in files:
        if match := _NAME.fullmatch(file.name):
            held = videos[str(FoundRecording("", (file,)).inner.parent), match["video"] if match["frame"] else ""]
            held.append((int(match["frame"]) if match["frame"] else len(held), file))
    out = []
    for (folder, video), frames in videos.items():
        frames.sort(key=lambda frame: (frame[0], str(frame[1])))
        name = video or folder.rstrip("/").rpartition("/")[2] or "video"
        out.append(FoundRecording(name, tuple(file for _, file in frames), tuple(number for number, _ in frames)))
    return out


def read(found: FoundRecording, options: Options) -> ConvertedClip:
    """The people of one video.

    Raises:
        RawFileError: a frame is none of OpenPose's.
        Unreadable: nobody is seen.
    """
    layout, seen = load_layout(LAYOUT), Detections()
    for number, file in zip(found.numbers, found.files, strict=True):
        try:
            _note(json_input.read(file), number, seen, len(layout.joints))
        except Unreadable as error:
            raise RawFileError(str(file), 0, str(error)) from error
    xyz, sure = track_people(seen, (found.numbers[0], found.numbers[-1]))
    return ConvertedClip(layout=layout, xyz=image_coordinates.metres(xyz, layout), confidence=sure)


def _note(frame: Any, number: int, seen: Detections, joints: int) -> None:
    """Note the people of one frame."""
    people = frame.get("people") if isinstance(frame, dict) else None
    if not isinstance(people, list):
        raise Unreadable("has no list people, as OpenPose's frames have")
    for person in people:
        if not isinstance(person, dict):
            raise Unreadable("a person that is no object")
        found = person.get("pose_keypoints_2d", person.get("pose_keypoints"))
        values = json_input.numbers(found, "pose_keypoints_2d")
        if not values.size:  # only a face or a hand
            continue
        if values.shape != (3 * joints,):
            raise Unreadable(
                f"pose_keypoints_2d: {values.size / 3:.4g} keypoints, expected the {joints} of BODY_25 "
                "(OpenPose's --model_pose BODY_25)"
            )
        points = values.reshape(joints, 3)
        missing = (points[:, 0] == 0) & (points[:, 1] == 0)
        ident = json_input.whole(person.get("person_id"))
        known = None if ident is None or ident < 0 else ident
        seen.add(number, known, np.where(missing[:, None], np.nan, points[:, :2]), points[:, 2])
