"""Azure Kinect's offline_processor: one JSON a recording, joints in millimetres, ids for people."""

from typing import Any

import numpy as np

from pipeline.convert.readers import json_input
from pipeline.convert.readers.person_tracking import Detections, track_people
from pipeline.convert.take import ConvertedClip, FoundRecording, Options, Unreadable
from pipeline.skeleton.shipped_layouts import load_layout

LAYOUT = "azure-kinect-32"
SURE = ("joint_confidence_levels", "confidence_levels", "joint_confidences", "confidences", "confidence")
"""Where versions that people have changed put k4abt_joint_confidence_level_t; Microsoft's own sample leaves it out."""
HIGHEST = 3
"""K4ABT_JOINT_CONFIDENCE_HIGH."""


def read(found: FoundRecording, options: Options) -> ConvertedClip:
    """The people of one recording: x to the right of the picture, y down, z away, in the depth camera's space.

    Raises:
        RawFileError: it is no JSON.
        Unreadable: it is other JSON, or nobody is seen in it.
    """
    layout, seen, span = load_layout(LAYOUT), Detections(), list[int]()
    document = json_input.read(found.file)
    frames = document.get("frames") if isinstance(document, dict) else None
    if not isinstance(frames, list):
        raise Unreadable("has no list frames, as the output of offline_processor has")
    for place, frame in enumerate(frames):
        people = frame.get("bodies") if isinstance(frame, dict) else None
        if not isinstance(people, list):
            raise Unreadable(f"frame {place}: has no list bodies")
        number = json_input.whole(frame.get("frame_id"))
        span.append(place if number is None else number)
        if place and span[-1] < span[-2]:
            raise Unreadable(f"frame {span[-1]} stands after frame {span[-2]}")
        for person in people:
            joints = _positions(person, span[-1], len(layout.joints))
            levels = next((person[key] for key in SURE if key in person), None)
            sure = None if levels is None else json_input.numbers(levels, "confidence") / HIGHEST
            if sure is not None and sure.shape != (len(joints),):
                raise Unreadable(f"frame {span[-1]}: expected a confidence for each of {len(joints)} joints")
            seen.add(span[-1], json_input.whole(person.get("body_id")), joints, sure)
    if not span:
        raise Unreadable("holds no frame")
    xyz, confidence = track_people(seen, (span[0], span[-1]))
    return ConvertedClip(layout=layout, xyz=(xyz / 1000 * (1, -1, -1)).astype(np.float32), confidence=confidence)


def _positions(person: Any, frame: int, joints: int) -> Any:
    if not isinstance(person, dict):
        raise Unreadable(f"frame {frame}: a body that is no object")
    table = json_input.numbers(person.get("joint_positions"), f"frame {frame}: joint_positions")
    if table.shape != (joints, 3):
        raise Unreadable(f"frame {frame}: joint_positions has shape {table.shape}, expected {(joints, 3)}")
    return np.where((table == 0).all(axis=1, keepdims=True), np.nan, table)
