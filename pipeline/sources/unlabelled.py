"""Find and read recordings for `predict`: files of one layout, with any name and without labels.

Text files have Kinect v2 skeletons, in the format of NTU RGB+D or of PKU-MMD; their first line decides which. Array
files have the formats of folder data sets, with or without a manifest.csv.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.errors import ArtifactError, ArtifactNotFound, RawFileError, SkelepipeError
from pipeline.files import raw_files
from pipeline.files.raw_files import RawFile
from pipeline.skeleton.frame_rate import at_common_rate
from pipeline.skeleton.layout import KINECT_V2, Layout
from pipeline.skeleton.recording import Recording
from pipeline.skeleton.segments import FrameIndex
from pipeline.sources.folder.arrays import SUFFIXES, open_arrays
from pipeline.sources.folder.manifest_csv import MANIFEST_CSV
from pipeline.sources.folder.skeleton_toml import SKELETON_TOML, FolderSpec, read_skeleton_toml
from pipeline.sources.folder.source import FolderSource
from pipeline.sources.ntu import parser as ntu_parser
from pipeline.sources.pku import parser as pku_parser
from pipeline.sources.pku import source as pku_source
from pipeline.sources.pku.names import PkuName
from pipeline.sources.source import Entry, Labels, Reader, Reading, Refusal
from pipeline.sources.text_buffer import TextReader

SKELETON_SUFFIX, TXT_SUFFIX, LABEL_SUFFIX = ".skeleton", ".txt", ".label"
TEXT_SUFFIXES = (SKELETON_SUFFIX, TXT_SUFFIX, LABEL_SUFFIX)
TOOL_OF_LAYOUT: Mapping[str, str] = {
    "mediapipe-33": "mediapipe",
    "body-25": "openpose",
    "coco-17": "coco",
    "azure-kinect-32": "azure-kinect",
    "kinect-v1": "kinect-v1",
}
"""The tool that `convert` reads, by the layout of its skeletons."""
NO_LABELS = Labels(label=-1)


@dataclass(frozen=True, slots=True)
class FoundRecordings:
    """The recordings at or below the paths that the user named."""

    entries: list[tuple[Reader, Entry]] = field(default_factory=list)
    """Recordings with their readers: roots in the order given, the recordings of a root sorted by name."""
    refused: list[Refusal] = field(default_factory=list)
    """Files that the user named and that are no recording of this layout."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Other files that are no recording of this layout: the reason and the number of files."""


class UnlabelledReader:
    """Reads text and array files of one skeleton layout; all labels are unknown."""

    def __init__(self, layout: Layout, skeleton: Path | None) -> None:
        """Set the layout, and the `skeleton.toml` that describes all array files.

        Args:
            layout: the expected skeleton layout.
            skeleton: a `skeleton.toml`; None: for each array file the one in its folder or the nearest folder above.

        Raises:
            ArtifactNotFound: `skeleton` does not exist.
            ConfigError, LayoutError: `skeleton` is invalid.
            ArtifactError: `skeleton` describes another layout.
        """
        self._layout = layout
        self._common_spec = None if skeleton is None else read_matching_spec(skeleton, layout)
        self._specs: dict[Path, FolderSpec] = {}
        self._text_reader = TextReader()

    def read(self, entry: Entry, frame_index: FrameIndex) -> Iterator[Reading | Refusal]:
        """Parse one recording and yield its clips: one, or those that the label file of a PKU-MMD video marks.

        Raises:
            RawFileError: the recording cannot be used, or the units of an array file are unknown.
        """
        if entry.file.suffix.lower() in SUFFIXES:
            yield self._read_arrays(entry)
        else:
            yield from self._read_text(entry, frame_index)

    def _read_text(self, entry: Entry, frame_index: FrameIndex) -> Iterator[Reading | Refusal]:
        with raw_files.open_file(entry.file) as stream:
            size, crc32 = self._text_reader.read(stream)
        text = self._text_reader.text
        if has_pku_format(entry.file, text[: min(size, pku_source.HEAD_BYTES)].tobytes()):
            if entry.companions:
                yield from pku_source.read_video(entry, self._text_reader, frame_index, lambda row: NO_LABELS)
                return
            recording = pku_parser.parse(text, size, source=str(entry.file), name=entry.name)
        else:
            recording = ntu_parser.parse(text, size, source=str(entry.file), name=entry.name)
        yield Reading(recording=recording, labels=NO_LABELS, crc32=crc32)

    def _read_arrays(self, entry: Entry) -> Reading:
        crc32 = raw_files.crc32(entry.file)
        spec = self._spec(entry.file)
        with open_arrays(entry.file, spec) as read_bodies:
            bodies = read_bodies("")
        whole = Recording.from_bodies(entry.name, self._layout, bodies.xyz, bodies.confidence)
        recording = at_common_rate(whole, spec.frames_per_second)
        return Reading(recording=recording, labels=NO_LABELS, crc32=crc32)

    def _spec(self, file: RawFile) -> FolderSpec:
        """Return the units and axes of an array file."""
        if self._common_spec is not None:
            return self._common_spec
        path = _nearest_skeleton_toml(file.path.parent.absolute())
        if path is not None:
            if path not in self._specs:
                self._specs[path] = read_matching_spec(path, self._layout)
            return self._specs[path]
        if self._layout == KINECT_V2:  # the sensor's own units and axes: metres, y up
            return FolderSpec(
                path=Path(), layout=KINECT_V2, per_metre=1, up="y", frames_per_second=None, classes=None, splits={}
            )
        raise RawFileError(
            str(file),
            0,
            f"units and axes are unknown: no {SKELETON_TOML} in its folder or above; name one with --skeleton",
        )


def find_recordings(roots: Sequence[Path], layout: Layout, skeleton: Path | None = None) -> FoundRecordings:
    """Find the recordings of one skeleton layout at or below `roots`: files, folders, zips, folder data sets.

    Args:
        roots: the paths that the user named.
        layout: the expected skeleton layout.
        skeleton: the `skeleton.toml` of array files outside of folder data sets; None: the nearest one of each file.

    Raises:
        ArtifactNotFound: a root does not exist.
        ArtifactError: a folder data set, or `skeleton`, has another layout.
        ConfigError: the description of a folder data set is invalid.
        SkelepipeError: there is no recording, or the pairing of label files with recordings is ambiguous.
    """
    found = FoundRecordings()
    reader = UnlabelledReader(layout, skeleton)
    texts: list[RawFile] = []
    labels: list[RawFile] = []
    seen: set[tuple[Path, str]] = set()
    for root in roots:
        if (root / SKELETON_TOML).is_file() and (root / MANIFEST_CSV).is_file():
            _add_folder_data_set(root, layout, found)
            continue
        for file in _files(root, found):
            location = (Path(os.path.realpath(file.path)), file.member)
            if location in seen:
                continue
            seen.add(location)
            suffix = file.suffix.lower()
            is_named = file.path == root and not file.member
            if suffix in SUFFIXES and file.name.lower() != MANIFEST_CSV:
                found.entries.append((reader, Entry(file.stem, file)))
            elif suffix not in TEXT_SUFFIXES:
                expected = ", ".join((SKELETON_SUFFIX, TXT_SUFFIX, *SUFFIXES))
                _skip_or_refuse(found, file, is_named, f"none of {expected}")
            elif layout != KINECT_V2:
                _skip_or_refuse(found, file, is_named, f"{KINECT_V2.name} skeletons, expected {layout.name}")
            elif pku_source.is_label_file(file):
                labels.append(file)
            elif (
                suffix == SKELETON_SUFFIX
                or is_named
                or PkuName.parse(file.stem)
                or _begins_like_recording(pku_source.read_head(file))
            ):
                texts.append(file)
                found.entries.append((reader, Entry(file.stem, file)))
            else:
                _skip_or_refuse(found, file, is_named, "text without skeletons")
    label_files = _pair_labels(texts, labels)
    for index, (_, entry) in enumerate(found.entries):
        if entry.file in label_files:
            found.entries[index] = (reader, replace(entry, companions=(label_files[entry.file],)))
    if unused := len(labels) - len(label_files):
        found.left_out["labels without a recording"] += unused
    if not found.entries and not found.refused:
        skipped = "; ".join(f"{reason}: {count}" for reason, count in found.left_out.items())
        where = ", ".join(map(str, roots))
        command = f"skelepipe convert {TOOL_OF_LAYOUT.get(layout.name, 'TOOL')} {where} --out converted"
        hint = f"; files of a pose tool are converted first: {command}" if found.left_out else ""
        raise SkelepipeError(
            f"{where}: no recording of {layout.name} skeletons there ({skipped or 'nothing at all'}){hint}"
        )
    return found


def has_pku_format(file: RawFile, head: bytes) -> bool:
    """Whether a text has PKU-MMD's format rather than NTU RGB+D's: its first row decides, otherwise its suffix."""
    return pku_source.is_skeleton_row(head) or (file.suffix.lower() != SKELETON_SUFFIX and not _is_frame_count(head))


def _begins_like_recording(head: bytes) -> bool:
    """Whether a text begins like a recording of NTU RGB+D or of PKU-MMD."""
    return pku_source.is_skeleton_row(head) or _is_frame_count(head)


def _is_frame_count(head: bytes) -> bool:
    """Whether the first line of a text is one integer: the number of frames in NTU RGB+D's format."""
    return head.split(b"\n", 1)[0].strip().isdigit()


def read_matching_spec(path: Path, layout: Layout) -> FolderSpec:
    """Read a `skeleton.toml` and check that it describes a layout, whatever it calls it.

    Raises:
        ArtifactNotFound: the file does not exist.
        ConfigError, LayoutError: the file is invalid.
        ArtifactError: it describes another layout.
    """
    if not path.is_file():
        raise ArtifactNotFound(path, f"name a {SKELETON_TOML}")
    spec = read_skeleton_toml(path)
    _require_layout(path, spec.layout, layout)
    return replace(spec, layout=layout)


def _require_layout(path: Path, layout: Layout, expected: Layout) -> None:
    if replace(layout, name=expected.name) != expected:
        raise ArtifactError(
            f"{path}: holds {layout.name} skeletons ({len(layout.joints)} joints), expected {expected.name} "
            f"({len(expected.joints)} joints, the same joints, parents and parts); name recordings of that layout"
        )


def _add_folder_data_set(root: Path, layout: Layout, found: FoundRecordings) -> None:
    """Add a folder data set's recordings; its manifest.csv says which frames are clips."""
    source = FolderSource([root], with_labels=False)
    _require_layout(root, source.layout, layout)
    survey = source.survey(keep_missing=True)
    found.entries.extend((source, entry) for entry in survey.entries)
    found.left_out.update(survey.left_out)


def _files(root: Path, found: FoundRecordings) -> list[RawFile]:
    """List the files at or below a root, sorted by name; refuse a damaged archive that the user named."""
    try:
        below = raw_files.find([root])
    except ArtifactNotFound:
        raise
    except SkelepipeError as error:
        if root.is_dir():
            raise
        reason = str(error).removeprefix(f"{root}: ")
        found.refused.append(Refusal(name=root.stem, file=RawFile(root), line=0, reason=reason))
        return []
    found.left_out.update(below.left_out)
    return sorted(below.files, key=lambda file: (file.stem, str(file)))


def _skip_or_refuse(found: FoundRecordings, file: RawFile, is_named: bool, reason: str) -> None:
    """Refuse a file that the user named; only count one that was found below a folder or in a zip."""
    if is_named:
        refusal = Refusal(name=file.stem, file=file, line=0, reason=f"{reason}; name recordings of that layout")
        found.refused.append(refusal)
    else:
        found.left_out[reason] += 1


def _pair_labels(videos: Sequence[RawFile], labels: Sequence[RawFile]) -> Mapping[RawFile, RawFile]:
    """Map each video that has a label file of the same name to that file.

    Raises:
        SkelepipeError: two label files have the same name, or two videos have the name of one label file.
    """
    label_by_name: dict[str, RawFile] = {}
    video_by_name: dict[str, RawFile] = {}
    for label in labels:
        if twin := label_by_name.get(label.stem.upper()):
            raise SkelepipeError(f"{label.stem}: labels found twice, as {twin} and {label}; name one of them")
        label_by_name[label.stem.upper()] = label
    for video in videos:
        name = video.stem.upper()
        if name not in label_by_name:
            continue
        if twin := video_by_name.get(name):
            raise SkelepipeError(f"{video.stem}: labels for two recordings, {twin} and {video}; name one of them")
        video_by_name[name] = video
    return {video: label_by_name[name] for name, video in video_by_name.items()}


def _nearest_skeleton_toml(folder: Path) -> Path | None:
    """Return the `skeleton.toml` in a folder or in the nearest folder above it that has one."""
    paths = (parent / SKELETON_TOML for parent in (folder, *folder.parents))
    return next((path for path in paths if path.is_file()), None)
