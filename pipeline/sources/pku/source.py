"""PKU-MMD as ingest sees it: which recordings and labels lie below some folders, and the clips of one recording."""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, RawFileError, SkelepipeError, UnusableClip
from pipeline.files import raw_files
from pipeline.files.raw_files import RawFile
from pipeline.skeleton.layout import KINECT_V2, Layout
from pipeline.skeleton.recording import Recording
from pipeline.skeleton.segments import FrameIndex, cut, interval
from pipeline.sources.pku import labels as pku_labels
from pipeline.sources.pku import parser as pku_parser
from pipeline.sources.pku.labels import LabelRow
from pipeline.sources.pku.names import CLASSES, DATA_SETS, VIEWS, PkuName
from pipeline.sources.source import Entry, Labels, Reading, Refusal, Survey, combined_crc32
from pipeline.sources.text_buffer import TextReader

HEAD = 256
"""Bytes by which a text is recognised."""
SUFFIXES = {".txt", ".skeleton", ".label"}
_LABEL_ROW = re.compile(rb"\s*\d+[ \t]*,")
_SKELETON_ROW = re.compile(rb"\s*([-+.\w]+[ \t]+){5}")


class PkuSource:
    """The videos of one phase of PKU-MMD and their label files, loose, in folders of any depth, or in zips."""

    layout: Layout = KINECT_V2
    classes: tuple[str, ...] = CLASSES
    shared = ""
    columns: tuple[str, ...] = ("confidence",)
    rules: Mapping[str, Any] = {}

    def __init__(self, dataset: str, roots: Sequence[Path]) -> None:
        """Look for a data set below some folders.

        Raises:
            ConfigError: it is neither `pku1` nor `pku2`.
        """
        if dataset not in DATA_SETS:
            raise ConfigError(f"unknown data set {dataset!r}; known: {', '.join(DATA_SETS)}")
        self.name = dataset
        self._facts = DATA_SETS[dataset]
        self._roots = tuple(roots)
        self._reader = TextReader()

    def survey(self, *, keep_missing: bool) -> Survey:
        """Find the videos, each with its label file; one without is found too and refused when it is read.

        `keep_missing` changes nothing: no list of damaged videos was ever published.

        Raises:
            ArtifactNotFound: a root does not exist.
            OSError: a folder cannot be looked into; what lies in it would be lost without a word.
            SkelepipeError: no video is there or no label file, one lies there twice, or a zip archive is damaged.
        """
        found = raw_files.find(self._roots)
        left_out = Counter(found.left_out)
        videos: dict[str, RawFile] = {}
        labels: dict[str, RawFile] = {}
        for file in found.files:
            name = PkuName.parse(file.stem)
            if file.suffix.lower() not in SUFFIXES:
                left_out["neither .txt nor .skeleton nor .label"] += 1
            elif name is None:
                left_out[f"not named like {self._facts.example}"] += 1
            elif not self._facts.holds(name):
                left_out["of the other phase"] += 1
            else:
                kind = labels if is_label(file) else videos
                if twin := kind.get(str(name)):
                    what = "labels" if kind is labels else "recording"
                    raise SkelepipeError(
                        f"{name}: {what} found twice, as {twin} and {file}; keep one, or name the folders that count"
                    )
                kind[str(name)] = file
        where = ", ".join(map(str, self._roots))
        if not videos:
            seen = "; ".join(f"{what}: {count}" for what, count in left_out.items())
            raise SkelepipeError(
                f"{where}: no {self.name} recording there ({seen or 'no other file either'}); "
                f"expected files like {self._facts.example}, loose, in folders or in zips"
            )
        if not labels:
            raise SkelepipeError(
                f"{where}: {len(videos)} recordings but no label file; unpack the labels' archive, too, "
                "and name the folder of both"
            )
        if idle := len(labels.keys() - videos.keys()):
            left_out["labels without a recording"] = idle
        return Survey(
            entries=tuple(
                Entry(name, videos[name], (labels[name],) if name in labels else ()) for name in sorted(videos)
            ),
            left_out=left_out,
            absent=self._absent(videos),
        )

    def read(self, entry: Entry, frame_index: FrameIndex) -> Iterator[Reading | Refusal]:
        """Parse one video, once, and yield the clips of its label rows in their order.

        A clip is called by its video and the line of its label, 0002-L_007. What an interval has beyond the video is
        left off and counted. A label file that cannot be used is one refusal, under the video's name.

        Raises:
            RawFileError: the video has no label file, or cannot be used as it stands.
        """
        name = PkuName.parse(entry.name)
        if name is None or not entry.beside:
            raise RawFileError(
                str(entry.file), 0, "no label file of that name was found; name the folder that has it, too"
            )

        def known(row: LabelRow) -> Labels:
            return Labels(
                label=row.action - 1,
                subject=name.subject,
                camera=name.camera,
                setup=name.setup,
                extra=(row.confidence,),
            )

        yield from read_video(entry, self._reader, frame_index, known)

    def _absent(self, videos: Mapping[str, RawFile]) -> dict[str, int]:
        """How many of the phase's videos are not there, by view."""
        gone = [name for name in self._facts.released() if str(name) not in videos]
        never = next((name for name in gone if name.setup == self._facts.one_view_short), None)
        gone = [name for name in gone if name != never]
        counts = Counter(VIEWS[name.camera - 1] for name in gone)
        return {f"view {view}": counts[view] for view in VIEWS if counts[view]}


def read_video(
    entry: Entry, reader: TextReader, frame_index: FrameIndex, known: Callable[[LabelRow], Labels]
) -> Iterator[Reading | Refusal]:
    """Parse one video and yield the clips of the rows of the label file beside it, as `PkuSource.read` promises.

    Args:
        entry: the video, its label file beside it.
        reader: has the buffer that the video is read into.
        frame_index: how the rows count frames.
        known: what is known of the clip that a row labels.

    Raises:
        RawFileError: the video cannot be used as it stands.
    """
    labels = entry.beside[0]
    try:
        text = raw_files.read(labels)
        rows = pku_labels.parse(text, str(labels))
    except RawFileError as error:
        yield Refusal(name=entry.name, file=labels, line=error.line, reason=error.reason)
        return
    with raw_files.opened(entry.file) as stream:
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
            yield Reading(recording=recording, labels=known(row), crc32=crc32, start=start, step_counts=step_counts)


def is_label(file: RawFile) -> bool:
    """Whether a file holds labels: its suffix says so, else how its first row begins, else its folder's name."""
    if file.suffix.lower() in (".label", ".skeleton"):
        return file.suffix.lower() == ".label"
    head = head_of(file)
    return bool(_LABEL_ROW.match(head)) or (not is_row(head) and "label" in file.folder.lower())


def is_row(head: bytes) -> bool:
    """Whether a text begins with a row of numbers with blanks between, as a video's frames are."""
    return _SKELETON_ROW.match(head) is not None


def head_of(file: RawFile) -> bytes:
    """How a file begins; empty when it cannot be read, which is told with the reason when it is read whole."""
    try:
        with raw_files.opened(file) as stream:
            return (stream.read(HEAD) or b"").removeprefix(b"\xef\xbb\xbf")
    except RawFileError:
        return b""


def _cut(video: Recording, name: str, row: LabelRow, frame_index: FrameIndex) -> tuple[Recording, int, int]:
    """The clip that a row labels, its first frame in the video, and how many of its frames the video does not have.

    Raises:
        UnusableClip: the interval is empty, or nothing of it is in the video, or nobody.
    """
    if row.fault:
        raise UnusableClip(row.fault)
    first, stop = interval(row.start, row.end, frame_index)
    as_written = f"frames {row.start} to {row.end}, counted {frame_index}"
    if stop <= first:
        raise UnusableClip(f"{as_written}: none; the row's frames may be swapped")
    clip, beyond = cut(video, name, first, stop)
    if not clip.frames:
        raise UnusableClip(f"{as_written}: the recording has none of them, only {video.frames}; is it truncated?")
    if not len(clip.frame):
        raise UnusableClip(f"{as_written}: nobody is seen in them")
    return clip, max(first, 0), beyond
