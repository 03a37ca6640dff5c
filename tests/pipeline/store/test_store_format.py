"""`pipeline/store/FORMAT.md` says what the bytes are; here they are read as it says, without `pipeline.store`."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import zarr
from numcodecs import blosc

from pipeline.artifacts import schemas
from pipeline.store.columns import CHUNK_BODY_FRAMES, COLUMNS, SHARD_BODY_FRAMES
from pipeline.store.store import Store

TEXT = (Path(__file__).parents[3] / "pipeline" / "store" / "FORMAT.md").read_text(encoding="utf-8")


def test_the_six_lines_read_a_clip(own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    monkeypatch.chdir(own_store.parents[1])
    found: dict[str, object] = {}
    exec(snippet, found)
    store = Store(own_store)
    assert store.columns["bodies"].max() == 2
    for row in (7, int(store.columns["bodies"].argmax())):
        exec(snippet.replace("n = 7", f"n = {row}"), found)
        np.testing.assert_array_equal(found["clip"], store.clip(row))


def test_shards_are_laid_out_as_told(shared_store: Store) -> None:
    inner = SHARD_BODY_FRAMES // CHUNK_BODY_FRAMES
    body_frames = int(shared_store.offset[-1])
    assert f"{SHARD_BODY_FRAMES:,} body-frames in {inner} inner chunks of (3, V, {CHUNK_BODY_FRAMES})" in TEXT
    assert f"the last {16 * inner + 4} |" in TEXT
    shard = (shared_store.path / "xyz" / "c" / "0" / "0" / "0").read_bytes()
    index = np.frombuffer(shard[-(16 * inner + 4) : -4], "<u8").reshape(inner, 2)
    there = -(-body_frames // CHUNK_BODY_FRAMES)
    assert (index[there:] == 2**64 - 1).all()
    assert index[:there, 1].sum() + 16 * inner + 4 == len(shard)
    chunks = [shard[int(start) : int(start + size)][:-4] for start, size in index[:there]]
    xyz = np.concatenate(
        [np.frombuffer(blosc.decompress(chunk), "<f4").reshape(3, 25, CHUNK_BODY_FRAMES) for chunk in chunks], 2
    )
    first = shared_store.clip(0)
    np.testing.assert_array_equal(xyz[:, :, : first.shape[0] * first.shape[1]], first.reshape(-1, 25, 3).T)
    assert np.isnan(xyz[:, :, body_frames:]).all()


def test_small_arrays_are_values_and_a_checksum(shared_store: Store) -> None:
    for spec in COLUMNS:
        plain = (shared_store.path / spec.name / "c" / "0").read_bytes()
        values = np.frombuffer(plain[:-4], np.dtype(spec.dtype).newbyteorder("<"))
        assert values.tolist() == shared_store.columns[spec.name].tolist()


def test_texts_are_counted_lengths_and_utf8(shared_store: Store) -> None:
    plain = (shared_store.path / "name" / "c" / "0").read_bytes()[:-4]
    count, position, names = int.from_bytes(plain[:4], "little"), 4, list[str]()
    for _ in range(count):
        length = int.from_bytes(plain[position : position + 4], "little")
        names.append(plain[position + 4 : position + 4 + length].decode())
        position += 4 + length
    assert names == shared_store.names


def test_zarr_itself_reads_a_store_without_warnings(shared_store: Store) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for group in (
            zarr.open_group(shared_store.path, mode="r"),
            zarr.open(shared_store.path, mode="r"),
            zarr.open_consolidated(shared_store.path),
        ):
            members = dict(group.members())  # type: ignore[union-attr]
            assert {"xyz", "name", "label"} <= set(members)
            assert list(members["name"][:]) == shared_store.names  # type: ignore[index]
            assert list(members["recording"][:3]) == shared_store.recordings[:3]  # type: ignore[index]
        assert "xyz" in str(zarr.open_group(shared_store.path, mode="r").tree())


def test_every_array_attribute_and_key_is_told(shared_store: Store) -> None:
    told = set(re.findall(r"`([a-z0-9_*]+)`", TEXT))
    arrays = {path.parent.name for path in shared_store.path.glob("*/zarr.json")} - {"xyz"}
    assert {re.sub("^quality_.*", "quality_*", name) for name in arrays} <= told
    assert set(shared_store.attributes) <= told
    assert {key for bad in shared_store.quarantine for key in bad} <= told
    assert set(json.loads((shared_store.path / "MANIFEST.json").read_bytes())) <= told
    assert f"format version {schemas.STORE.version}." in TEXT
