"""Read the output of Azure Kinect's offline_processor: one JSON per recording, in millimetres, with body ids."""

from typing import Any

import numpy as np

from pipeline.convert.readers import json_input
from pipeline.convert.readers.person_tracking import Detections, track_people
from pipeline.convert.tool import ConvertedClip, FoundRecording, Options, Unreadable
from pipeline.skeleton.shipped_layouts import load_layout

LAYOUT = "azure-kinect-32"
CONFIDENCE_KEYS = ("joint_confidence_levels", "confidence_levels", "joint_confidences", "confidences", "confidence")
"""Keys of k4abt_joint_confidence_level_t in modified versions of the sample; Microsoft's own sample omits it."""
MAX_LEVEL = 3
"""K4ABT_JOINT_CONFIDENCE_HIGH."""


def read(found: FoundRecording, options: Options) -> ConvertedClip:
    """Read one recording. The file's axes are the depth camera's: x to the right of the image, y down, z forward.

    Raises:
        RawFileError: it is not JSON.
        Unreadable: it is other JSON, or no person is detected.
    """
    layout, detections, numbers = load_layout(LAYOUT), Detections(), list[int]()
    document = json_input.read(found.file)
    frames = document.get("frames") if isinstance(document, dict) else None
    if not isinstance(frames, list):
        raise Unreadable("has no list frames, unlike the output of offline_processor")
    for index, frame in enumerate(frames):
        people = frame.get("bodies") if isinstance(frame, dict) else None
        if not isinstance(people, list):
            raise Unreadable(f"frame {index}: has no list bodies")
        number = json_input.integer(frame.get("frame_id"))
        numbers.append(index if number is None else number)
        if index and numbers[-1] < numbers[-2]:
            raise Unreadable(f"frame {numbers[-1]} comes after frame {numbers[-2]}")
        for person in people:
            joints = _positions(person, numbers[-1], len(layout.joints))
            levels = next((person[key] for key in CONFIDENCE_KEYS if key in person), None)
            scores = None if levels is None else json_input.numbers(levels, "confidence") / MAX_LEVEL
            if scores is not None and scores.shape != (len(joints),):
                raise Unreadable(f"frame {numbers[-1]}: expected a confidence for each of {len(joints)} joints")
            detections.add(numbers[-1], json_input.integer(person.get("body_id")), joints, scores)
    if not numbers:
        raise Unreadable("contains no frame")
    xyz, confidence = track_people(detections, (numbers[0], numbers[-1]))
    return ConvertedClip(layout=layout, xyz=(xyz / 1000 * (1, -1, -1)).astype(np.float32), confidence=confidence)


def _positions(person: Any, frame: int, joints: int) -> Any:
    if not isinstance(person, dict):
        raise Unreadable(f"frame {frame}: a body that is not an object")
    table = json_input.numbers(person.get("joint_positions"), f"frame {frame}: joint_positions")
    if table.shape != (joints, 3):
        raise Unreadable(f"frame {frame}: joint_positions has shape {table.shape}, expected {(joints, 3)}")
    return np.where((table == 0).all(axis=1, keepdims=True), np.nan, table)
