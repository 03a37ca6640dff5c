"""Recordings of other frame rates become recordings at 30 frames per second."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import RawFileError
from pipeline.skeleton.frame_rate import at_common_rate
from pipeline.skeleton.layout import KINECT_V2
from pipeline.skeleton.recording import Recording


def motion(rate: float, seconds: float = 4) -> NDArray[np.float32]:
    """Joints that swing once a second, (1, T, 25, 3), sampled in the middle of each frame."""
    time = (np.arange(round(rate * seconds)) + 0.5) / rate
    phase = np.linspace(0, 3, 75).reshape(25, 3)
    return (2 + np.sin(2 * np.pi * time[:, None, None] + phase)).astype(np.float32)[None]


def recording(xyz: NDArray[np.float32], confidence: NDArray[np.float32] | None = None) -> Recording:
    return Recording.from_bodies("r", KINECT_V2, xyz, confidence)


@pytest.mark.parametrize("rate", [10.0, 15.0, 25.0, 50.0, 60.0, 120.0])
def test_the_same_motion_at_another_rate_is_nearly_the_same(rate: float) -> None:
    found = at_common_rate(recording(motion(rate)), rate)
    wanted = motion(30)[0]
    assert found.frames == len(wanted) == 120
    assert np.abs(found.xyz - wanted)[2:-2].max() < (0.06 if rate <= 15 else 0.02)


@pytest.mark.parametrize("rate", [None, 30.0, 29.97])
def test_recordings_at_30_frames_per_second_are_not_changed(rate: float | None) -> None:
    original = recording(motion(30))
    assert at_common_rate(original, rate) is original


def test_missing_joints_and_absent_bodies_stay_missing() -> None:
    xyz = np.concatenate([motion(60), motion(60)])
    xyz[0, :, 3] = 0
    xyz[1, 100:] = 0
    found = at_common_rate(recording(xyz, np.full(xyz.shape[:3], 0.5, np.float32)), 60)
    assert not found.xyz[found.body == 0][:, 3].any()
    assert found.frame[found.body == 1].max() == 49
    assert found.confidence is not None
    np.testing.assert_allclose(found.confidence, 0.5)


def test_a_recording_that_would_become_too_long_is_an_error_with_its_rate() -> None:
    frames = 70_000
    xyz = np.ones((1, frames, 25, 3), np.float32)
    with pytest.raises(RawFileError, match=r"2100000 frames at 30 per second, too many; check frames_per_second = 1"):
        at_common_rate(recording(xyz), 1.0)
