"""Synthetic PKU-MMD in the data set's exact layout: recordings, label files and split lists.

Coverage. N clips are N label rows. Takes come in pairs, one that trains and one that tests in the cross-subject split,
each seen by three cameras; a take shows up to 20 actions (phase II: 7), and the six videos of a pair share its clips
evenly. N clips hold min(51, max(2, ceil(N / 24))) classes (phase II: of 41, with gaps in the numbers), of which both
takes of a pair show the same, so that four clips already give rows on both sides of both splits; fewer than seven clips
are all of one class. From eight on the last clip has a video to itself: a label file of one line. Phase II begins with
takes whose first action starts at frame 0; one video of each take has two intervals that overlap. Views of a take are
not in step, so each has its own frames.

Videos are functions of (seed, name, number of actions). A class moves like the NTU RGB+D class of that meaning.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.files.atomic import new_folder
from pipeline.skeleton.layout import KINECT_V2
from pipeline.sources.pku.names import CLASSES, DATA_SETS, INTERACTIONS, PkuDataSet, PkuName
from pipeline.synth.motion import draw_person, gap, perform, roles
from pipeline.synth.pku_damage import LABELLING, ROWS, TEXTS
from pipeline.synth.sensor import from_camera, track, turned
from pipeline.synth.summary import SynthSummary, refuse_impossible
from pipeline.synth.text_kernels import FIXED_BYTES, write_fixed_rows

FOLDERS = {
    "pku1": ("PKU_Skeleton_Renew", "Train_Label_PKU_final", "Split/cross-subject.txt", "Split/cross-view.txt"),
    "pku2": ("Skeleton_v2", "Label_PKUMMD_v2", "Split/cross_subject_v2.txt", "Split/cross_view_v2.txt"),
}
"""Recordings, label files, and both split lists, as the archives unpack."""
BLOCK = 24
"""Clips for each class in a growing set."""
BROKEN_LIMIT = 300

# The NTU RGB+D class that each class moves like; 29 and 38, between two people here, take the two that are left over.
_LIKE = (
    35, 4, 3, 33, 22, 10, 40, 1, 5, 2, 43, 56, 23, 58, 26, 55, 27, 51, 24, 28, 53, 6, 29, 54, 31, 50, 52, 20, 57, 11,
    34, 38, 8, 9, 21, 19, 15, 59, 32, 13, 7, 46, 45, 44, 47, 30, 49, 14, 18, 37, 12,
)  # fmt: skip
_PERSON, _PARTNER, _TAKE, _VIEW, _DAMAGE = range(5)
_ORDER = ((False, 1), (True, 2), (False, 2), (True, 1), (False, 3), (True, 3))
"""Whether the take tests, and camera, of the six videos of a pair in the order in which clips go round them."""
_GONE = 30
"""Frames at a video's end in which the actors have left."""
_FACING = {1: 45.0, 2: 0.0, 3: -45.0}
"""Degrees by which people turn away from each camera, who face the middle one."""


@dataclass(frozen=True, slots=True)
class Video:
    """One view of a take, and the first actions of the take that its label file names."""

    name: PkuName
    take: tuple[int, ...]
    """Numbers of the classes that the take shows, in their order."""
    labelled: int
    starts_at_once: bool = False
    """The first action begins in frame 0."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """A take as it happens, before any camera sees it."""

    xyz: NDArray[np.float64]
    """(2, T, V, 3) metres; the floor is y = 0."""
    there: NDArray[np.bool_]
    """(2, T) whether the person is."""
    intervals: tuple[tuple[int, int], ...]
    """[start, end) of each action."""


def write_pku(dataset: str, out: Path, *, clips: int, seed: int, broken: int = 0) -> SynthSummary:
    """Write a synthetic phase of PKU-MMD into a new folder, all of it or nothing.

    Args:
        dataset: `pku1` or `pku2`.
        out: the folder; may be there if it is empty.
        clips: how many usable clips, each a row of a label file.
        seed: which actors and performances; not negative.
        broken: how many recordings, label files and rows more that no correct reader accepts.

    Raises:
        ConfigError: a number out of range.
        OutputExists: `out` holds something already.
        OutputFailed: the disk refuses.
    """
    facts = DATA_SETS[dataset]
    videos = plan(facts, clips)
    refuse_impossible(clips, broken, BROKEN_LIMIT, seed)
    recordings, labels, *lists = FOLDERS[dataset]
    damaged = _plan_damage(facts, broken)
    bad_rows = list(ROWS) * broken
    wrong: dict[str, str] = {}
    with new_folder(out) as folder:
        for place in (recordings, labels, "Split"):
            (folder / place).mkdir()
        for index, video in enumerate(videos):
            text, rows = _video(video, seed)
            frames = text.count(b"\n")
            for kind in bad_rows[index : broken // 2 : len(videos)]:
                rows.append(ROWS[kind](frames, _GONE))
                wrong[f"{video.name}_{len(rows):03d}"] = kind
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
            wrong[str(video.name)] = kind
        names = sorted(video.name for video in [*videos, *(video for video, _ in damaged)])
        for path, rule, line_end in zip(lists, ("xsub", "xview"), ("\n", "\r\n"), strict=True):
            (folder / path).write_bytes(_split_list(facts, rule, names).replace("\n", line_end).encode())
        size = sum(path.stat().st_size for path in folder.rglob("*.txt"))
    return SynthSummary(
        files=len(videos) + len(damaged),
        broken=wrong,
        classes=tuple(sorted({action - 1 for video in videos for action in video.take[: video.labelled]})),
        performers=tuple(sorted({video.name.subject for video in videos} - {-1})),
        bytes=size,
    )


def plan(facts: PkuDataSet, clips: int) -> list[Video]:
    """The videos of the good clips; see the module's text for the rule.

    Raises:
        ConfigError: no clip, or more than there are takes for.
    """
    sides = [_takes(facts, test) for test in (False, True)]
    whole = len(_ORDER) * facts.actions
    limit = whole * len(sides[True])
    if not 1 <= clips <= limit:
        raise ConfigError(f"clips {clips}: must be from 1 to {limit} for a synthetic {facts.name}")
    actions = _actions(facts)[: max(2, -(-clips // BLOCK))]
    alone = clips >= 8
    videos = []
    for pair, first in enumerate(range(0, clips - alone, whole)):
        count = min(whole, clips - alone - first)
        shown = [actions[(pair * facts.actions + step) % len(actions)] for step in range(-(-count // len(_ORDER)))]
        for place, (side, camera) in enumerate(_ORDER):
            if labelled := len(range(place, count, len(_ORDER))):
                at_once = facts.name == "pku2" and pair == 0
                videos.append(Video(PkuName(*sides[side][pair], camera), tuple(shown), labelled, at_once))
    if alone:
        pairs = -(-(clips - 1) // whole)
        videos.append(Video(PkuName(*sides[False][pairs], 2), (actions[-1],), 1))
    return videos


def _plan_damage(facts: PkuDataSet, broken: int) -> list[tuple[Video, str]]:
    """The broken recordings, and what is wrong with each; their takes are the last that train."""
    kinds = [*TEXTS, *LABELLING]
    takes = _takes(facts, test=False)[::-1]
    return [
        (Video(PkuName(*takes[index], 1 + index % 3), (1 + index % 10,), 1), kinds[index % len(kinds)])
        for index in range(broken - broken // 2)
    ]


def _takes(facts: PkuDataSet, test: bool) -> list[tuple[int, int]]:
    """Setup and subject of the takes of which all views were released, on one side of the cross-subject split."""
    column, *sides = facts.rules["xsub"]
    lacking = {name.rpartition("-")[0] for name in facts.never_released}
    return [
        (name.setup, name.subject)
        for name in facts.released()
        if name.camera == 1 and getattr(name, column) in sides[test] and str(name).rpartition("-")[0] not in lacking
    ]


def _actions(facts: PkuDataSet) -> list[int]:
    """Numbers of the classes in the order in which growing sets take them up; in phase I every fifth is for two."""
    actions = [action for action in range(1, len(CLASSES) + 1) if action not in INTERACTIONS]
    for number, action in enumerate(sorted(INTERACTIONS) if facts.name == "pku1" else ()):
        actions.insert(5 * number + 2, action)
    return actions


def _split_list(facts: PkuDataSet, rule: str, names: list[PkuName]) -> str:
    """A split list, spelt as the data set spells it."""
    column, train, _ = facts.rules[rule]
    sides: tuple[list[str], list[str]] = [], []
    for name in names:
        sides[getattr(name, column) not in train].append(str(name))
    return "".join(
        f"{title} videos: \n{', '.join(side)}, \n"
        for title, side in zip(("Training", "Validataion"), sides, strict=True)
    )


def _words(name: PkuName) -> tuple[int, int, int]:
    """A name as words of a seed."""
    return name.setup, name.subject + 1, name.camera


def _video(video: Video, seed: int) -> tuple[bytes, list[bytes]]:
    """A video's text and the rows of its label file."""
    stage = _stage(video, seed)
    xyz, intervals = _seen(stage, video, seed)
    confidence = np.random.default_rng([seed, _VIEW, *_words(video.name), 1]).choice([1, 2, 2, 2], video.labelled)
    rows = [
        b"%d,%d,%d,%d" % (action, start, end, sure)
        for action, (start, end), sure in zip(video.take, intervals, confidence, strict=False)
    ]
    numbers = xyz.swapaxes(0, 1).reshape(xyz.shape[1], -1).astype(np.float32)
    out = np.empty(numbers.size * FIXED_BYTES + len(numbers), np.uint8)
    return out[: write_fixed_rows(numbers, out)].tobytes(), rows


def _stage(video: Video, seed: int) -> _Stage:
    """What happens in a take: its actions with rests between, in which the actor moves on from pose to pose."""
    take = _words(video.name)[:2]
    rng = np.random.default_rng([seed, _TAKE, *take, len(video.take)])
    who = take[1] or take[0]
    people = [draw_person(np.random.default_rng([seed, part, who])) for part in (_PERSON, _PARTNER)]
    pieces: list[NDArray[np.float64]] = []
    seconds: list[tuple[int, NDArray[np.float64]]] = []
    intervals = []
    at = 0
    for action in video.take:
        like = _LIKE[action - 1]
        frames = int(rng.integers(45, 100))
        parts = [perform(role, person, frames, rng) for role, person in zip(roles(like), people, strict=False)]
        apart = np.array([0.0, 0.0, gap(like) / 2 if len(parts) > 1 else 0.0])
        rest = 0 if at == 0 and video.starts_at_once else int(rng.integers(25, 60))
        ease = 3 * (share := np.linspace(0.0, 1.0, rest)[:, None, None]) ** 2 - 2 * share**3
        moved = parts[0] + apart
        before = pieces[-1][-1] if pieces else moved[0]
        pieces += [before + ease * (moved[0] - before), moved]
        at += rest
        if len(parts) > 1:
            seconds.append((at, turned(parts[1], 180.0) - apart))
        intervals.append((at, at + frames))
        at += frames
    xyz = np.zeros((2, at + 20 + _GONE, len(KINECT_V2.joints), 3))
    there = np.zeros(xyz.shape[:2], np.bool_)
    xyz[0, :at], xyz[0, at:] = np.concatenate(pieces), pieces[-1][-1]
    there[0, :-_GONE] = True
    for start, partner in seconds:
        xyz[1, start - 10 : start], xyz[1, start : start + len(partner)] = partner[0], partner
        there[1, start - 10 : start + len(partner)] = True
    return _Stage(xyz, there, tuple(intervals))


def _seen(stage: _Stage, video: Video, seed: int) -> tuple[NDArray[np.float64], list[tuple[int, int]]]:
    """A take as one camera records it, (2, T, V, 3) with zeros where nobody is, and its actions' frames there.

    The camera starts up to half a second late and its clock is up to 1.5 % off; besides a Kinect's jitter and inferred
    joints, one action in twelve has two frames in which nobody is found.
    """
    take = np.random.default_rng([seed, _TAKE, *_words(video.name)[:2]])
    facing, height, distance = take.normal(0.0, 6.0), take.uniform(0.9, 1.3), take.uniform(2.9, 3.8)
    spot = np.array([take.uniform(-0.3, 0.3), 0.0, take.uniform(-0.2, 0.2)])
    rng = np.random.default_rng([seed, _VIEW, *_words(video.name)])
    late, rate = 0 if video.starts_at_once else int(rng.integers(0, 16)), rng.uniform(0.985, 1.015)
    frames = int((stage.xyz.shape[1] - 1 - late) / rate)
    at = (late + rate * np.arange(frames)).astype(int)
    intervals = [(round((start - late) / rate), round((end - late) / rate)) for start, end in stage.intervals]
    there = stage.there[:, at]
    for start, _ in intervals:
        if rng.random() < 1 / 12:
            there[:, start + 20 : start + 22] = False
    bodies = turned(stage.xyz[:, at], _FACING[video.name.camera] + facing) + spot
    xyz = np.stack([track(from_camera(body, height, distance), np.int64(0), rng).xyz for body in bodies])
    xyz[~there] = 0.0
    if video.name.camera == 1 and video.labelled > 2:
        intervals[1] = intervals[1][0], intervals[2][0] + 6
    return xyz, intervals[: video.labelled]
