"""Write synthetic PKU-MMD data in the exact layout of the data set: recordings, label files and split lists.

Coverage: N clips are N label rows. Takes come in pairs, one for each side of the cross-subject split, each recorded by
three cameras. A take has up to 20 actions (phase II: 7), and the six videos of a pair share its clips evenly. N clips
have min(51, max(2, ceil(N / 24))) classes (phase II: of 41, with gaps in the numbers). Both takes of a pair show the
same classes, so four clips give rows on both sides of both splits; fewer than seven clips are all of one class. From
eight clips on, the last clip has its own video, with a label file of one line. Phase II starts with takes whose first
action begins at frame 0; one video of each take has two overlapping intervals. The cameras of a take are not
synchronised, so each video has its own frame numbers.

A video is a function of the seed, its name and the number of actions. A class moves like the NTU RGB+D class with the
same meaning.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.files.atomic import new_folder
from pipeline.skeleton.layout import KINECT_V2
from pipeline.sources.pku.names import CLASSES, DATA_SETS, INTERACTIONS, PkuDataSet, PkuName
from pipeline.synth.motion import draw_person, perform
from pipeline.synth.pku_damage import LABELLING, ROWS, TEXTS
from pipeline.synth.roles import gap, roles
from pipeline.synth.sensor import from_camera, rotate_about_vertical, track
from pipeline.synth.summary import SynthSummary, check_counts
from pipeline.synth.text_kernels import FIXED_BYTES, write_fixed_rows

FOLDERS = {
    "pku1": ("PKU_Skeleton_Renew", "Train_Label_PKU_final", "Split/cross-subject.txt", "Split/cross-view.txt"),
    "pku2": ("Skeleton_v2", "Label_PKUMMD_v2", "Split/cross_subject_v2.txt", "Split/cross_view_v2.txt"),
}
"""Folders of recordings and label files, and both split lists, as in the archives."""
BLOCK = 24
"""Clips per class in a growing set."""
MAX_BROKEN = 300

# The NTU RGB+D class whose motion each class uses; 29 and 38, two-person classes here, use the two that remain.
_NTU_CLASS = (
    35, 4, 3, 33, 22, 10, 40, 1, 5, 2, 43, 56, 23, 58, 26, 55, 27, 51, 24, 28, 53, 6, 29, 54, 31, 50, 52, 20, 57, 11,
    34, 38, 8, 9, 21, 19, 15, 59, 32, 13, 7, 46, 45, 44, 47, 30, 49, 14, 18, 37, 12,
)  # fmt: skip
_PERSON, _PARTNER, _TAKE, _CAMERA, _DAMAGE = range(5)
_ORDER = ((False, 1), (True, 2), (False, 2), (True, 1), (False, 3), (True, 3))
"""Whether the take is a test take, and the camera, of the six videos of a pair, in the order of getting clips."""
_EMPTY_FRAMES = 30
"""Frames at the end of a video, after the actors have left."""
_FACING = {1: 45.0, 2: 0.0, 3: -45.0}
"""Degrees by which people are turned away from each camera; they face the middle one."""


@dataclass(frozen=True, slots=True)
class Video:
    """A take recorded by one camera; its label file lists the first actions of the take."""

    name: PkuName
    take: tuple[int, ...]
    """Class numbers of the take's actions, in order."""
    labelled: int
    starts_at_once: bool = False
    """The first action begins at frame 0."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """The motion of a take, before it is recorded by a camera."""

    xyz: NDArray[np.float64]
    """(2, T, V, 3) metres; the floor is y = 0."""
    present: NDArray[np.bool_]
    """(2, T) whether the person is present."""
    intervals: tuple[tuple[int, int], ...]
    """[start, end) of each action."""


def write_pku(dataset: str, out: Path, *, clips: int, seed: int, broken: int = 0) -> SynthSummary:
    """Write a synthetic phase of PKU-MMD into a new folder, which appears whole or not at all.

    Args:
        dataset: `pku1` or `pku2`.
        out: the folder; if it exists, it must be empty.
        clips: number of usable clips, each a row of a label file.
        seed: determines actors and motion; not negative.
        broken: number of additional recordings, label files and rows that no correct reader accepts.

    Raises:
        ConfigError: a number is out of range.
        OutputExists: `out` exists and is not empty.
        OutputFailed: the disk refuses.
    """
    data_set = DATA_SETS[dataset]
    videos = plan(data_set, clips)
    check_counts(clips, broken, MAX_BROKEN, seed)
    recordings, labels, *lists = FOLDERS[dataset]
    damaged = _plan_damage(data_set, broken)
    bad_rows = list(ROWS) * broken
    damage_kinds: dict[str, str] = {}
    with new_folder(out) as folder:
        for name in (recordings, labels, "Split"):
            (folder / name).mkdir()
        for index, video in enumerate(videos):
            text, rows = _video(video, seed)
            frames = text.count(b"\n")
            for kind in bad_rows[index : broken // 2 : len(videos)]:
                rows.append(ROWS[kind](frames, _EMPTY_FRAMES))
                damage_kinds[f"{video.name}_{len(rows):03d}"] = kind
            (folder / recordings / f"{video.name}.txt").write_bytes(text)
            (folder / labels / f"{video.name}.txt").write_bytes(b"".join(row + b"\n" for row in rows))
        for video, kind in damaged:
            text, rows = _video(video, seed)
            if kind in TEXTS:
                text = TEXTS[kind](text, np.random.default_rng([seed, _DAMAGE, *_words(video.name)]))
            (folder / recordings / f"{video.name}.txt").write_bytes(text)
            label_text = LABELLING.get(kind, b"".join(row + b"\n" for row in rows))
            if label_text is not None:
                (folder / labels / f"{video.name}.txt").write_bytes(label_text)
            damage_kinds[str(video.name)] = kind
        names = sorted(video.name for video in [*videos, *(video for video, _ in damaged)])
        for path, rule, line_end in zip(lists, ("xsub", "xview"), ("\n", "\r\n"), strict=True):
            (folder / path).write_bytes(_split_list(data_set, rule, names).replace("\n", line_end).encode())
        size = sum(path.stat().st_size for path in folder.rglob("*.txt"))
    return SynthSummary(
        files=len(videos) + len(damaged),
        broken=damage_kinds,
        classes=tuple(sorted({action - 1 for video in videos for action in video.take[: video.labelled]})),
        performers=tuple(sorted({video.name.subject for video in videos} - {-1})),
        bytes=size,
    )


def plan(data_set: PkuDataSet, clips: int) -> list[Video]:
    """Return the videos of the good clips; the module docstring explains the rule.

    Raises:
        ConfigError: `clips` is less than 1, or more than the takes can have.
    """
    sides = [_takes(data_set, test) for test in (False, True)]
    pair_clips = len(_ORDER) * data_set.actions
    limit = pair_clips * len(sides[True])
    if not 1 <= clips <= limit:
        raise ConfigError(f"clips {clips}: must be from 1 to {limit} for a synthetic {data_set.name}")
    actions = _actions(data_set)[: max(2, -(-clips // BLOCK))]
    has_single = clips >= 8
    videos = []
    for pair, first in enumerate(range(0, clips - has_single, pair_clips)):
        count = min(pair_clips, clips - has_single - first)
        shown = [actions[(pair * data_set.actions + step) % len(actions)] for step in range(-(-count // len(_ORDER)))]
        for index, (side, camera) in enumerate(_ORDER):
            if labelled := len(range(index, count, len(_ORDER))):
                at_once = data_set.name == "pku2" and pair == 0
                videos.append(Video(PkuName(*sides[side][pair], camera), tuple(shown), labelled, at_once))
    if has_single:
        pairs = -(-(clips - 1) // pair_clips)
        videos.append(Video(PkuName(*sides[False][pairs], 2), (actions[-1],), 1))
    return videos


def _plan_damage(data_set: PkuDataSet, broken: int) -> list[tuple[Video, str]]:
    """Return the broken recordings and their kinds of damage; they use the last train takes."""
    kinds = [*TEXTS, *LABELLING]
    takes = _takes(data_set, test=False)[::-1]
    return [
        (Video(PkuName(*takes[index], 1 + index % 3), (1 + index % 10,), 1), kinds[index % len(kinds)])
        for index in range(broken - broken // 2)
    ]


def _takes(data_set: PkuDataSet, test: bool) -> list[tuple[int, int]]:
    """Return setup and subject of the completely released takes on one side of the cross-subject split."""
    column, *sides = data_set.rules["xsub"]
    incomplete = {name.rpartition("-")[0] for name in data_set.never_released}
    return [
        (name.setup, name.subject)
        for name in data_set.released()
        if name.camera == 1 and getattr(name, column) in sides[test] and str(name).rpartition("-")[0] not in incomplete
    ]


def _actions(data_set: PkuDataSet) -> list[int]:
    """Return class numbers in the order in which growing sets use them; in phase I every fifth has two people."""
    actions = [action for action in range(1, len(CLASSES) + 1) if action not in INTERACTIONS]
    for number, action in enumerate(sorted(INTERACTIONS) if data_set.name == "pku1" else ()):
        actions.insert(5 * number + 2, action)
    return actions


def _split_list(data_set: PkuDataSet, rule: str, names: list[PkuName]) -> str:
    """Return the text of a split list, with the spelling of the data set."""
    column, train, _ = data_set.rules[rule]
    sides: tuple[list[str], list[str]] = [], []
    for name in names:
        sides[getattr(name, column) not in train].append(str(name))
    return "".join(
        f"{title} videos: \n{', '.join(side)}, \n"
        for title, side in zip(("Training", "Validataion"), sides, strict=True)
    )


def _words(name: PkuName) -> tuple[int, int, int]:
    """Return the numbers of a name, for a random seed."""
    return name.setup, name.subject + 1, name.camera


def _video(video: Video, seed: int) -> tuple[bytes, list[bytes]]:
    """Return a video's text and the rows of its label file."""
    stage = _stage(video, seed)
    xyz, intervals = _record(stage, video, seed)
    confidence = np.random.default_rng([seed, _CAMERA, *_words(video.name), 1]).choice([1, 2, 2, 2], video.labelled)
    rows = [
        b"%d,%d,%d,%d" % (action, start, end, level)
        for action, (start, end), level in zip(video.take, intervals, confidence, strict=False)
    ]
    numbers = xyz.swapaxes(0, 1).reshape(xyz.shape[1], -1).astype(np.float32)
    out = np.empty(numbers.size * FIXED_BYTES + len(numbers), np.uint8)
    return out[: write_fixed_rows(numbers, out)].tobytes(), rows


def _stage(video: Video, seed: int) -> _Stage:
    """Create the motion of a take: its actions, with transitions between their poses."""
    take = _words(video.name)[:2]
    rng = np.random.default_rng([seed, _TAKE, *take, len(video.take)])
    who = take[1] or take[0]
    people = [draw_person(np.random.default_rng([seed, stream, who])) for stream in (_PERSON, _PARTNER)]
    pieces: list[NDArray[np.float64]] = []
    partners: list[tuple[int, NDArray[np.float64]]] = []
    intervals = []
    at = 0
    for action in video.take:
        ntu_class = _NTU_CLASS[action - 1]
        frames = int(rng.integers(45, 100))
        actors = [perform(role, person, frames, rng) for role, person in zip(roles(ntu_class), people, strict=False)]
        apart = np.array([0.0, 0.0, gap(ntu_class) / 2 if len(actors) > 1 else 0.0])
        rest = 0 if at == 0 and video.starts_at_once else int(rng.integers(25, 60))
        ease = 3 * (share := np.linspace(0.0, 1.0, rest)[:, None, None]) ** 2 - 2 * share**3
        moved = actors[0] + apart
        before = pieces[-1][-1] if pieces else moved[0]
        pieces += [before + ease * (moved[0] - before), moved]
        at += rest
        if len(actors) > 1:
            partners.append((at, rotate_about_vertical(actors[1], 180.0) - apart))
        intervals.append((at, at + frames))
        at += frames
    xyz = np.zeros((2, at + 20 + _EMPTY_FRAMES, len(KINECT_V2.joints), 3))
    present = np.zeros(xyz.shape[:2], np.bool_)
    xyz[0, :at], xyz[0, at:] = np.concatenate(pieces), pieces[-1][-1]
    present[0, :-_EMPTY_FRAMES] = True
    for start, partner in partners:
        xyz[1, start - 10 : start], xyz[1, start : start + len(partner)] = partner[0], partner
        present[1, start - 10 : start + len(partner)] = True
    return _Stage(xyz, present, tuple(intervals))


def _record(stage: _Stage, video: Video, seed: int) -> tuple[NDArray[np.float64], list[tuple[int, int]]]:
    """Record a take with one camera: (2, T, V, 3), zeros where nobody is, and the frames of its actions.

    The camera starts up to half a second late, and its clock is wrong by up to 1.5 %. In addition to a Kinect's jitter
    and inferred joints, one action in twelve has two frames without people.
    """
    take = np.random.default_rng([seed, _TAKE, *_words(video.name)[:2]])
    facing, height, distance = take.normal(0.0, 6.0), take.uniform(0.9, 1.3), take.uniform(2.9, 3.8)
    spot = np.array([take.uniform(-0.3, 0.3), 0.0, take.uniform(-0.2, 0.2)])
    rng = np.random.default_rng([seed, _CAMERA, *_words(video.name)])
    late, rate = 0 if video.starts_at_once else int(rng.integers(0, 16)), rng.uniform(0.985, 1.015)
    frames = int((stage.xyz.shape[1] - 1 - late) / rate)
    at = (late + rate * np.arange(frames)).astype(int)
    intervals = [(round((start - late) / rate), round((end - late) / rate)) for start, end in stage.intervals]
    present = stage.present[:, at]
    for start, _ in intervals:
        if rng.random() < 1 / 12:
            present[:, start + 20 : start + 22] = False
    bodies = rotate_about_vertical(stage.xyz[:, at], _FACING[video.name.camera] + facing) + spot
    xyz = np.stack([track(from_camera(body, height, distance), np.int64(0), rng).xyz for body in bodies])
    xyz[~present] = 0.0
    if video.name.camera == 1 and video.labelled > 2:
        intervals[1] = intervals[1][0], intervals[2][0] + 6
    return xyz, intervals[: video.labelled]
