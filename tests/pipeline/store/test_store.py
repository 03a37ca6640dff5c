import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.artifacts import manifest, schemas
from pipeline.errors import ArtifactError, ArtifactNotFound
from pipeline.skeleton.layout import KINECT_V2
from pipeline.store import store
from pipeline.store.columns import COLUMNS, SHARD_BODY_FRAMES
from pipeline.store.store import Store
from pipeline.store.writer import StoreWriter

FACTS = {
    "tool": "test",
    "dataset": "test",
    "layout": KINECT_V2.to_json(),
    "recipe": {"name": "none", "frame_index": "0-exclusive", "steps": []},
    "keep_missing": False,
    "missing_left_out": 0,
    "sources": {"count": 0, "bytes": 0, "shared": "", "digest": ""},
    "classes": {"0": "x"},
    "dense_labels": {"0": 0},
    "splits": {},
}


def texts(clips: int) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The texts of some clips, and a column of the data set's own."""
    names = [f"clip-{n}" for n in range(clips)]
    own = [("right", "", "ö")[n % 3] for n in range(clips)]
    return {"name": names, "recording": [f"{name}.txt" for name in names]}, {"how": own}


def write(folder: Path, clips: list[np.ndarray]) -> str:
    writer = StoreWriter(folder, 25, sum(clip.shape[0] * clip.shape[1] for clip in clips))
    for clip in clips:
        writer.append(clip.reshape(-1, 25, 3))
    columns = {spec.name: np.arange(len(clips)) for spec in COLUMNS}
    columns["bodies"] = np.array([clip.shape[0] for clip in clips])
    columns["frames"] = np.array([clip.shape[1] for clip in clips])
    return writer.finish(*texts(len(clips)), columns, FACTS, [])


@pytest.fixture
def clips() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(1, 40_000), (2, 30_000), (1, 1), (1, 70_000), (2, 7)]
    made = [rng.standard_normal((bodies, frames, 25, 3)).astype(np.float32) for bodies, frames in shapes]
    made[1][1, 3:9] = np.nan
    return made


@pytest.mark.slow
def test_clips_come_back_bit_for_bit_across_shards(tmp_path: Path, clips: list[np.ndarray]) -> None:
    assert sum(clip.shape[0] * clip.shape[1] for clip in clips) > 2 * SHARD_BODY_FRAMES
    write(tmp_path / "s.zarr", clips)
    opened = Store(tmp_path / "s.zarr")
    for row, (wanted, streamed) in enumerate(zip(clips, opened.clips(), strict=True)):
        np.testing.assert_array_equal(streamed.view(np.uint32), wanted.view(np.uint32))
        np.testing.assert_array_equal(opened.clip(row).view(np.uint32), wanted.view(np.uint32))
    assert opened.names == [f"clip-{n}" for n in range(5)]
    assert opened.columns["label"].tolist() == [0, 1, 2, 3, 4]
    assert opened.recordings == [f"clip-{n}.txt" for n in range(5)]
    assert opened.values("how").tolist() == ["right", "", "ö", "right", ""]
    with pytest.raises(ArtifactError, match=r"no column 'hwo' .did you mean how.*; it has frames, .*, how"):
        opened.values("hwo")


def test_the_same_clips_give_the_same_bytes_however_they_are_appended(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).standard_normal((300, 25, 3)).astype(np.float32)
    clip = [rows[None]]
    whole = write(tmp_path / "a.zarr", clip)
    writer = StoreWriter(tmp_path / "b.zarr", 25, 300)
    for part in np.split(rows, [7, 100, 101]):
        writer.append(part)
    columns = {spec.name: np.arange(1) for spec in COLUMNS} | {"bodies": np.array([1]), "frames": np.array([300])}
    assert writer.finish(*texts(1), columns, FACTS, []) == whole


def test_any_zarr_client_reads_it(shared_store: Store) -> None:
    group = zarr.open_group(str(shared_store.path), mode="r")
    first, last = (int(value) for value in group["offset"][:2])
    plain = group["xyz"][:, :, first:last].transpose(2, 1, 0).reshape(shared_store.shape(0))
    np.testing.assert_array_equal(plain, shared_store.clip(0))
    assert group["xyz"].metadata.dimension_names == ("C", "V", "body_frame")


def test_an_unfinished_store_is_refused(own_store: Path) -> None:
    (own_store / "MANIFEST.json").unlink()
    with pytest.raises(ArtifactError, match=r"has no MANIFEST.json"):
        Store(own_store)


def test_a_store_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFound):
        Store(tmp_path / "none.zarr")


def test_another_format_version_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = [np.zeros((1, 3, 25, 3), np.float32)]
    monkeypatch.setattr(schemas, "STORE", replace(schemas.STORE, version=99))
    write(tmp_path / "s.zarr", clip)
    monkeypatch.undo()
    with pytest.raises(ArtifactError, match="format version 99, this skelepipe reads 1"):
        Store(tmp_path / "s.zarr")


def test_names_of_any_length_and_script_are_read_back(tmp_path: Path) -> None:
    names = ["", "a" * 5000, "走る", "e\u0301", "x\0y\0"]
    writer = StoreWriter(tmp_path / "s.zarr", 25, 2 * len(names))
    writer.append(np.zeros((2 * len(names), 25, 3), np.float32))
    columns = {spec.name: np.arange(len(names)) for spec in COLUMNS}
    columns |= {"bodies": np.ones(len(names), np.int64), "frames": np.full(len(names), 2)}
    writer.finish({"name": names, "recording": names}, {}, columns, FACTS, [])
    assert Store(tmp_path / "s.zarr").names == names


def test_a_count_of_texts_that_is_not_that_of_the_clips_is_refused_before_it_is_decoded(own_store: Path) -> None:
    chunk = own_store / "name" / "c" / "0"
    content = bytearray(chunk.read_bytes())
    content[:4] = (2**31).to_bytes(4, "little")
    chunk.write_bytes(bytes(content))
    clips = json.loads((own_store / "MANIFEST.json").read_text())["clips"]
    manifest.write_manifest(own_store, schemas.STORE, clips=clips)
    with pytest.raises(ArtifactError, match=rf"name/c/0: has {2**31} texts, expected {clips}"):
        Store(own_store)


def test_writing_fewer_body_frames_than_announced_is_a_bug_that_shows(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "s.zarr", 25, 10)
    writer.append(np.zeros((4, 25, 3), np.float32))
    with pytest.raises(ValueError, match="4 of 10"):
        writer.finish({}, {}, {}, FACTS, [])


def test_flipped_bits_never_come_back_as_data(own_store: Path) -> None:
    """In the data, its index and all metadata: reading says so, or gives what was written."""
    wanted = [clip.tobytes() for clip in Store(own_store).clips()]
    files = [path for path in own_store.rglob("*") if path.is_file()]
    rng = random.Random(0)
    for path in rng.choices(files, k=40) + [own_store / "xyz/c/0/0/0"] * 40:
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        assert store.verify_store(own_store), f"verify misses a flip in {path}"
        try:
            read = [clip.tobytes() for clip in Store(own_store).clips()]
        except ArtifactError:
            read = wanted
        assert read == wanted, f"a flip in {path} came back as data"
        path.write_bytes(whole)


@pytest.mark.parametrize("harm", ["remove", "empty", "cut", "swap"])
def test_a_harmed_shard_is_refused_when_the_store_is_opened_or_read(own_store: Path, harm: str) -> None:
    shard = own_store / "xyz/c/0/0/0"
    whole = shard.read_bytes()
    if harm == "remove":
        shard.unlink()
    elif harm == "swap":
        shutil.copy(own_store / "offset/c/0", shard)
    else:
        shard.write_bytes(b"" if harm == "empty" else whole[: len(whole) // 2])
    with pytest.raises(ArtifactError):
        list(Store(own_store).clips())


def test_quarantine_travels_with_the_store(shared_store: Store) -> None:
    assert len(shared_store.quarantine) == 3
    assert all(bad["reason"] and bad["file"].endswith(".skeleton") for bad in shared_store.quarantine)
    assert json.loads((shared_store.path / "quarantine.json").read_text()) == shared_store.quarantine


@pytest.mark.parametrize("rows", [[], [0], [71], [3, 4, 60], [5, 3, 70, 3], [*range(72)], [1, 1]])
def test_the_clips_of_some_rows_are_those_rows_clips(
    shared_store: Store, rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for held in (store.READ_BODY_FRAMES, 100, 7):  # clips then begin and end in several reads
        monkeypatch.setattr(store, "READ_BODY_FRAMES", held)
        found = list(shared_store.clips(rows))
        assert len(found) == len(rows)
        for row, clip in zip(rows, found, strict=True):
            np.testing.assert_array_equal(clip, shared_store.clip(row))
