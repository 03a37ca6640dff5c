from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError, OutputExists, RawFileError
from pipeline.ingest.ingest import ingest
from pipeline.ingest.request import IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.skeleton.segments import DEFAULT_FRAME_INDEX
from pipeline.sources import registry
from pipeline.sources.folder.source import FolderSource
from pipeline.sources.source import Reading
from pipeline.store.build_splits import build_splits
from pipeline.store.store import Store
from pipeline.synth import folder as synth_folder
from pipeline.synth.folder import DAMAGE, JOINTS, write_folder

CLIPS, BROKEN = 64, 2 * len(DAMAGE)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synth") / "raw"
    write_folder(folder, clips=CLIPS, seed=1, broken=BROKEN)
    return folder


@pytest.fixture(scope="module")
def found(made: Path) -> tuple[list[Reading], set[str]]:
    """All readings, and the names of what is refused."""
    source = FolderSource([made])
    readings, refused = [], set()
    for entry in source.survey(keep_missing=False).entries:
        try:
            for clip in source.read(entry, DEFAULT_FRAME_INDEX):
                if isinstance(clip, Reading) and len(clip.recording.frame):
                    readings.append(clip)
                else:
                    refused.add(clip.recording.name if isinstance(clip, Reading) else clip.name)
        except RawFileError:
            refused.add(entry.name)
    return readings, refused


def test_every_good_clip_is_read_and_every_broken_one_is_not(found: tuple[list[Reading], set[str]]) -> None:
    readings, refused = found
    assert len(readings) == CLIPS
    assert refused == {f"broken_{number:04d}" for number in range(1, BROKEN + 1)}


def test_all_kinds_of_files_are_there(made: Path) -> None:
    assert {path.suffix for path in (made / "clips").iterdir()} == {".npy", ".npz", ".csv", ".h5"}


def test_the_summary_says_what_was_written(tmp_path: Path) -> None:
    summary = write_folder(tmp_path / "raw", clips=20, seed=0, broken=3)
    written = contents(tmp_path / "raw")
    assert summary.bytes == sum(map(len, written.values()))
    assert summary.files == len(written) - 2
    assert summary.broken == {f"broken_{at + 1:04d}": kind for at, kind in enumerate(list(DAMAGE)[:3])}
    assert summary.classes == (0, 1)
    assert summary.performers == tuple(range(1, 11))


def test_clips_look_like_people_that_stand_up(found: tuple[list[Reading], set[str]]) -> None:
    names = list(JOINTS)
    for reading in found[0]:
        xyz = reading.recording.xyz[reading.recording.slot == 0]
        xyz = np.where((xyz == 0).all(axis=2, keepdims=True), np.nan, xyz)
        assert 50 <= reading.recording.frames <= 110
        assert reading.step_counts == {"frames_beyond": 0}
        assert 0.9 < np.nanmedian(np.nanmax(xyz[..., 1], axis=1) - np.nanmin(xyz[..., 1], axis=1)) < 2.2
        above = xyz[:, names.index("chest"), 1] - xyz[:, names.index("pelvis"), 1]
        assert np.nanmedian(above) > 0.2
        right = xyz[:, names.index("r_shoulder")] - xyz[:, names.index("l_shoulder")]
        assert np.nanmedian(right[:, 0]) > 0.1  # a mirrored person would have it at the other side


def test_every_sixth_movement_is_between_two(found: tuple[list[Reading], set[str]]) -> None:
    for reading in found[0]:
        assert reading.recording.slot.max() == (1 if reading.labels.label in (2, 8) else 0)


def test_a_seed_repeats_its_bytes_and_another_makes_others(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("again", 5), ("b", 6)):
        write_folder(tmp_path / name, clips=16, seed=seed)
    a, again, b = (contents(tmp_path / name) for name in ("a", "again", "b"))
    assert a == again
    assert a.keys() == b.keys()
    assert all(a[name] != b[name] for name in a if name.startswith("clips/"))


@pytest.mark.parametrize("clips", [4, 20, 48, 100])
def test_every_class_is_on_all_sides_of_both_splits(clips: int) -> None:
    rows = [synth_folder._row(number) for number in range(clips)]
    for label in {row["label"] for row in rows}:
        own = [row for row in rows if row["label"] == label]
        if len(own) > 1:
            assert {int(str(row["subject"])) <= 5 for row in own} == {True, False}
            assert {row["session"] for row in own} == {"morning", "evening"}


def test_it_ingests_and_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "SOURCES", {**registry.SOURCES, "folder": FolderSource})
    write_folder(tmp_path / "raw", clips=16, seed=2, broken=len(DAMAGE))
    output = tmp_path / "out" / "folder.zarr"
    asked = IngestRequest(
        dataset="folder", roots=(tmp_path / "raw",), output=output, recipe=load_recipe("clean"), workers=1
    )
    report = ingest(asked)
    assert report.clips == 16
    assert {bad["name"] for bad in report.quarantined} == {f"broken_{at:04d}" for at in range(1, len(DAMAGE) + 1)}
    built = build_splits(Store(output))
    assert {split.name: len(split.train) for split in built.splits} == {"xsub": 8, "xsession": 8}


@pytest.mark.parametrize(
    "numbers", [{"clips": 0, "seed": 0}, {"clips": 1, "seed": -1}, {"clips": 1, "seed": 0, "broken": -1}]
)
def test_impossible_numbers_are_refused(tmp_path: Path, numbers: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        write_folder(tmp_path / "raw", **numbers)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(OutputExists, match="empty"):
        write_folder(tmp_path, clips=1, seed=0)
    assert contents(tmp_path) == {"mine.txt": b"keep"}
