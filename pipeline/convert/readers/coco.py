"""COCO's 17 keypoints: result lists (Detectron2, AlphaPose), MMPose's predictions, Ultralytics' results frame by frame.

- a list of {"image_id", "keypoints": 51 numbers, "score", perhaps "idx" or "track_id"}: one entry a person;
- MMPose: {"instance_info": [{"frame_id", "instances": [{"keypoints": [[x, y], ...], "keypoint_scores"}]}]}, or that
  list alone;
- Ultralytics: a list of frames, each what `Results.to_json()` gives: [{"keypoints": {"x", "y", "visible"}}, ...]; or a
  frame a line (.jsonl).
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.convert.readers import image_coordinates, json_input
from pipeline.convert.readers.person_tracking import Detections, track_people
from pipeline.convert.take import ConvertedClip, FoundRecording, Options, Unreadable
from pipeline.files.raw_files import RawFile
from pipeline.skeleton.shipped_layouts import load_layout

LAYOUT = "coco-17"
WHOLE_BODY = (26, 133, 136)
"""Keypoints of AlphaPose's and MMPose's larger models (Halpe, COCO-WholeBody): their first 17 are COCO's."""
IDS = ("track_id", "idx", "instance_id")

Sighting = tuple[int, int | None, NDArray[np.float64], NDArray[np.float64] | None]


def read(found: FoundRecording, options: Options) -> ConvertedClip:
    """The people of one video.

    Raises:
        RawFileError: it is no JSON.
        Unreadable: it is none of these kinds of JSON, or nobody is seen in it.
    """
    layout, seen = load_layout(LAYOUT), Detections()
    entries, span = _entries(found.file)
    for frame, person, joints, sure in sorted(entries, key=lambda entry: entry[0]):
        seen.add(frame, person, joints, sure)
    xyz, confidence = track_people(seen, span)
    return ConvertedClip(layout=layout, xyz=image_coordinates.metres(xyz, layout), confidence=confidence)


def _entries(file: RawFile) -> tuple[list[Sighting], tuple[int, int] | None]:
    """Everybody in every frame, and the numbers of the first and last frame where the file has those without people."""
    if file.suffix.lower() != ".json":
        return _frames([frame for _, frame in json_input.read_lines(file)])
    document = json_input.read(file)
    held = document.get("instance_info", document.get("annotations")) if isinstance(document, dict) else document
    if not isinstance(held, list):
        raise Unreadable("expected a list of people or of frames, or MMPose's instance_info")
    about = document.get("meta_info") if isinstance(document, dict) else None
    name = about.get("dataset_name") if isinstance(about, dict) else None
    if isinstance(name, str) and not re.match("coco|halpe", name):
        raise Unreadable(f"its keypoints are those of {name[:40]!r}, expected COCO's")
    first = next((entry for entry in held if entry), None)
    if isinstance(first, list):
        return _frames(held)
    if isinstance(first, dict) and "instances" in first:
        return _instances(held)
    if isinstance(first, dict) and "image_id" in first:
        return list(_people(held)), None
    if isinstance(first, dict) and isinstance(first.get("keypoints"), dict):
        raise Unreadable("is one frame of Ultralytics; expected a list of frames: one to_json() after another")
    if first is None:
        raise Unreadable("nobody is seen in any frame" if held else "holds no frame")
    raise Unreadable("is neither a COCO result list nor MMPose's nor a list of Ultralytics' frames")


def _people(held: list[Any]) -> Iterator[Sighting]:
    """A COCO result list."""
    images: list[Any] = []
    for entry in held:
        if not isinstance(entry, dict) or not isinstance(entry.get("image_id"), int | str):
            raise Unreadable("a person without image_id")
        images.append(entry["image_id"])
    frame_of = _numbered(images)
    for entry in held:
        table = json_input.numbers(entry.get("keypoints"), "keypoints")
        table = table.reshape(-1, 3) if table.ndim == 1 and table.size % 3 == 0 else table
        yield frame_of[entry["image_id"]], _ident(entry), *_joints(table, None)


def _numbered(images: list[Any]) -> dict[Any, int]:
    """A frame number for every image: the last number in its name when that tells them apart, else in order of name."""
    distinct = list(dict.fromkeys(images))
    found = {image: re.findall(r"\d{1,18}", str(image)) for image in distinct}
    if all(found.values()):
        numbers = {image: int(digits[-1]) for image, digits in found.items()}
        if len({*numbers.values()}) == len(distinct) and max(numbers.values()) < 2**31:
            return numbers
    return {image: place for place, image in enumerate(sorted(distinct, key=str))}


def _instances(held: list[Any]) -> tuple[list[Sighting], tuple[int, int]]:
    """MMPose's frames."""
    out, numbers = list[Sighting](), list[int]()
    for place, frame in enumerate(held):
        number = json_input.whole(frame.get("frame_id")) if isinstance(frame, dict) else None
        instances = frame.get("instances") if isinstance(frame, dict) else None
        if not isinstance(instances, list):
            raise Unreadable(f"frame {place}: expected an object with frame_id and a list of instances")
        numbers.append(place if number is None else number)
        for person in instances:
            if not isinstance(person, dict):
                raise Unreadable(f"frame {numbers[-1]}: an instance that is no object")
            table = json_input.numbers(person.get("keypoints"), "keypoints")
            if table.ndim == 2 and table.shape[1] == 3:
                raise Unreadable("its keypoints are in 3-D, which MMPose has in Human3.6M's order, not COCO's")
            sure = person.get("keypoint_scores")
            out.append((numbers[-1], _ident(person), *_joints(table, sure)))
    return out, (min(numbers), max(numbers))


def _frames(held: list[Any]) -> tuple[list[Sighting], tuple[int, int]]:
    """Ultralytics' frames."""
    out = list[Sighting]()
    for number, frame in enumerate(held):
        if not isinstance(frame, list):
            raise Unreadable(f"frame {number}: expected a list of detections")
        for person in frame:
            points = person.get("keypoints") if isinstance(person, dict) else None
            if not isinstance(points, dict):
                raise Unreadable(f"frame {number}: a detection without keypoints x, y; a model for poses has them")
            columns = [json_input.numbers(points.get(axis), f"keypoints.{axis}") for axis in ("x", "y")]
            if columns[0].ndim != 1 or columns[0].shape != columns[1].shape:
                raise Unreadable(f"frame {number}: keypoints x and y are no lists of one length")
            out.append((number, _ident(person), *_joints(np.stack(columns, axis=1), points.get("visible"))))
    return out, (0, max(0, len(held) - 1))


def _joints(table: NDArray[np.float64], scores: Any) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """The 17 positions of one person, NaN where missing, and how sure each is.

    Args:
        table: (V, 2), or (V, 3) with confidence last.
        scores: the confidence when it stands apart; None.
    """
    if table.ndim != 2 or table.shape[1] not in (2, 3) or len(table) not in (17, *WHOLE_BODY):
        raise Unreadable(f"keypoints: found {table.shape}, expected 17 of x, y and score")
    sure = table[:, 2] if table.shape[1] == 3 else None
    if scores is not None:
        sure = json_input.numbers(scores, "scores")
        if sure.shape != (len(table),):
            raise Unreadable(f"scores: found {sure.shape}, expected one for each of {len(table)} keypoints")
    missing = (table[:17, 0] == 0) & (table[:17, 1] == 0)
    return np.where(missing[:, None], np.nan, table[:17, :2]), None if sure is None else sure[:17]


def _ident(entry: dict[str, Any]) -> int | None:
    return next((found for key in IDS if (found := json_input.whole(entry.get(key))) is not None and found >= 0), None)
