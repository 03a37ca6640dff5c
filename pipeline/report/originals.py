"""A store's clips as they were recorded: found again among the raw files, and shown frame for frame beside the clip."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RawFileError, SkelepipeError, UnusableClip
from pipeline.recipes.recipe import recipe_from_plain, stages
from pipeline.skeleton.recording import Clip, Recording
from pipeline.sources.registry import open_source
from pipeline.sources.source import Entry, Reading
from pipeline.store.store import Store

MAX_BODIES = 6
"""Of a frame: as many as Kinect v2 reports at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Original:
    """One clip before its recipe."""

    xyz: NDArray[np.float32]
    """(M, T, V, 3) metres, in the sensor's space; NaN where the file has nothing, or a joint at (0, 0, 0)."""
    shown: NDArray[np.int64]
    """(T of the stored clip,) the frame of `xyz` that each frame of the stored clip comes from."""
    is_exact: bool
    """Whether `shown` was found by following the recipe; else (resized, or repeated) it is spread evenly."""


class Originals:
    """The raw recordings of a store, in the folders or zips that the user names."""

    def __init__(self, store: Store, roots: Sequence[Path]) -> None:
        """Find the recordings.

        Raises:
            ArtifactNotFound: a root does not exist.
            SkelepipeError: it holds nothing of the store's data set.
        """
        self._store = store
        self._recipe = recipe_from_plain(store.attributes["recipe"], str(store.path))
        self._source = open_source(store.attributes["dataset"], roots)
        survey = self._source.survey(keep_missing=True)
        self._entries: dict[str, Entry] = {entry.name: entry for entry in survey.entries}

    def find(self, row: int) -> Original | None:
        """The clip of a row as it was recorded; None when it is not there, or is another file than the store's."""
        entry = self._entries.get(self._store.recordings[row])
        if entry is None:
            return None
        for reading in self._readings(entry):
            if reading.recording.name == self._store.names[row]:
                if reading.crc32 != int(self._store.columns["source_crc32"][row]):
                    return None
                return self._original(reading.recording, int(self._store.columns["frames"][row]))
        return None

    def _readings(self, entry: Entry) -> Iterator[Reading]:
        try:
            for found in self._source.read(entry, self._recipe.frame_index):
                if isinstance(found, Reading):
                    yield found
        except RawFileError:
            return  # it is another file than it was

    def _original(self, recording: Recording, frames: int) -> Original | None:
        try:
            first = self._first_frame(recording)
        except UnusableClip:
            return None
        xyz = bodies_in_slots(recording)
        if first is None or first + frames > xyz.shape[1]:
            spread = np.floor((np.arange(frames) + 0.5) * xyz.shape[1] / frames).astype(np.int64)
            return Original(xyz=xyz, shown=spread, is_exact=False)
        return Original(xyz=xyz, shown=first + np.arange(frames), is_exact=True)

    def _first_frame(self, recording: Recording) -> int | None:
        """The frame of a recording that the recipe makes a clip's first one; None when frames are not kept as they are.

        Steps that cut frames off are noticed by what is left: it is a stretch of what was there before.
        """
        first, before = 0, None
        for clip in stages(self._recipe, recording):
            if isinstance(clip, Recording):
                continue
            if before is None:
                if clip.xyz.shape[1] > recording.frames:
                    return None
            elif clip.xyz.shape[1] != before.xyz.shape[1]:
                cut = _cut(before, clip)
                if cut is None:
                    return None
                first += cut
            before = clip
        return first


def find_raw_folders(store: Store, roots: Sequence[Path], usual: Path) -> tuple[Originals | None, list[str]]:
    """The recordings of a store, and what is to be said of where they were looked for.

    Args:
        store: whose recordings.
        roots: folders and zips that the user named.
        usual: a folder that is looked into when none is named, if it is there and holds the data set.

    Raises:
        SkelepipeError: a root that was named does not exist, or holds nothing of the data set.
    """
    if roots:
        return Originals(store, roots), []
    if not usual.is_dir():
        return None, [f"only as stored: no {usual}/ here; --raw names the folder of the recordings"]
    try:
        return Originals(store, [usual]), [f"recordings {usual}/ (found here)"]
    except SkelepipeError:
        return None, [
            f"only as stored: {usual}/ holds no {store.attributes['dataset']} recording; --raw names the folder"
        ]


def bodies_in_slots(recording: Recording) -> NDArray[np.float32]:
    """(M, T, V, 3) the bodies of a recording, each in the place where it stands in its frame; missing is NaN."""
    places = min(int(recording.slot.max(initial=0)) + 1, MAX_BODIES)
    taken = recording.slot < places
    xyz = np.full((places, recording.frames, *recording.xyz.shape[1:]), np.nan, np.float32)
    xyz[recording.slot[taken], recording.frame[taken]] = recording.xyz[taken]
    xyz[(xyz == 0).all(axis=-1)] = np.nan  # how sensors and tools say that they do not see a joint
    return xyz


def _cut(before: Clip, after: Clip) -> int | None:
    """How many frames a step has cut off the front, when all that it did is to cut; else None."""
    frames = after.xyz.shape[1]
    for start in range(before.xyz.shape[1] - frames + 1):
        if np.array_equal(before.xyz[:, start : start + frames], after.xyz, equal_nan=True):
            return start
    return None
