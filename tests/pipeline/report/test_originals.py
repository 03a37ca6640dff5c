"""A stored clip beside its recording: the right file, the right frames."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ArtifactNotFound, SkelepipeError
from pipeline.ingest.ingest import ingest
from pipeline.ingest.request import IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.report import originals
from pipeline.report.originals import Originals, bodies_in_slots
from pipeline.skeleton.layout import KINECT_V2
from pipeline.skeleton.recording import Clip, Recording
from pipeline.store.store import Store
from pipeline.synth.synth import write


def test_every_clip_is_found_with_its_frames(shared_store: Store, raw: Path) -> None:
    originals = Originals(shared_store, [raw])
    for row in range(0, len(shared_store), 7):
        original = originals.find(row)
        assert original is not None
        assert original.is_exact
        clip = shared_store.clip(row)
        assert len(original.frames) == clip.shape[1]
        assert original.frames[-1] < original.xyz.shape[1]
        text = (raw / f"{shared_store.names[row]}.skeleton").read_bytes()
        assert int(text.split(b"\n", 1)[0]) == original.xyz.shape[1]


def test_the_frames_shown_are_those_of_the_clip(shared_store: Store, raw: Path) -> None:
    """What `clean` keeps of a body is a turned and moved copy: distances between its joints are the file's."""
    originals = Originals(shared_store, [raw])
    looked = 0
    for row in range(len(shared_store)):
        original, clip = originals.find(row), shared_store.clip(row)
        if original is None or original.xyz.shape[0] != 1:
            continue
        there = original.xyz[0, original.frames]
        bones = [np.linalg.norm(body[:, 8] - body[:, 4], axis=1) for body in (there, clip[0])]
        known = np.isfinite(bones[1]) & np.isfinite(there).all(axis=(1, 2))
        assert np.median(np.abs(bones[0] - bones[1])[known]) < 1e-3
        looked += 1
    assert looked > 5


def test_trimmed_frames_are_counted(tmp_path: Path, raw: Path, request_for: Callable[..., IngestRequest]) -> None:
    """Five empty frames before the first: the clip begins at the sixth."""
    (tmp_path / "raw").mkdir()
    name = sorted(path.name for path in raw.glob("*A001.skeleton"))[0]
    lines = (raw / name).read_text().splitlines(keepends=True)
    (tmp_path / "raw" / name).write_text(f"{int(lines[0]) + 5}\n" + "0\n" * 5 + "".join(lines[1:]))
    ingest(request_for(tmp_path / "raw", tmp_path / "own.zarr"))
    original = Originals(Store(tmp_path / "own.zarr"), [tmp_path / "raw"]).find(0)
    assert original is not None
    assert original.is_exact
    assert original.frames[0] == 5


def test_a_resized_clip_is_spread_over_its_recording(
    tmp_path: Path, raw: Path, request_for: Callable[..., IngestRequest]
) -> None:
    (tmp_path / "raw").mkdir()
    for path in sorted(raw.glob("*A001.skeleton"))[:2]:
        shutil.copy(path, tmp_path / "raw")
    ingest(request_for(tmp_path / "raw", tmp_path / "own.zarr", "skelemixclr"))
    original = Originals(Store(tmp_path / "own.zarr"), [tmp_path / "raw"]).find(0)
    assert original is not None
    assert not original.is_exact
    assert len(original.frames) == 64
    assert (np.diff(original.frames) >= 0).all()
    assert original.frames[-1] < original.xyz.shape[1]


def test_another_file_of_that_name_is_not_shown(shared_store: Store, raw: Path, tmp_path: Path) -> None:
    name = shared_store.names[0]
    other = shared_store.names[1]
    shutil.copy(raw / f"{other}.skeleton", tmp_path / f"{name}.skeleton")
    assert Originals(shared_store, [tmp_path]).find(0) is None
    assert Originals(shared_store, [tmp_path]).find(1) is None
    (tmp_path / f"{name}.skeleton").write_text("2\nbroken\n")
    assert Originals(shared_store, [tmp_path]).find(0) is None


def test_a_root_that_is_not_there_or_holds_nothing_is_refused(shared_store: Store, tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFound):
        Originals(shared_store, [tmp_path / "never"])
    with pytest.raises(SkelepipeError, match="no ntu60 recording"):
        Originals(shared_store, [tmp_path])


def test_clips_cut_from_long_videos_are_found(tmp_path: Path) -> None:
    write("pku1", tmp_path / "raw", clips=8, seed=2)
    request = IngestRequest(
        dataset="pku1", roots=(tmp_path / "raw",), output=tmp_path / "pku1.zarr", recipe=load_recipe("clean")
    )
    ingest(request)
    store = Store(tmp_path / "pku1.zarr")
    originals = Originals(store, [tmp_path / "raw"])
    for row in range(len(store)):
        original = originals.find(row)
        assert original is not None
        assert original.is_exact
        assert len(original.frames) == store.columns["frames"][row]


def test_bodies_keep_their_places_and_a_seventh_is_left_out() -> None:
    slots = np.array([0, 1, 6, 1], np.int32)
    xyz = np.arange(1, 4 * 25 * 3 + 1, dtype=np.float32).reshape(4, 25, 3)
    recording = Recording(
        name="x", layout=KINECT_V2, frames=5, frame=np.array([0, 0, 0, 4], np.int32), slot=slots, xyz=xyz,
        body=slots.astype(np.int64), tracking=np.full((4, 25), 2, np.int8),
    )  # fmt: skip
    placed = bodies_in_slots(recording)
    assert placed.shape == (6, 5, 25, 3)
    assert np.array_equal(placed[0, 0], xyz[0])
    assert np.array_equal(placed[1, [0, 4]], xyz[[1, 3]])
    assert np.isfinite(placed).any(axis=(2, 3)).sum() == 3


def test_a_joint_at_zero_is_missing_as_recorded() -> None:
    xyz = np.ones((1, 25, 3), np.float32)
    xyz[0, 4] = 0
    assert np.isnan(bodies_in_slots(Recording.from_bodies("x", KINECT_V2, xyz[None]))[0, 0, 4]).all()


def test_repaired_joints_are_followed_to_the_stored_clip(
    tmp_path: Path, raw: Path, request_for: Callable[..., IngestRequest]
) -> None:
    """One joint of one frame is moved by half a metre, after five empty frames, which are trimmed."""
    (tmp_path / "raw").mkdir()
    name = sorted(path.name for path in raw.glob("*A001.skeleton"))[0]
    lines = (raw / name).read_text().splitlines(keepends=True)
    frame, joint, people = 20, 7, 1
    at = 1 + frame * (1 + people * 27) + 3 + joint
    x, *rest = lines[at].split(" ")
    lines[at] = " ".join([str(float(x) + 0.5), *rest])
    (tmp_path / "raw" / name).write_text(f"{int(lines[0]) + 5}\n" + "0\n" * 5 + "".join(lines[1:]))
    ingest(request_for(tmp_path / "raw", tmp_path / "own.zarr"))
    store = Store(tmp_path / "own.zarr")
    original = Originals(store, [tmp_path / "raw"]).find(0)
    assert original is not None
    assert original.repaired is not None
    assert original.repaired.shape == store.clip(0).shape[:3]
    assert original.repaired[0, frame, joint]
    assert original.repaired.sum() == store.columns["quality_joints_filled"][0]
    assert original.repaired_as_recorded is original.repaired


@pytest.mark.parametrize("change", ["exchanged", "dropped", "moved"])
def test_repairs_are_not_shown_if_a_later_step_rearranges_the_bodies(change: str) -> None:
    xyz = np.random.default_rng(0).normal(size=(2, 9, 25, 3)).astype(np.float32)
    before = Clip(name="x", layout=KINECT_V2, xyz=xyz)
    after = {"exchanged": xyz[::-1], "dropped": xyz[:1], "moved": xyz + 1}[change]
    assert originals._are_bodies_rearranged(before, before.after(after)) == (change != "moved")
