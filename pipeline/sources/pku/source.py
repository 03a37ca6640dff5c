"""PKU-MMD data source: find videos and label files, and cut a video into labelled clips."""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, RawFileError, SkelepipeError, UnusableClip
from pipeline.files import raw_files
from pipeline.files.raw_files import RawFile
from pipeline.skeleton.frame_rate import FRAMES_PER_SECOND
from pipeline.skeleton.layout import KINECT_V2, Layout
from pipeline.skeleton.recording import Recording
from pipeline.skeleton.segments import FrameIndex, cut_interval, frame_range
from pipeline.sources.pku import labels as pku_labels
from pipeline.sources.pku import parser as pku_parser
from pipeline.sources.pku.labels import LabelRow
from pipeline.sources.pku.names import CAMERA_LETTERS, CLASSES, DATA_SETS, PkuName
from pipeline.sources.source import Entry, Labels, Reading, Refusal, Survey, combined_crc32, not_named_like
from pipeline.sources.text_buffer import TextReader

HEAD_BYTES = 256
"""Bytes at the beginning of a file by which its format is recognised."""
MAX_LABEL_BYTES = 4 << 20
"""Largest label file: a row has about 15 bytes in it and 250 in memory; those of PKU-MMD have about 20 rows."""
SUFFIXES = {".txt", ".skeleton", ".label"}
_LABEL_ROW = re.compile(rb"\s*\d+[ \t]*,")
_SKELETON_ROW = re.compile(rb"\s*([-+.\w]+[ \t]+){5}")


class PkuSource:
    """The videos and label files of one phase of PKU-MMD, loose, in folders of any depth, or in zips."""

    layout: Layout = KINECT_V2
    frames_per_second: float | None = FRAMES_PER_SECOND
    classes: tuple[str, ...] = CLASSES
    shared = ""
    columns: tuple[str, ...] = ("confidence",)
    max_people: int | None = None
    rules: Mapping[str, Any] = {}

    def __init__(self, dataset: str, roots: Sequence[Path]) -> None:
        """Set the data set and the folders that the user named.

        Raises:
            ConfigError: `dataset` is neither `pku1` nor `pku2`.
        """
        if dataset not in DATA_SETS:
            raise ConfigError(f"unknown data set {dataset!r}; known: {', '.join(DATA_SETS)}")
        self.name = dataset
        self._data_set = DATA_SETS[dataset]
        self._roots = tuple(roots)
        self._reader = TextReader()

    def survey(self, *, keep_missing: bool) -> Survey:
        """Find the videos with their label files; a video without one is listed, too, and refused when it is read.

        `keep_missing` has no effect: no list of damaged videos was ever published.

        Raises:
            ArtifactNotFound: a root does not exist.
            OSError: a folder cannot be listed; skipping it would lose its recordings silently.
            SkelepipeError: there is no video or no label file, one was found twice, or a zip archive is damaged.
        """
        found = raw_files.find(self._roots)
        left_out = Counter(found.left_out)
        videos: dict[str, RawFile] = {}
        labels: dict[str, RawFile] = {}
        others = []
        for file in found.files:
            name = PkuName.parse(file.stem)
            if file.suffix.lower() not in SUFFIXES:
                left_out["neither .txt nor .skeleton nor .label"] += 1
            elif name is None:
                others.append(file)
            elif not self._data_set.contains(name):
                left_out["of the other phase"] += 1
            else:
                files = labels if is_label_file(file) else videos
                if twin := files.get(str(name)):
                    kind = "labels" if files is labels else "recording"
                    raise SkelepipeError(
                        f"{name}: {kind} found twice, as {twin} and {file}; keep one, or name only the folders to use"
                    )
                files[str(name)] = file
        left_out.update(not_named_like(self._data_set.example, others))
        where = ", ".join(map(str, self._roots))
        if not videos:
            skipped = "; ".join(f"{reason}: {count}" for reason, count in left_out.items())
            raise SkelepipeError(
                f"{where}: no {self.name} recording there ({skipped or 'no other file either'}); "
                f"expected files like {self._data_set.example}, loose, in folders or in zips"
            )
        if not labels:
            raise SkelepipeError(
                f"{where}: {len(videos)} recordings but no label file; unpack the archive of the labels, too, "
                "and name the folders of both"
            )
        if unused := len(labels.keys() - videos.keys()):
            left_out["labels without a recording"] = unused
        return Survey(
            entries=tuple(
                Entry(name, videos[name], (labels[name],) if name in labels else ()) for name in sorted(videos)
            ),
            left_out=left_out,
            absent=self._absent(videos),
        )

    def read(self, entry: Entry, frame_index: FrameIndex) -> Iterator[Reading | Refusal]:
        """Parse one video, once, and yield the clips of its label rows in their order.

        A clip is named after its video and the line of its label, such as 0002-L_007. Frames of an interval beyond the
        end of the video are cut off and counted. An invalid label file gives one refusal with the video's name.

        Raises:
            RawFileError: the video has no label file, or cannot be used.
        """
        name = PkuName.parse(entry.name)
        if name is None or not entry.companions:
            raise RawFileError(
                str(entry.file), 0, "no label file of that name was found; name the folder that has it, too"
            )

        def labels_of(row: LabelRow) -> Labels:
            return Labels(
                label=row.action - 1,
                subject=name.subject,
                camera=name.camera,
                setup=name.setup,
                extra=(row.confidence,),
            )

        yield from read_video(entry, self._reader, frame_index, labels_of)

    def _absent(self, videos: Mapping[str, RawFile]) -> dict[str, int]:
        """Count, for each camera, the phase's videos that were not found."""
        absent = [name for name in self._data_set.released() if str(name) not in videos]
        never_released = next((name for name in absent if name.setup == self._data_set.incomplete_take), None)
        absent = [name for name in absent if name != never_released]
        counts = Counter(CAMERA_LETTERS[name.camera - 1] for name in absent)
        return {f"view {letter}": counts[letter] for letter in CAMERA_LETTERS if counts[letter]}


def read_video(
    entry: Entry, reader: TextReader, frame_index: FrameIndex, labels_of: Callable[[LabelRow], Labels]
) -> Iterator[Reading | Refusal]:
    """Parse one video and yield a clip or a refusal for each row of its label file; see `PkuSource.read`.

    Args:
        entry: the video, with its label file as its companion.
        reader: provides the buffer that the video is read into.
        frame_index: how the rows count frames.
        labels_of: returns the labels of the clip of a row.

    Raises:
        RawFileError: the video cannot be used.
    """
    labels = entry.companions[0]
    if labels.size > MAX_LABEL_BYTES:
        reason = f"{labels.size:,} bytes, expected at most {MAX_LABEL_BYTES:,}; is this a label file?"
        yield Refusal(name=entry.name, file=labels, line=0, reason=reason)
        return
    try:
        text = raw_files.read(labels)
        rows = pku_labels.parse(text, str(labels))
    except RawFileError as error:
        yield Refusal(name=entry.name, file=labels, line=error.line, reason=error.reason)
        return
    with raw_files.open_file(entry.file) as stream:
        size, crc32 = reader.read(stream)
    video = pku_parser.parse(reader.text, size, source=str(entry.file), name=entry.name)
    crc32 = combined_crc32((crc32, zlib.crc32(text)))
    for row in rows:
        clip = f"{entry.name}_{row.line:03d}"
        try:
            recording, start, beyond = _cut(video, clip, row, frame_index)
        except UnusableClip as error:
            yield Refusal(name=clip, file=labels, line=row.line, reason=str(error))
        else:
            step_counts = {"frames_beyond": beyond}
            yield Reading(recording=recording, labels=labels_of(row), crc32=crc32, start=start, step_counts=step_counts)


def is_label_file(file: RawFile) -> bool:
    """Whether a file has labels, from its suffix, else from how its first row begins, else from its folder's name."""
    if file.suffix.lower() in (".label", ".skeleton"):
        return file.suffix.lower() == ".label"
    head = read_head(file)
    return bool(_LABEL_ROW.match(head)) or (not is_skeleton_row(head) and "label" in file.folder.lower())


def is_skeleton_row(head: bytes) -> bool:
    """Whether a text begins with a row of numbers separated by blanks, like a frame of a video."""
    return _SKELETON_ROW.match(head) is not None


def read_head(file: RawFile) -> bytes:
    """Read the first bytes of a file; empty when it cannot be read, which is reported when the whole file is read."""
    try:
        with raw_files.open_file(file) as stream:
            return (stream.read(HEAD_BYTES) or b"").removeprefix(b"\xef\xbb\xbf")
    except RawFileError:
        return b""


def _cut(video: Recording, name: str, row: LabelRow, frame_index: FrameIndex) -> tuple[Recording, int, int]:
    """Cut the clip of a label row out of a video.

    Returns:
        The clip, its first frame in the video, and the number of its frames that are beyond the video.

    Raises:
        UnusableClip: the interval is empty or outside the video, or nobody is seen in it.
    """
    if row.fault:
        raise UnusableClip(row.fault)
    first, stop = frame_range(row.start, row.end, frame_index)
    as_written = f"frames {row.start} to {row.end}, counted {frame_index}"
    if stop <= first:
        raise UnusableClip(f"{as_written}: none; the row's frames may be swapped")
    clip, beyond = cut_interval(video, name, first, stop)
    if not clip.frames:
        raise UnusableClip(f"{as_written}: the recording has none of them, only {video.frames}; is it truncated?")
    if not len(clip.frame):
        raise UnusableClip(f"{as_written}: nobody is seen in them")
    return clip, max(first, 0), beyond
