"""Find the original recording of a stored clip, and align its frames with those of the clip."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RawFileError, SkelepipeError, UnusableClip
from pipeline.recipes.recipe import Recipe, recipe_from_plain, stages
from pipeline.skeleton.recording import Clip, Recording
from pipeline.sources.registry import open_source
from pipeline.sources.source import Entry, Reading
from pipeline.store.store import Store

CHANGE_COUNTS = ("joints_despiked", "joints_filled", "joints_smoothed")
"""Counts of the steps whose changes are followed."""
REPAIR_COUNTS = ("joints_filled", "joints_smoothed")
"""Counts of the joints that a recipe has repaired; filled joints include removed spikes."""
REPAIRED_METRES = 0.01
"""Distance from which a smoothed joint counts as repaired: the filter for jitter moves most joints by millimetres."""
MAX_BODIES = 6
"""Maximum number of bodies in a frame: as many as Kinect v2 tracks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Original:
    """A clip as recorded, before its recipe."""

    xyz: NDArray[np.float32]
    """(M, T, V, 3) metres, in the sensor's coordinates; NaN where the file has no body, or a joint at (0, 0, 0)."""
    frames: NDArray[np.int64]
    """(T of the stored clip,) the frame of `xyz` from which each frame of the stored clip comes."""
    is_exact: bool
    """Whether `frames` was found by applying the recipe; otherwise (resized or repeated clips) it is spread evenly."""
    repaired: NDArray[np.bool_] | None = None
    """(M, T, V) of the stored clip: joints that a step took out, filled in, or moved by more than REPAIRED_METRES to
    remove jitter; None if a later step rearranges bodies or frames so that they cannot be followed."""

    @property
    def repaired_as_recorded(self) -> NDArray[np.bool_] | None:
        """`repaired` for the bodies as recorded; None if there are several, because their order may differ."""
        return self.repaired if self.repaired is not None and len(self.repaired) == len(self.xyz) == 1 else None


class Originals:
    """The raw recordings of a store, in the folders or zips that the user gives."""

    def __init__(self, store: Store, roots: Sequence[Path]) -> None:
        """Find the recordings.

        Raises:
            ArtifactNotFound: a root does not exist.
            SkelepipeError: it contains no recording of the data set.
        """
        self._store = store
        self._recipe = recipe_from_plain(store.attributes["recipe"], str(store.path))
        self._source = open_source(store.attributes["dataset"], roots)
        survey = self._source.survey(keep_missing=True)
        self._entries: dict[str, Entry] = {entry.name: entry for entry in survey.entries}

    def find(self, row: int) -> Original | None:
        """Return the recorded clip of a row; None if its file is missing or differs from the one that was ingested."""
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
            for reading in self._source.read(entry, self._recipe.frame_index):
                if isinstance(reading, Reading):
                    yield reading
        except RawFileError:
            return  # the file has changed since

    def _original(self, recording: Recording, frames: int) -> Original | None:
        try:
            first, repaired = _follow_recipe(self._recipe, recording)
        except UnusableClip:
            return None
        xyz = bodies_in_slots(recording)
        if first is None or first + frames > xyz.shape[1]:
            spread = np.floor((np.arange(frames) + 0.5) * xyz.shape[1] / frames).astype(np.int64)
            return Original(xyz=xyz, frames=spread, is_exact=False)
        return Original(xyz=xyz, frames=first + np.arange(frames), is_exact=True, repaired=repaired)


def _follow_recipe(recipe: Recipe, recording: Recording) -> tuple[int | None, NDArray[np.bool_] | None]:
    """Apply a recipe, and follow frames and repaired joints.

    Steps that trim frames are recognised by their output, which is a contiguous part of their input.

    Returns:
        The frame of the recording that becomes the clip's first frame, None if the recipe resamples frames; and
        `Original.repaired`.
    """
    first, before = 0, None
    repaired: NDArray[np.bool_] | None = None
    for clip in stages(recipe, recording):
        if isinstance(clip, Recording):
            continue
        if before is None:
            if clip.xyz.shape[1] > recording.frames:
                return None, None
            repaired = np.zeros(clip.xyz.shape[:3], np.bool_)
        elif clip.xyz.shape[1] != before.xyz.shape[1]:
            trimmed = _trimmed_frames(before, clip)
            if trimmed is None:
                return None, None
            first += trimmed
            repaired = None if repaired is None else repaired[:, trimmed : trimmed + clip.xyz.shape[1]]
        elif _are_bodies_rearranged(before, clip):
            is_followed = repaired is not None and not repaired.any()
            repaired = np.zeros(clip.xyz.shape[:3], np.bool_) if is_followed else None
        elif repaired is not None:
            repaired = repaired | _repairs(before, clip)
        before = clip
    return first, repaired


def _are_bodies_rearranged(before: Clip, after: Clip) -> bool:
    """Whether a step dropped, added or exchanged bodies."""
    bodies = range(len(before.xyz))
    return len(after.xyz) != len(before.xyz) or any(
        np.array_equal(after.xyz[one], before.xyz[other], equal_nan=True)
        for one in bodies
        for other in bodies
        if one != other
    )


def _repairs(before: Clip, after: Clip) -> NDArray[np.bool_]:
    """Return (M, T, V) joints that a step repaired: taken out, filled in, or moved by a step that counts repairs."""
    if all(before.step_counts.get(name) == after.step_counts.get(name) for name in CHANGE_COUNTS):
        return np.zeros(after.xyz.shape[:3], np.bool_)
    missing = [np.isnan(clip.xyz).any(axis=3) for clip in (before, after)]
    distance = np.linalg.norm(after.xyz - before.xyz, axis=3)
    moved: NDArray[np.bool_] = (missing[0] != missing[1]) | (distance > REPAIRED_METRES)
    return moved


def find_raw_folders(store: Store, roots: Sequence[Path], default_root: Path) -> tuple[Originals | None, list[str]]:
    """Find the recordings of a store; also return notes on where they were searched.

    Args:
        store: the store.
        roots: folders and zips given by the user.
        default_root: a folder to search if no root is given.

    Raises:
        SkelepipeError: a given root does not exist, or contains no recording of the data set.
    """
    if roots:
        return Originals(store, roots), []
    if not default_root.is_dir():
        return None, [f"only as stored: {default_root}/ does not exist; give the folder of the recordings with --raw"]
    try:
        return Originals(store, [default_root]), [f"recordings: {default_root}/"]
    except SkelepipeError:
        return None, [
            f"only as stored: {default_root}/ contains no {store.attributes['dataset']} recording; "
            "give the folder with --raw"
        ]


def bodies_in_slots(recording: Recording) -> NDArray[np.float32]:
    """Return (M, T, V, 3): the bodies of a recording by their slot in each frame; NaN where missing."""
    slots = min(int(recording.slot.max(initial=0)) + 1, MAX_BODIES)
    used = recording.slot < slots
    xyz = np.full((slots, recording.frames, *recording.xyz.shape[1:]), np.nan, np.float32)
    xyz[recording.slot[used], recording.frame[used]] = recording.xyz[used]
    xyz[(xyz == 0).all(axis=-1)] = np.nan  # sensors and tools write zeros for a joint that is not visible
    return xyz


def _trimmed_frames(before: Clip, after: Clip) -> int | None:
    """Return how many frames a step has trimmed at the start; None if it did anything else."""
    frames = after.xyz.shape[1]
    for start in range(before.xyz.shape[1] - frames + 1):
        if np.array_equal(before.xyz[:, start : start + frames], after.xyz, equal_nan=True):
            return start
    return None
