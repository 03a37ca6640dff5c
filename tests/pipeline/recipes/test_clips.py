"""A recording that needs too much memory is refused, and the others are processed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.files.raw_files import RawFile
from pipeline.recipes import clips
from pipeline.recipes.clips import OUT_OF_MEMORY, process_recording
from pipeline.recipes.recipe import load_recipe
from pipeline.skeleton.layout import KINECT_V2
from pipeline.skeleton.recording import Recording
from pipeline.skeleton.segments import FrameIndex
from pipeline.sources.source import Entry, Labels, Reading, Refusal

ENTRY = Entry("video", RawFile(Path("video.npy")))
RECIPE = load_recipe("clean")


class FewClips:
    """Yields three clips, or runs out of memory in between."""

    def __init__(self, fails: bool) -> None:
        self.fails = fails

    def read(self, entry: Entry, frame_index: FrameIndex) -> Iterator[Reading | Refusal]:
        pose = np.random.default_rng(0).normal(0, 0.5, (1, 1, 25, 3)) + np.linspace(1, 2, 30)[None, :, None, None]
        for number in range(3):
            if self.fails and number == 1:
                np.empty(1 << 60, np.uint8)
            recording = Recording.from_bodies(f"clip{number}", KINECT_V2, pose.astype(np.float32))
            yield Reading(recording=recording, labels=Labels(label=0), crc32=0)


def outcomes(reader: FewClips) -> list[str]:
    """The name of each clip, or the reason why there is none."""
    results = process_recording(ENTRY, reader, RECIPE)
    return [f"{result.name}: {result.reason}" if isinstance(result, Refusal) else result[1].name for result in results]


def test_a_recording_that_cannot_be_read_into_memory_is_refused() -> None:
    assert outcomes(FewClips(fails=True)) == ["clip0", f"video: {OUT_OF_MEMORY}"]


def test_a_clip_that_cannot_be_processed_in_memory_is_refused_and_the_others_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = clips.apply_recipe

    def allocate(recipe: object, recording: Recording) -> object:
        if recording.name == "clip1":
            np.empty(1 << 60, np.uint8)
        return process(RECIPE, recording)

    monkeypatch.setattr(clips, "apply_recipe", allocate)
    assert outcomes(FewClips(fails=False)) == ["clip0", f"clip1: {OUT_OF_MEMORY}", "clip2"]


def test_without_any_memory_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise all further recordings would be refused, and a store without them published."""
    monkeypatch.setattr(clips, "SPARE_BYTES", 1 << 60)
    with pytest.raises(MemoryError, match=r"at video\.npy; less than .* MiB are left"):
        outcomes(FewClips(fails=True))


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "apply_recipe", lambda recipe, recording: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        outcomes(FewClips(fails=False))
