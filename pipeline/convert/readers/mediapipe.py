"""MediaPipe Pose: landmarks of a video as people dump them, JSON or CSV.

What is taken for a frame: an object with `pose_world_landmarks` or `pose_landmarks` (the Tasks API's names, snake or
camel case, with or without `pose`): a list of people, each 33 landmarks; or of one person, as the older API has it,
also below `landmark`. A landmark is an object x, y, z, visibility, presence, or a list in that order. A document is a
list of frames, an object of frames by number, or one that holds either under `frames`; .jsonl has a frame a line.
`width`, `height` and `fps` may stand beside.
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
from pipeline.convert.take import ConvertedClip, FoundRecording, Options, Unreadable, content
from pipeline.files.raw_files import RawFile
from pipeline.skeleton.shipped_layouts import load_layout

LAYOUT = "mediapipe-33"
LANDMARKS = 33
WORLD = ("pose_world_landmarks", "poseWorldLandmarks", "world_landmarks", "worldLandmarks")
IMAGE = ("pose_landmarks", "poseLandmarks", "landmarks", "keypoints")
NUMBER = ("frame", "frame_id", "frame_number", "frame_index", "frameIndex", "index")
ASPECT = 16 / 9
"""Width by height of a picture of which nothing is said."""
MOST_BYTES = 256 << 20
"""Of a CSV."""


def read(found: FoundRecording, options: Options) -> ConvertedClip:
    """The people of one dump.

    Raises:
        RawFileError: it is no JSON.
        Unreadable: it is no such dump, or nobody is seen in it.
    """
    layout, file = load_layout(LAYOUT), found.file
    world, image, span, aspect = Detections(), Detections(), list[int](), options.aspect
    rate: float | None = None
    for number, frame, line in _csv(file) if file.suffix.lower() == ".csv" else _json(file):
        rate = rate or _rate(frame)
        if span and number < span[-1]:
            raise Unreadable(f"frame {number} stands after frame {span[-1]}", line)
        span.append(number)
        aspect = aspect or _aspect(frame)
        try:
            for keys, seen in ((WORLD, world), (IMAGE, image)):
                for person in _people(frame, keys):
                    seen.add(number, None, person[:, :3], _sure(person))
        except Unreadable as error:
            raise Unreadable(f"frame {number}: {error}", line) from error
    if world.frame:
        xyz, sure = track_people(world, (span[0], span[-1]))
        return ConvertedClip(layout=layout, xyz=(xyz * (1, -1, -1)).astype(np.float32), confidence=sure, rate=rate)
    if not span:
        raise Unreadable("holds no frame")
    xyz, sure = track_people(image, (span[0], span[-1]))
    notes = [] if aspect else ["pictures are taken to be 16:9; --aspect W:H says otherwise"]
    wide = aspect or ASPECT
    scaled = image_coordinates.metres(xyz * (wide, 1, wide), layout)  # x and z are parts of the width, y of the height
    notes.append("no world landmarks: people are scaled to size out of the picture, depth is MediaPipe's guess")
    return ConvertedClip(layout=layout, xyz=scaled, confidence=sure, rate=rate, notes=tuple(notes))


def _json(file: RawFile) -> Iterator[tuple[int, Any, int]]:
    """Frames with their numbers and lines (0: not known)."""
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
    for place, frame in enumerate(frames):
        yield _number(frame, place), {**size, **_object(frame)}, 0


def _object(frame: Any) -> Mapping[str, Any]:
    return frame if isinstance(frame, dict) else {IMAGE[0]: frame}


def _number(frame: Any, place: int) -> int:
    found = next((frame[key] for key in NUMBER if key in frame), None) if isinstance(frame, dict) else None
    number = json_input.whole(found)
    return place if number is None else number


def _aspect(frame: Any) -> float | None:
    for names in (("width", "height"), ("image_width", "image_height")):
        width, height = (json_input.whole(frame.get(name)) if isinstance(frame, dict) else None for name in names)
        if width and height and width > 0 and height > 0:
            return width / height
    return None


def _rate(frame: Any) -> float | None:
    rate: Any = frame.get("fps") if isinstance(frame, dict) else None
    return float(rate) if type(rate) in (int, float) and 0 < rate <= 10_000 else None  # a boolean is an int


def _people(frame: Any, keys: Iterable[str]) -> Iterator[NDArray[np.float64]]:
    """The people of a frame, each (33, 3 or more): x, y, z, visibility, presence."""
    if frame is None:
        return
    key = next((key for key in keys if isinstance(frame, dict) and frame.get(key)), None)
    if key is None:
        if not isinstance(frame, dict):
            raise Unreadable("expected an object with pose_world_landmarks")
        return
    held = frame[key]
    if isinstance(held, dict):
        held = held.get("landmark", held.get("landmarks", held))
    if not isinstance(held, list):
        raise Unreadable(f"{key}: expected a list of landmarks")
    one = bool(held) and ((isinstance(held[0], dict) and "x" in held[0]) or _is_row(held[0]))
    for person in [held] if one else held:
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


def _sure(person: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The lower of visibility and presence, of what is there."""
    if person.shape[1] < 4:
        return None
    lower: NDArray[np.float64] = np.fmin(person[:, 3], person[:, 4]) if person.shape[1] > 4 else person[:, 3]
    return lower


_COLUMN = re.compile(r"(?P<joint>.*?)[\s._:-]*(?P<value>x|y|z|v|visibility|vis|c|confidence|score|presence)")
_TURNED = re.compile(r"(?P<value>x|y|z|v|visibility|presence)[\s._:-]*(?P<joint>\d+)")
_VALUES = {"x": 0, "y": 1, "z": 2, "presence": 4}


def _csv(file: RawFile) -> Iterator[tuple[int, Any, int]]:
    """The frames of a CSV with a row for each: columns like nose_x or x0, or 99, 132 or 165 numbers in order.

    Positions beyond 0 to 1 are metres about the hips: world landmarks.
    """
    try:
        text = content(file, MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"is not UTF-8 (byte {error.start})") from error
    first = text.lstrip().partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=next((mark for mark in ";\t" if mark in first), ","))
    tables, lines, numbers = list[NDArray[np.float64]](), list[int](), list[int]()
    columns: list[tuple[int, int] | None] | None = None
    frame_at = -1
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                names = [cell.strip().casefold() for cell in cells]
                frame_at = next((at for at, name in enumerate(names) if name in NUMBER), -1)
                columns = _columns(names)
                if any(_float(name) is None for name in names):
                    continue
            if len(cells) != len(columns):
                raise Unreadable(f"{len(cells)} fields, expected {len(columns)}", reader.line_num)
            table = np.full((LANDMARKS, 5), np.nan)
            for place, cell in zip(columns, cells, strict=True):
                if place is not None:
                    value = _float(cell)
                    if value is None:
                        raise Unreadable(f"{cell[:40]!r} is not a number", reader.line_num)
                    table[place] = value
            number = json_input.whole(cells[frame_at]) if frame_at >= 0 else None
            numbers.append(len(numbers) if number is None else number)
            tables.append(table)
            lines.append(reader.line_num)
    except (csv.Error, ValueError) as error:
        raise Unreadable(f"is no such CSV: {error}", reader.line_num) from error
    if not tables:
        raise Unreadable("has no row of numbers")
    flat_xy = np.array(tables)[..., :2]
    inside = ((flat_xy > -0.2) & (flat_xy < 1.5)) | np.isnan(flat_xy)
    key = IMAGE[0] if inside.all() and np.nanmin(flat_xy) > -0.2 and np.nanmedian(flat_xy) > 0.2 else WORLD[0]
    for number, table, line in zip(numbers, tables, lines, strict=True):
        yield number, {key: table.tolist()}, line


def _columns(names: list[str]) -> list[tuple[int, int] | None]:
    """For each column the landmark and the value that it holds, or None.

    Raises:
        Unreadable: they are no landmarks.
    """
    joints = {name: at for at, name in enumerate(load_layout(LAYOUT).joints)}
    if all(_float(name) is not None for name in names):
        values = len(names) // LANDMARKS
        if len(names) % LANDMARKS or values not in (3, 4, 5):
            raise Unreadable(f"{len(names)} numbers a row, expected {3 * LANDMARKS} or {4 * LANDMARKS}")
        return [(at // values, at % values) for at in range(len(names))]
    found: list[tuple[int, int] | None] = []
    numbered = [match for name in names if (match := _TURNED.fullmatch(name))]
    base = 1 if numbered and not any(match["joint"] == "0" for match in numbered) else 0
    for name in names:
        turned, plain = _TURNED.fullmatch(name), _COLUMN.fullmatch(name)
        match = turned or plain
        joint = -1
        if turned:
            joint = int(turned["joint"][:4]) - base
        elif plain:
            called = re.sub(r"[\s.:-]+", "_", plain["joint"])
            joint = joints.get(called, int(digits[1]) if (digits := re.fullmatch(r"\D*?(\d{1,2})", called)) else -1)
        usable = match is not None and 0 <= joint < LANDMARKS
        found.append((joint, _VALUES.get(match["value"], 3)) if match is not None and usable else None)
    there = {place for place in found if place is not None}
    lacking = [joint for joint in range(LANDMARKS) if any((joint, axis) not in there for axis in range(3))]
    if lacking:
        raise Unreadable(f"its columns name no x, y and z of landmark {lacking[0]}; expected nose_x, ... or x0, ...")
    return found


def _float(cell: str) -> float | None:
    try:
        return float(cell) if cell.strip() else np.nan
    except ValueError:
        return None
