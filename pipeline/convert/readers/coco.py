"""Read files with COCO's 17 keypoints: COCO result lists (Detectron2, AlphaPose), MMPose and Ultralytics results.

- a list of {"image_id", "keypoints": 51 numbers, "score", optionally "idx" or "track_id"}: one entry per person;
- MMPose: {"instance_info": [{"frame_id", "instances": [{"keypoints": [[x, y], ...], "keypoint_scores"}]}]}, or only
  that list;
- Ultralytics: a list of frames, each the output of `Results.to_json()`: [{"keypoints": {"x", "y", "visible"}}, ...]; or
  one frame per line (.jsonl).
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.convert.readers import image_coordinates, json_input
from pipeline.convert.readers.person_tracking import Detections, track_people
from pipeline.convert.tool import ConvertedClip, FoundRecording, Options, Unreadable
from pipeline.files.raw_files import RawFile
from pipeline.skeleton.shipped_layouts import load_layout

LAYOUT = "coco-17"
WHOLE_BODY_COUNTS = (26, 133, 136)
"""Numbers of keypoints of larger models of AlphaPose and MMPose (Halpe, COCO-WholeBody): the first 17 are COCO's."""
ID_KEYS = ("track_id", "idx", "instance_id")

Detection = tuple[int, int | None, NDArray[np.float64], NDArray[np.float64] | None]


def read(found: FoundRecording, options: Options) -> ConvertedClip:
    """Read one video.

    Raises:
        RawFileError: it is not JSON.
        Unreadable: its JSON has another format, or no person is detected.
    """
    layout, detections = load_layout(LAYOUT), Detections()
    entries, frame_range = _entries(found.file)
    for frame, person, joints, scores in sorted(entries, key=lambda entry: entry[0]):
        detections.add(frame, person, joints, scores)
    xyz, confidence = track_people(detections, frame_range)
    return ConvertedClip(layout=layout, xyz=image_coordinates.to_metres(xyz, layout), confidence=confidence)


def _entries(file: RawFile) -> tuple[list[Detection], tuple[int, int] | None]:
    """Return all detections, and the first and last frame number if the file also lists frames without people."""
    if file.suffix.lower() != ".json":
        return _frames([frame for _, frame in json_input.read_lines(file)])
    document = json_input.read(file)
    entries = document.get("instance_info", document.get("annotations")) if isinstance(document, dict) else document
    if not isinstance(entries, list):
        raise Unreadable("expected a list of people or of frames, or MMPose's instance_info")
    meta_info = document.get("meta_info") if isinstance(document, dict) else None
    name = meta_info.get("dataset_name") if isinstance(meta_info, dict) else None
    if isinstance(name, str) and not re.match("coco|halpe", name):
        raise Unreadable(f"its keypoints are those of {name[:40]!r}, expected those of COCO")
    first = next((entry for entry in entries if entry), None)
    if isinstance(first, list):
        return _frames(entries)
    if isinstance(first, dict) and "instances" in first:
        return _instances(entries)
    if isinstance(first, dict) and "image_id" in first:
        return list(_people(entries)), None
    if isinstance(first, dict) and isinstance(first.get("keypoints"), dict):
        raise Unreadable("is one frame of Ultralytics; expected a list of frames: one to_json() after another")
    if first is None:
        raise Unreadable("no person is detected in any frame" if entries else "contains no frame")
    raise Unreadable("is neither a COCO result list, nor of MMPose, nor a list of Ultralytics frames")


def _people(entries: list[Any]) -> Iterator[Detection]:
    """Yield the detections of a COCO result list."""
    images: list[Any] = []
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("image_id"), int | str):
            raise Unreadable("a person without image_id")
        images.append(entry["image_id"])
    frame_of = _frame_numbers(images)
    for entry in entries:
        table = json_input.numbers(entry.get("keypoints"), "keypoints")
        table = table.reshape(-1, 3) if table.ndim == 1 and table.size % 3 == 0 else table
        yield frame_of[entry["image_id"]], _person_id(entry), *_joints(table, None)


def _frame_numbers(images: list[Any]) -> dict[Any, int]:
    """Number the images: by the last number in their names if these are unique, otherwise in the order of names."""
    distinct = list(dict.fromkeys(images))
    digit_groups = {image: re.findall(r"\d{1,18}", str(image)) for image in distinct}
    if all(digit_groups.values()):
        numbers = {image: int(digits[-1]) for image, digits in digit_groups.items()}
        if len({*numbers.values()}) == len(distinct) and max(numbers.values()) < 2**31:
            return numbers
    return {image: index for index, image in enumerate(sorted(distinct, key=str))}


def _instances(frames: list[Any]) -> tuple[list[Detection], tuple[int, int]]:
    """Return the detections of MMPose frames, and the first and last frame number."""
    detections, numbers = list[Detection](), list[int]()
    for index, frame in enumerate(frames):
        number = json_input.integer(frame.get("frame_id")) if isinstance(frame, dict) else None
        instances = frame.get("instances") if isinstance(frame, dict) else None
        if not isinstance(instances, list):
            raise Unreadable(f"frame {index}: expected an object with frame_id and a list of instances")
        numbers.append(index if number is None else number)
        for person in instances:
            if not isinstance(person, dict):
                raise Unreadable(f"frame {numbers[-1]}: an instance that is not an object")
            table = json_input.numbers(person.get("keypoints"), "keypoints")
            if table.ndim == 2 and table.shape[1] == 3:
                raise Unreadable("its keypoints are 3-D, which MMPose writes in Human3.6M's order, not COCO's")
            scores = person.get("keypoint_scores")
            detections.append((numbers[-1], _person_id(person), *_joints(table, scores)))
    return detections, (min(numbers), max(numbers))


def _frames(frames: list[Any]) -> tuple[list[Detection], tuple[int, int]]:
    """Return the detections of Ultralytics frames, and the first and last frame number."""
    detections = list[Detection]()
    for number, frame in enumerate(frames):
        if not isinstance(frame, list):
            raise Unreadable(f"frame {number}: expected a list of detections")
        for person in frame:
            points = person.get("keypoints") if isinstance(person, dict) else None
            if not isinstance(points, dict):
                raise Unreadable(f"frame {number}: a detection without keypoints x and y; use a pose model")
            columns = [json_input.numbers(points.get(axis), f"keypoints.{axis}") for axis in ("x", "y")]
            if columns[0].ndim != 1 or columns[0].shape != columns[1].shape:
                raise Unreadable(f"frame {number}: keypoints x and y are not lists of equal length")
            detections.append((number, _person_id(person), *_joints(np.stack(columns, axis=1), points.get("visible"))))
    return detections, (0, max(0, len(frames) - 1))


def _joints(table: NDArray[np.float64], scores: Any) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return the 17 positions of one person, NaN where missing, and the confidence of each.

    Args:
        table: (V, 2), or (V, 3) with confidence last.
        scores: the confidence if it is stored separately, otherwise None.
    """
    if table.ndim != 2 or table.shape[1] not in (2, 3) or len(table) not in (17, *WHOLE_BODY_COUNTS):
        raise Unreadable(f"keypoints: found {table.shape}, expected 17 of x, y and score")
    confidence = table[:, 2] if table.shape[1] == 3 else None
    if scores is not None:
        confidence = json_input.numbers(scores, "scores")
        if confidence.shape != (len(table),):
            raise Unreadable(f"scores: found {confidence.shape}, expected one for each of {len(table)} keypoints")
    missing = (table[:17, 0] == 0) & (table[:17, 1] == 0)
    return np.where(missing[:, None], np.nan, table[:17, :2]), None if confidence is None else confidence[:17]


def _person_id(entry: dict[str, Any]) -> int | None:
    return next(
        (found for key in ID_KEYS if (found := json_input.integer(entry.get(key))) is not None and found >= 0), None
    )
