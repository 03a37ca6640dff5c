"""Recordings that belong to no data set: any file of one kind of skeleton, whatever it is called, with no label asked.

Two notations of Kinect v2's skeletons are told apart by their first line (NTU RGB+D's, PKU-MMD's); arrays come as
folder data sets have them, with a manifest or without.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.errors import ArtifactError, ArtifactNotFound, RawFileError, SkelepipeError
from pipeline.files import raw_files
from pipeline.files.raw_files import RawFile
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

RECORDING, LABELS = ".skeleton", ".label"
TEXT = (RECORDING, ".txt", LABELS)
UNKNOWN = Labels(label=-1)


@dataclass(frozen=True, slots=True)
class Found:
    """What lies where the user said."""

    entries: list[tuple[Reader, Entry]] = field(default_factory=list)
    """Recordings and what reads them: roots as they were named, below each in order of name."""
    refused: list[Refusal] = field(default_factory=list)
    """Files that the user named and that cannot be such a recording."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Files that were only found, counted by why they are no such recording."""


class TextRecordings:
    """Kinect v2's text: a recording of NTU RGB+D's form is one clip; of PKU-MMD's as its labels cut it, else one."""

    def __init__(self) -> None:
        self._reader = TextReader()

    def read(self, entry: Entry, frame_index: FrameIndex) -> Iterator[Reading | Refusal]:
        """Parse one recording and yield its clips; of a label file beside it only the intervals count.

        Raises:
            RawFileError: it cannot be used as it stands.
        """
        with raw_files.opened(entry.file) as stream:
            size, crc32 = self._reader.read(stream)
        text = self._reader.text
        if is_pku(entry.file, text[: min(size, pku_source.HEAD)].tobytes()):
            if entry.beside:
                yield from pku_source.read_video(entry, self._reader, frame_index, lambda row: UNKNOWN)
                return
            recording = pku_parser.parse(text, size, source=str(entry.file), name=entry.name)
        else:
            recording = ntu_parser.parse(text, size, source=str(entry.file), name=entry.name)
        yield Reading(recording=recording, labels=UNKNOWN, crc32=crc32)


class ArrayRecordings:
    """Arrays of one layout, a file a clip, in units and axes that a `skeleton.toml` says."""

    def __init__(self, layout: Layout, skeleton: Path | None) -> None:
        """Take arrays as one `skeleton.toml` says, or each as the nearest does, beside it or above.

        Raises:
            ArtifactNotFound: there is no such file.
            ConfigError, LayoutError: it is wrong.
            ArtifactError: it describes another kind of skeleton.
        """
        self._layout = layout
        self._common = None if skeleton is None else described(skeleton, layout)
        self._read: dict[Path, FolderSpec] = {}

    def read(self, entry: Entry, frame_index: FrameIndex) -> Iterator[Reading | Refusal]:
        """Read one file, which is one clip.

        Raises:
            RawFileError: it cannot be used as it stands, or nothing says in which units it is.
        """
        crc32 = raw_files.crc32(entry.file)
        with open_arrays(entry.file, self._spec(entry.file)) as bodies_of:
            bodies = bodies_of("")
        recording = Recording.from_bodies(entry.name, self._layout, bodies.xyz, bodies.confidence)
        yield Reading(recording=recording, labels=UNKNOWN, crc32=crc32)

    def _spec(self, file: RawFile) -> FolderSpec:
        if self._common is not None:
            return self._common
        nearest = _nearest(file.path.parent.absolute())
        if nearest is not None:
            if nearest not in self._read:
                self._read[nearest] = described(nearest, self._layout)
            return self._read[nearest]
        if self._layout == KINECT_V2:  # Kinect's own: metres, y up
            return FolderSpec(
                path=Path(), layout=KINECT_V2, per_metre=1, up="y", frames_per_second=None, classes=None, splits={}
            )
        raise RawFileError(
            str(file),
            0,
            f"no {SKELETON_TOML} beside it or above says its units and axes; name one with --skeleton",
        )


def find_recordings(roots: Sequence[Path], layout: Layout, skeleton: Path | None = None) -> Found:
    """Recordings of one kind of skeleton at or below `roots`: files, folders, zips, folder data sets.

    Args:
        roots: what the user named.
        layout: the kind of skeleton.
        skeleton: the `skeleton.toml` by which arrays are read that no manifest names; None: the nearest.

    Raises:
        ArtifactNotFound: a root does not exist.
        ArtifactError: a folder data set, or `skeleton`, is of another kind of skeleton.
        ConfigError: what describes a folder data set is wrong.
        SkelepipeError: nothing is there, or labels and recordings cannot be paired.
    """
    found = Found()
    text, arrays = TextRecordings(), ArrayRecordings(layout, skeleton)
    texts: list[RawFile] = []
    labels: list[RawFile] = []
    places: dict[RawFile, int] = {}
    reached: set[tuple[Path, str]] = set()
    for root in roots:
        if (root / SKELETON_TOML).is_file() and (root / MANIFEST_CSV).is_file():
            _take_folder(root, layout, found)
            continue
        for file in _files(root, found):
            place = (file.path.resolve(), file.member)
            if place in reached:
                continue
            reached.add(place)
            suffix = file.suffix.lower()
            is_named = file.path == root and not file.member
            if suffix in SUFFIXES and file.name.lower() != MANIFEST_CSV:
                found.entries.append((arrays, Entry(file.stem, file)))
            elif suffix not in TEXT:
                _pass_over(found, file, is_named, f"none of {', '.join((*TEXT[:2], *SUFFIXES))}")
            elif layout != KINECT_V2:
                _pass_over(found, file, is_named, f"{KINECT_V2.name} skeletons, expected {layout.name}")
            elif pku_source.is_label(file):
                labels.append(file)
            elif suffix == RECORDING or is_named or PkuName.parse(file.stem) or _is_recording(pku_source.head_of(file)):
                texts.append(file)
                places[file] = len(found.entries)
                found.entries.append((text, Entry(file.stem, file)))
            else:
                _pass_over(found, file, is_named, "text without skeletons")
    for video, label in _pairs(texts, labels).items():
        found.entries[places[video]] = (text, Entry(video.stem, video, (label,)))
    if idle := len(labels) - sum(len(entry.beside) for _, entry in found.entries):
        found.left_out["labels without a recording"] += idle
    if not found.entries and not found.refused:
        seen = "; ".join(f"{what}: {count}" for what, count in found.left_out.items())
        raise SkelepipeError(
            f"{', '.join(map(str, roots))}: no recording of {layout.name} skeletons there ({seen or 'nothing at all'})"
        )
    return found


def is_pku(file: RawFile, head: bytes) -> bool:
    """Whether a recording is in PKU-MMD's notation rather than NTU RGB+D's: its first row says so, else its suffix."""
    return pku_source.is_row(head) or (file.suffix.lower() != RECORDING and not _is_count(head))


def _is_recording(head: bytes) -> bool:
    """Whether a text begins as a recording does, in one notation or the other."""
    return pku_source.is_row(head) or _is_count(head)


def _is_count(head: bytes) -> bool:
    """Whether a text begins with a line that is one whole number: NTU RGB+D's, of frames."""
    return head.split(b"\n", 1)[0].strip().isdigit()


def described(path: Path, layout: Layout) -> FolderSpec:
    """What a `skeleton.toml` says, if it is of one kind of skeleton, whatever it is called there.

    Raises:
        ArtifactNotFound: there is no such file.
        ConfigError, LayoutError: it is wrong.
        ArtifactError: it describes another kind of skeleton.
    """
    if not path.is_file():
        raise ArtifactNotFound(path, f"name a {SKELETON_TOML}")
    spec = read_skeleton_toml(path)
    _refuse_other(path, spec.layout, layout)
    return replace(spec, layout=layout)


def _refuse_other(path: Path, there: Layout, layout: Layout) -> None:
    if replace(there, name=layout.name) != layout:
        raise ArtifactError(
            f"{path}: holds {there.name} skeletons ({len(there.joints)} joints), expected {layout.name} "
            f"({len(layout.joints)} joints, the same joints, parents and parts); name recordings that fit"
        )


def _take_folder(root: Path, layout: Layout, found: Found) -> None:
    """Add a folder data set's recordings, cut as its manifest says."""
    source = FolderSource([root], labelled=False)
    _refuse_other(root, source.layout, layout)
    survey = source.survey(keep_missing=True)
    found.entries.extend((source, entry) for entry in survey.entries)
    found.left_out.update(survey.left_out)


def _files(root: Path, found: Found) -> list[RawFile]:
    """The files at or below a root, in order of name; a named archive that is damaged is refused."""
    try:
        there = raw_files.find([root])
    except ArtifactNotFound:
        raise
    except SkelepipeError as error:
        if root.is_dir():
            raise
        reason = str(error).removeprefix(f"{root}: ")
        found.refused.append(Refusal(name=root.stem, file=RawFile(root), line=0, reason=reason))
        return []
    found.left_out.update(there.left_out)
    return sorted(there.files, key=lambda file: (file.stem, str(file)))


def _pass_over(found: Found, file: RawFile, is_named: bool, why: str) -> None:
    if is_named:
        found.refused.append(Refusal(name=file.stem, file=file, line=0, reason=f"{why}; name recordings that fit"))
    else:
        found.left_out[why] += 1


def _pairs(videos: Sequence[RawFile], labels: Sequence[RawFile]) -> Mapping[RawFile, RawFile]:
    """The label file of every video that has one: that of the same name.

    Raises:
        SkelepipeError: a name that has labels stands for two files.
    """
    of: dict[str, RawFile] = {}
    pairs: dict[str, tuple[RawFile, RawFile]] = {}
    for label in labels:
        if twin := of.get(label.stem.upper()):
            raise SkelepipeError(f"{label.stem}: labels found twice, as {twin} and {label}; name one of them")
        of[label.stem.upper()] = label
    for video in videos:
        name = video.stem.upper()
        if name in of and name in pairs:
            raise SkelepipeError(f"{video.stem}: labels for two, {pairs[name][0]} and {video}; name one of them")
        if name in of:
            pairs[name] = (video, of[name])
    return dict(pairs.values())


def _nearest(folder: Path) -> Path | None:
    """The `skeleton.toml` in a folder or the next one above that has one."""
    there = (place / SKELETON_TOML for place in (folder, *folder.parents))
    return next((path for path in there if path.is_file()), None)
