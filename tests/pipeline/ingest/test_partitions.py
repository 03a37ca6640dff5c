"""A partition holds its clips bit for bit, in memory that does not grow with the number of clips of a recording."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pipeline.ingest import motion_spool, partitions
from pipeline.ingest.motion_spool import MotionSpool, read_npy_blocks
from pipeline.ingest.partitions import process_partition, read_partition, read_partition_motion
from pipeline.recipes.recipe import load_recipe
from pipeline.sources.registry import open_source

FRAMES, SEGMENTS = 1500, 40
CLIP_BYTES = FRAMES * 25 * 12


def overlapping_folder(root: Path) -> Path:
    root.mkdir()
    pose = np.random.default_rng(0).normal(0, 0.5, (1, 25, 3))
    np.save(root / "long.npy", (pose + np.linspace(1, 2, FRAMES)[:, None, None]).astype(np.float32))
    (root / "skeleton.toml").write_text('layout = "kinect-v2"\nunits = "m"\nup = "y"\n')
    rows = "".join(f"long.npy,clip{number},{number % 2},0,{FRAMES}\n" for number in range(SEGMENTS))
    (root / "manifest.csv").write_text("file,name,label,start,end\n" + rows)
    return root


def overlapping_pku(root: Path) -> Path:
    for name in ("skeleton", "label"):
        (root / name).mkdir(parents=True)
    row = " ".join(["0.250000"] * 75 + ["0.000000"] * 75)
    (root / "skeleton" / "0002-L.txt").write_text(f"{row}\n" * FRAMES)
    (root / "label" / "0002-L.txt").write_text(f"1,0,{FRAMES},2\n" * SEGMENTS)
    return root


@pytest.mark.parametrize("dataset", ["folder", "pku1"])
def test_memory_does_not_grow_with_the_number_of_overlapping_clips(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(motion_spool, "MEMORY_BYTES", 1 << 20)
    monkeypatch.setattr(motion_spool, "BLOCK_BYTES", 1 << 20)
    root = (overlapping_folder if dataset == "folder" else overlapping_pku)(tmp_path / "raw")
    data, recipe, path = open_source(dataset, (root,)), load_recipe("clean"), tmp_path / "part.npz"
    entries = data.survey(keep_missing=False).entries
    process_partition(path, entries, data, recipe)  # compiles the kernels
    tracemalloc.start()
    assert process_partition(path, entries, data, recipe) == 0
    blocks = [len(block) for block in read_partition_motion(path)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(blocks) == read_partition(path).body_frames == FRAMES * SEGMENTS
    assert max(blocks) * 300 <= 1 << 20
    assert peak < SEGMENTS * CLIP_BYTES / 2, "all clips are in memory at once"


@pytest.mark.parametrize("memory_bytes", [0, 1 << 20])
def test_clips_are_read_back_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_bytes: int) -> None:
    monkeypatch.setattr(motion_spool, "MEMORY_BYTES", memory_bytes)
    monkeypatch.setattr(motion_spool, "BLOCK_BYTES", 1000)
    rng = np.random.default_rng(1)
    clips = [rng.normal(size=(bodies, frames, 7, 3)).astype(np.float32) for bodies, frames in ((1, 30), (2, 9), (1, 1))]
    clips[1][0, 3] = np.nan
    with MotionSpool(tmp_path, 7) as spool, (tmp_path / "xyz.npy").open("wb") as handle:
        for clip in clips:
            spool.append(clip)
        spool.write_npy(handle)
    with (tmp_path / "xyz.npy").open("rb") as handle:
        blocks = list(read_npy_blocks(handle))
    assert len(blocks) > 3
    assert np.concatenate(blocks).tobytes() == b"".join(clip.tobytes() for clip in clips)
    assert np.load(tmp_path / "xyz.npy").shape == (49, 7, 3)


@pytest.mark.parametrize("memory_bytes", [0, 1 << 20])
def test_a_spool_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_bytes: int) -> None:
    monkeypatch.setattr(motion_spool, "MEMORY_BYTES", memory_bytes)
    with MotionSpool(tmp_path, 1) as spool:
        spool.append(np.ones((1, 9, 1, 3), np.float32))
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("shape", "dtype", "cut", "extra"),
    [((2, 3), "<f4", 0, b""), ((2, 3, 3), "<f8", 0, b""), ((2, 3, 3), "<f4", 1, b""), ((2, 3, 3), "<f4", 0, b"x")],
)
def test_other_arrays_are_no_positions(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, cut: int, extra: bytes
) -> None:
    np.save(tmp_path / "xyz.npy", np.zeros(shape, dtype))
    content = (tmp_path / "xyz.npy").read_bytes()
    (tmp_path / "xyz.npy").write_bytes(content[: len(content) - cut] + extra)
    with (tmp_path / "xyz.npy").open("rb") as handle, pytest.raises(ValueError):  # noqa: PT011
        list(read_npy_blocks(handle))


def test_a_recording_is_read_once_for_all_its_refused_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = overlapping_folder(tmp_path / "raw")
    (root / "manifest.csv").write_text("file,name,label,start,end\n" + "long.npy,a,0,9000,9001\n" * 20)
    data, recipe = open_source("folder", (root,)), load_recipe("clean")
    entries = data.survey(keep_missing=False).entries
    read = []
    monkeypatch.setattr(partitions, "_checksum", lambda entry: read.append(entry.name) or 7)
    assert process_partition(tmp_path / "part.npz", entries, data, recipe) == 20
    assert len(read) == 1
    assert {bad["crc32"] for bad in read_partition(tmp_path / "part.npz").quarantine} == {7}
