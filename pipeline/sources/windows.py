"""Cut long recordings into windows of equal length, for predictions over time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.errors import ConfigError
from pipeline.skeleton.frame_rate import FRAMES_PER_SECOND
from pipeline.skeleton.segments import FrameIndex, cut_interval
from pipeline.sources.source import Entry, Reader, Reading, Refusal

SHORTEST_PART = 0.5
"""Part of a window that the rest at the end of a recording must have to be a window, too."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of a recording at 30 frames per second."""

    length: int
    """Frames of a window."""
    stride: int
    """Frames from the start of a window to the start of the next."""

    @classmethod
    def of_seconds(cls, window: float, stride: float) -> "Windows":
        """Return windows of some seconds, rounded to frames.

        Raises:
            ConfigError: window or stride is shorter than a frame.
        """
        for name, seconds in (("window", window), ("stride", stride)):
            if not seconds * FRAMES_PER_SECOND >= 1:
                raise ConfigError(f"{name} {seconds:g}: must be at least a frame, {1 / FRAMES_PER_SECOND:.3f} s")
        return cls(round(window * FRAMES_PER_SECOND), round(stride * FRAMES_PER_SECOND))

    def spans(self, frames: int) -> Iterator[tuple[int, int]]:
        """Yield first frame and end of each window of a recording; a short one is a single window."""
        for start in range(0, max(frames, 1), self.stride):
            end = min(start + self.length, frames)
            if start == 0 or end - start >= SHORTEST_PART * self.length:
                yield start, end


class WindowReader:
    """A reader whose readings are windows of those of another; names end in `@` and the first frame."""

    def __init__(self, reader: Reader, windows: Windows) -> None:
        self._reader, self._windows = reader, windows
        self.names = set[str]()
        """Names of the windows that were read."""

    def read(self, entry: Entry, frame_index: FrameIndex) -> Iterator[Reading | Refusal]:
        """Yield the windows of each reading of a recording.

        Raises:
            RawFileError: the file cannot be used.
        """
        for reading in self._reader.read(entry, frame_index):
            if isinstance(reading, Refusal):
                yield reading
                continue
            whole = reading.recording
            for start, end in self._windows.spans(whole.frames):
                window, _ = cut_interval(whole, f"{whole.name}@{start}", start, end)
                self.names.add(window.name)
                yield replace(reading, recording=window, start=reading.start + start)
