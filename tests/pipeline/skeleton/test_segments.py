from typing import get_args

import numpy as np
import pytest

from pipeline.skeleton.segments import DEFAULT_FRAME_INDEX, FrameIndex, cut_interval, frame_range
from tests.support.people import people, recorded


@pytest.mark.parametrize(
    ("convention", "wanted"), [("0-exclusive", (3, 8)), ("0-inclusive", (3, 9)), ("1-inclusive", (2, 8))]
)
def test_the_conventions_are_those_of_the_peers(convention, wanted):
    assert frame_range(3, 8, convention) == wanted
    assert get_args(FrameIndex)[0] == DEFAULT_FRAME_INDEX


@pytest.mark.parametrize(("first", "stop"), [(0, 40), (5, 12), (39, 40), (0, 1)])
def test_a_cut_is_the_slice_of_every_body(first, stop):
    xyz = people(np.random.default_rng(0), frames=40, bodies=2)
    xyz[1, 7:9] = np.nan  # away
    whole = recorded(xyz)
    clip, beyond = cut_interval(whole, "clip", first, stop)
    assert (clip.name, clip.frames, beyond) == ("clip", stop - first, 0)
    kept = (whole.frame >= first) & (whole.frame < stop)
    np.testing.assert_array_equal(clip.frame, whole.frame[kept] - first)
    for field in ("slot", "body", "xyz", "tracking"):
        np.testing.assert_array_equal(getattr(clip, field), getattr(whole, field)[kept])


@pytest.mark.parametrize(
    ("first", "stop", "frames", "beyond"),
    [(-1, 5, 5, 1), (30, 45, 10, 5), (40, 50, 0, 10), (50, 60, 0, 10), (-5, -1, 0, 4)],
)
def test_frames_that_the_recording_does_not_have_are_counted(first, stop, frames, beyond):
    clip, outside = cut_interval(recorded(people(np.random.default_rng(0), frames=40)), "clip", first, stop)
    assert (clip.frames, outside) == (frames, beyond)
    assert len(clip.frame) == frames
