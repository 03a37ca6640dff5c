"""Read MediaPipe Pose landmarks of a video from the JSON or CSV files that users write.

A frame is an object with `pose_world_landmarks` or `pose_landmarks` (the names of the Tasks API, in snake or camel
case, with or without `pose`): a list of people with 33 landmarks each. The older API has the landmarks of one person
there, directly or in `landmark`. A landmark is an object with x, y, z, visibility, presence, or a list in that order. A
document is a list of frames, an object of frames by number, or an object with either of them in `frames`; .jsonl has
one frame per line. `width`, `height` and `fps` are optional keys next to the frames.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.convert.readers import image_coordinates, json_input
from pipeline.convert.readers.person_tracking import Detections, track_people
from pipeline.convert.tool import ConvertedClip, FoundRecording, Options, Unreadable, read_content
from pipeline.files.raw_files import RawFile
from pipeline.skeleton.shipped_layouts import load_layout

LAYOUT = "mediapipe-33"
LANDMARKS = 33
WORLD_KEYS = ("pose_world_landmarks", "poseWorldLandmarks", "world_landmarks", "worldLandmarks")
IMAGE_KEYS = ("pose_landmarks", "poseLandmarks", "landmarks", "keypoints")
NUMBER_KEYS = ("frame", "frame_id", "frame_number", "frame_index", "frameIndex", "index")
HIPS = (23, 24)
"""Landmarks of the hips; the middle between them is the origin of world landmarks."""
HIP_METRES = 0.05
"""Maximum distance of the middle of the hips from the origin."""
DEFAULT_ASPECT = 16 / 9
"""Width divided by height of the images, if unknown."""
MAX_CSV_BYTES = 256 << 20
"""Maximum size of a CSV."""


def read(found: FoundRecording, options: Options) -> ConvertedClip:
    """Read one file.

    Raises:
        RawFileError: it is not JSON.
        Unreadable: its format is unknown, or no person is detected.
    """
    layout, file = load_layout(LAYOUT), found.file
    world, image, span, aspect = Detections(), Detections(), list[int](), options.aspect
    rate: float | None = None
    for number, frame, line in _csv(file) if file.suffix.lower() == ".csv" else _json(file):
        rate = rate or _rate(frame)
        if span and number < span[-1]:
            raise Unreadable(f"frame {number} comes after frame {span[-1]}", line)
        span.append(number)
        aspect = aspect or _aspect(frame)
        try:
            for keys, detections in ((WORLD_KEYS, world), (IMAGE_KEYS, image)):
                for person in _people(frame, keys):
                    detections.add(number, None, person[:, :3], _confidence(person))
        except Unreadable as error:
            raise Unreadable(f"frame {number}: {error}", line) from error
    notes: list[str] = []
    if not world.frame and _are_world_landmarks(image):
        world = image
        notes.append("landmarks are centred on the hips: they are read as world landmarks, in metres")
    if world.frame:
        xyz, confidence = track_people(world, (span[0], span[-1]))
        upright = (xyz * (1, -1, -1)).astype(np.float32)
        return ConvertedClip(layout=layout, xyz=upright, confidence=confidence, rate=rate, notes=tuple(notes))
    if not span:
        raise Unreadable("contains no frame")
    xyz, confidence = track_people(image, (span[0], span[-1]))
    if not aspect:
        notes.append("images are assumed to be 16:9; set another ratio with --aspect W:H")
    wide = aspect or DEFAULT_ASPECT
    scaled = image_coordinates.to_metres(
        xyz * (wide, 1, wide), layout
    )  # x and z are fractions of the width, y of the height
    notes.append("no world landmarks: people are scaled from image coordinates, depth is MediaPipe's estimate")
    return ConvertedClip(layout=layout, xyz=scaled, confidence=confidence, rate=rate, notes=tuple(notes))


def _are_world_landmarks(detections: Detections) -> bool:
    """Whether landmarks under a key for image coordinates are world landmarks: metres from the middle of the hips.

    Image coordinates are fractions from 0 to 1, and hips are rarely at a corner of the image.
    """
    if not detections.joints:
        return False
    people = np.stack(detections.joints)[:, :, :2]
    with np.errstate(invalid="ignore"):
        is_centred = np.abs(people[:, HIPS].mean(axis=1)).max(axis=1) < HIP_METRES
        has_negative = (people < -HIP_METRES).any(axis=(1, 2))
    return bool(np.mean(is_centred & has_negative) > 0.5)


def _json(file: RawFile) -> Iterator[tuple[int, Any, int]]:
    """Yield the number of each frame, the frame, and its line (0 if unknown)."""
    if file.suffix.lower() != ".json":
        for line, frame in json_input.read_lines(file):
            yield _number(frame, line - 1), frame, line
        return
    document = json_input.read(file)
    shared = document if isinstance(document, dict) else {}
    frames = shared.get("frames", document)
    if isinstance(frames, dict):
        numbered = {key: re.fullmatch(r"\D{0,20}(\d{1,9})", key) for key in frames}
        if not frames or None in numbered.values():
            raise Unreadable("expected a list of frames, or an object of frames by their numbers")
        ordered = sorted((int(match[1]), key) for key, match in numbered.items() if match)
        frames = [{**_object(frames[key]), "frame": number} for number, key in ordered]
    if not isinstance(frames, list):
        raise Unreadable("expected a list of frames, or an object of frames by their numbers")
    size = {key: shared[key] for key in ("width", "height", "image_width", "image_height", "fps") if key in shared}
    for index, frame in enumerate(frames):
        yield _number(frame, index), {**size, **_object(frame)}, 0


def _object(frame: Any) -> Mapping[str, Any]:
    return frame if isinstance(frame, dict) else {IMAGE_KEYS[0]: frame}


def _number(frame: Any, index: int) -> int:
    value = next((frame[key] for key in NUMBER_KEYS if key in frame), None) if isinstance(frame, dict) else None
    number = json_input.integer(value)
    return index if number is None else number


def _aspect(frame: Any) -> float | None:
    for names in (("width", "height"), ("image_width", "image_height")):
        width, height = (json_input.integer(frame.get(name)) if isinstance(frame, dict) else None for name in names)
        if width and height and width > 0 and height > 0:
            return width / height
    return None


def _rate(frame: Any) -> float | None:
    rate: Any = frame.get("fps") if isinstance(frame, dict) else None
    return (
        float(rate) if type(rate) in (int, float) and 0 < rate <= 10_000 else None
    )  # excludes bool, a subclass of int


def _people(frame: Any, keys: Iterable[str]) -> Iterator[NDArray[np.float64]]:
    """Yield the people of a frame, each (33, 3 or more): x, y, z, visibility, presence."""
    if frame is None:
        return
    key = next((key for key in keys if isinstance(frame, dict) and frame.get(key)), None)
    if key is None:
        if not isinstance(frame, dict):
            raise Unreadable("expected an object with pose_world_landmarks")
        return
    people = frame[key]
    if isinstance(people, dict):
        people = people.get("landmark", people.get("landmarks", people))
    if not isinstance(people, list):
        raise Unreadable(f"{key}: expected a list of landmarks")
    is_one_person = bool(people) and ((isinstance(people[0], dict) and "x" in people[0]) or _is_row(people[0]))
    for person in [people] if is_one_person else people:
        if not person:
            continue
        if isinstance(person, dict):
            person = person.get("landmark", person.get("landmarks"))
        rows = person if isinstance(person, list) else []
        if rows and isinstance(rows[0], dict):
            rows = [_landmark(row) for row in rows]
        table = json_input.numbers(rows, key)
        if table.ndim != 2 or table.shape[0] != LANDMARKS or table.shape[1] < 3:
            raise Unreadable(f"{key}: found {len(rows)} landmarks, expected {LANDMARKS} of x, y, z and visibility")
        yield table


def _is_row(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and not isinstance(value[0], list | dict)


def _landmark(row: Any) -> list[Any]:
    if not isinstance(row, dict) or not {"x", "y", "z"} <= row.keys():
        raise Unreadable("a landmark without x, y and z")
    return [row["x"], row["y"], row["z"], row.get("visibility"), row.get("presence")]


def _confidence(person: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the lower of visibility and presence, or the one that exists."""
    if person.shape[1] < 4:
        return None
    lower: NDArray[np.float64] = np.fmin(person[:, 3], person[:, 4]) if person.shape[1] > 4 else person[:, 3]
    return lower


_COLUMN = re.compile(r"(?P<joint>.*?)[\s._:-]*(?P<value>x|y|z|v|visibility|vis|c|confidence|score|presence)")
_VALUE_FIRST = re.compile(r"(?P<value>x|y|z|v|visibility|presence)[\s._:-]*(?P<joint>\d+)")
_VALUES = {"x": 0, "y": 1, "z": 2, "presence": 4}


def _csv(file: RawFile) -> Iterator[tuple[int, Any, int]]:
    """Yield the frames of a CSV with one row each: columns like nose_x or x0, or 99, 132 or 165 numbers in order.

    Positions outside the range 0 to 1 are world landmarks: metres relative to the hips.
    """
    try:
        text = read_content(file, MAX_CSV_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"is not UTF-8 (byte {error.start})") from error
    first_line = text.lstrip().partition("\n")[0]
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=next((mark for mark in ";\t" if mark in first_line), ",")
    )
    tables, lines, numbers = list[NDArray[np.float64]](), list[int](), list[int]()
    columns: list[tuple[int, int] | None] | None = None
    frame_column = -1
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                names = [cell.strip().casefold() for cell in cells]
                frame_column = next((index for index, name in enumerate(names) if name in NUMBER_KEYS), -1)
                columns = _columns(names)
                if any(_float(name) is None for name in names):
                    continue
            if len(cells) != len(columns):
                raise Unreadable(f"{len(cells)} fields, expected {len(columns)}", reader.line_num)
            table = np.full((LANDMARKS, 5), np.nan)
            for position, cell in zip(columns, cells, strict=True):
                if position is not None:
                    value = _float(cell)
                    if value is None:
                        raise Unreadable(f"{cell[:40]!r} is not a number", reader.line_num)
                    table[position] = value
            number = json_input.integer(cells[frame_column]) if frame_column >= 0 else None
            numbers.append(len(numbers) if number is None else number)
            tables.append(table)
            lines.append(reader.line_num)
    except (csv.Error, ValueError) as error:
        raise Unreadable(f"is not a valid CSV: {error}", reader.line_num) from error
    if not tables:
        raise Unreadable("has no row of numbers")
    all_xy = np.array(tables)[..., :2]
    is_fraction = ((all_xy > -0.2) & (all_xy < 1.5)) | np.isnan(all_xy)
    key = (
        IMAGE_KEYS[0]
        if is_fraction.all() and np.nanmin(all_xy) > -0.2 and np.nanmedian(all_xy) > 0.2
        else WORLD_KEYS[0]
    )
    for number, table, line in zip(numbers, tables, lines, strict=True):
        yield number, {key: table.tolist()}, line


def _columns(names: list[str]) -> list[tuple[int, int] | None]:
    """Return the landmark and the index of its value for each column, or None for other columns.

    Raises:
        Unreadable: the columns do not contain all landmarks.
    """
    joints = {name: index for index, name in enumerate(load_layout(LAYOUT).joints)}
    if all(_float(name) is not None for name in names):
        values = len(names) // LANDMARKS
        if len(names) % LANDMARKS or values not in (3, 4, 5):
            raise Unreadable(f"{len(names)} numbers per row, expected {3 * LANDMARKS} or {4 * LANDMARKS}")
        return [(index // values, index % values) for index in range(len(names))]
    positions: list[tuple[int, int] | None] = []
    numbered = [match for name in names if (match := _VALUE_FIRST.fullmatch(name))]
    base = 1 if numbered and not any(match["joint"] == "0" for match in numbered) else 0
    for name in names:
        value_first, plain = _VALUE_FIRST.fullmatch(name), _COLUMN.fullmatch(name)
        match = value_first or plain
        joint = -1
        if value_first:
            joint = int(value_first["joint"][:4]) - base
        elif plain:
            joint_name = re.sub(r"[\s.:-]+", "_", plain["joint"])
            joint = joints.get(
                joint_name, int(digits[1]) if (digits := re.fullmatch(r"\D*?(\d{1,2})", joint_name)) else -1
            )
        usable = match is not None and 0 <= joint < LANDMARKS
        positions.append((joint, _VALUES.get(match["value"], 3)) if match is not None and usable else None)
    present = {position for position in positions if position is not None}
    missing = [joint for joint in range(LANDMARKS) if any((joint, axis) not in present for axis in range(3))]
    if missing:
        raise Unreadable(f"has no columns for x, y and z of landmark {missing[0]}; expected nose_x, ... or x0, ...")
    return positions


def _float(cell: str) -> float | None:
    try:
        return float(cell) if cell.strip() else np.nan
    except ValueError:
        return None
