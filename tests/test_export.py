from pathlib import Path

import numpy as np
import pytest

from pipeline import export
from pipeline.errors import ArtifactError
from pipeline.store import Store


def test_npz_holds_what_the_recipe_stored_and_is_named_exactly(shared_store: Store, tmp_path: Path) -> None:
    export.npz(shared_store, tmp_path / "no-suffix")
    assert [path.name for path in tmp_path.iterdir()] == ["no-suffix"]
    with np.load(tmp_path / "no-suffix", allow_pickle=False) as arrays:
        held = dict(arrays)
    frames = int(shared_store.columns["frames"].max())
    assert held["data"].shape == (72, 3, frames, 25, 2)
    assert {name: values.dtype for name, values in held.items() if name != "names"} == {
        "data": np.float32,
        "lengths": np.int32,
        **dict.fromkeys(["labels", "subjects", "cameras", "setups", "replications"], np.int64),
    }
    assert held["names"].dtype.kind == "U"
    assert held["names"].tolist() == sorted(held["names"].tolist()) == shared_store.names
    assert np.isfinite(held["data"]).all()
    for row, clip in enumerate(shared_store.clips()):
        bodies, length = clip.shape[:2]
        assert held["lengths"][row] == length
        kept = held["data"][row, :, :length, :, :bodies].transpose(3, 1, 2, 0)
        np.testing.assert_array_equal(kept, np.nan_to_num(clip, nan=0))
        assert not held["data"][row, :, length:].any()
        assert not held["data"][row, :, :, :, bodies:].any()
    assert held["labels"].tolist() == shared_store.columns["label"].tolist()


def test_the_same_store_gives_the_same_file(shared_store: Store, tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        export.npz(shared_store, tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_damaged_store_is_not_exported(own_store: Path, tmp_path: Path) -> None:
    shard = own_store / "xyz/c/0/0/0"
    flipped = bytearray(shard.read_bytes())
    flipped[100] ^= 1
    shard.write_bytes(flipped)
    with pytest.raises(ArtifactError):
        export.npz(Store(own_store), tmp_path / "x.npz")
    assert not (tmp_path / "x.npz").exists()


def test_padding_keeps_present_joints_and_zeroes_the_rest() -> None:
    clip = np.arange(2 * 3 * 25 * 3, dtype=np.float32).reshape(2, 3, 25, 3) + 1
    clip[1, 2, 4] = np.nan
    whole = export.padded(clip, frames=5)
    assert whole.shape == (3, 5, 25, 2)
    assert (whole[:, 2, 4, 1] == 0).all()
    assert (whole[:, 3:] == 0).all()
    np.testing.assert_array_equal(whole[:, :3, :, 0], clip[0].transpose(2, 0, 1))
    assert export.padded(clip, frames=5, bodies=1).shape == (3, 5, 25, 1)
