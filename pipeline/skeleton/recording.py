"""Recording (rows in file order) and Clip (bodies on one time line): the input and output of recipe steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.skeleton.layout import Layout

STEP_COUNTS: Mapping[str, str] = {
    "bodies_found": "bodies as the sensor reports them: distinct ids, or slots for a recipe that ignores ids",
    "bodies_split": "times that an id jumped to another place and was taken for two bodies",
    "bodies_rejoined": "times that two bodies were found to be one person under two ids",
    "bodies_dropped": "bodies left out: ghosts, furniture, and all beyond the two most active",
    "frames_beyond": "frames of the annotated interval that the recording does not have",
    "frames_trimmed": "frames cut off at the ends",
    "frames_empty": "frames within the clip in which nobody is seen, before gaps are filled",
    "joints_missing": "joints of a body that is there which the file gives as zero, NaN or infinite",
    "joints_despiked": "joints that left their path for one frame and were taken out",
    "joints_filled": "joints interpolated in a short gap, spikes included",
    "joints_smoothed": "joints that the jitter filter moved",
}
"""The counts in `Clip.step_counts` with their meanings; a count that no step of the recipe fills stays 0."""

MAX_JOINTS = 50_000_000
"""Most joints of one recording, over all bodies and frames, in one array: 600 MB; real recordings have thousands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """What a parser returns: one row for every body in every frame, in file order. Empty frames have no row."""

    name: str
    """The sample's name, without suffix."""
    layout: Layout
    frames: int
    """Frames in the file, empty ones included."""
    frame: NDArray[np.int32]
    """(R,) the frame of each row, from 0, ascending (not strictly)."""
    slot: NDArray[np.int32]
    """(R,) the position of each row among the bodies of its frame, from 0."""
    body: NDArray[np.int64]
    """(R,) the sensor's id of the person; about 7.2e16, so it must stay an integer."""
    xyz: NDArray[np.float32]
    """(R, V, 3) metres in sensor space (x to its left, y up, z away); not finite where the file has such values."""
    tracking: NDArray[np.int8]
    """(R, V) 0 not tracked, 1 inferred, 2 tracked; 2 where the data set does not record it."""
    confidence: NDArray[np.float32] | None = None
    """(R, V) confidence of each detected joint, mostly from 0 to 1; None if the data set has none."""

    @classmethod
    def from_bodies(
        cls, name: str, layout: Layout, xyz: NDArray[np.float32], confidence: NDArray[np.float32] | None = None
    ) -> "Recording":
        """Make a recording from an array of bodies (M, T, V, 3) in metres, for data sets without ids.

        A body is absent from a frame in which all its values are zero or not finite. Its index is its id and slot.
        `confidence` is (M, T, V).
        """
        T, V = xyz.shape[1:3]
        present = (np.isfinite(xyz) & (xyz != 0)).any(axis=(2, 3)).T  # (T, M)
        frame, body = np.nonzero(present)
        return cls(
            name=name,
            layout=layout,
            frames=T,
            frame=frame.astype(np.int32),
            slot=body.astype(np.int32),
            body=body.astype(np.int64),
            xyz=xyz[body, frame],
            tracking=np.full((len(frame), V), 2, np.int8),
            confidence=None if confidence is None else confidence[body, frame],
        )

    @property
    def mean_confidence(self) -> NDArray[np.float32] | None:
        """(V,) mean confidence of each joint over all bodies and frames that have one; NaN if none has."""
        if self.confidence is None:
            return None
        known = np.isfinite(self.confidence)
        counts = known.sum(axis=0)
        sums = np.where(known, self.confidence, 0).sum(axis=0, dtype=np.float64)
        means: NDArray[np.float32] = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0).astype(
            np.float32
        )
        return means


@dataclass(kw_only=True, slots=True)
class Clip:
    """What recipe steps process and a store holds: M bodies on a common time line."""

    name: str
    layout: Layout
    xyz: NDArray[np.float32]
    """(M, T, V, 3) metres; NaN where a body or joint is missing; recipes of reference code write zeros there."""
    step_counts: dict[str, int] = field(default_factory=dict)
    """Counts of what the steps found and changed, by the names in STEP_COUNTS."""

    _measures: dict[Callable[..., NDArray[np.float64]], NDArray[np.float64]] = field(default_factory=dict, repr=False)

    def after(self, xyz: NDArray[np.float32], **counts: int) -> "Clip":
        """Return the clip after a step.

        Args:
            xyz: (M, T, V, 3) the new coordinates: a new array, or the clip's own if the step changed nothing.
            **counts: counts of what the step did, by the names in STEP_COUNTS; added to the counts of earlier steps.
        """
        step_counts = self.step_counts.copy()
        for name, count in counts.items():
            step_counts[name] = step_counts.get(name, 0) + int(count)
        measures = self._measures if xyz is self.xyz else {}
        return Clip(name=self.name, layout=self.layout, xyz=xyz, step_counts=step_counts, _measures=measures)

    def measured(self, measure: Callable[..., NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return `measure(xyz)`, (M, ...) per body; cached until a step changes a joint."""
        if measure not in self._measures:
            self._measures[measure] = measure(self.xyz)
        return self._measures[measure]
