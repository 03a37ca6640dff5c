"""Each export is read back the way that the code base's own loader does it, and holds what the store has."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.errors import ArtifactError
from pipeline.export import arrays
from pipeline.export.arrays import Stream, derive_stream
from pipeline.export.export import ExportRequest, export
from pipeline.ingest.ingest import ingest
from pipeline.ingest.request import IngestRequest
from pipeline.store.splits import find_split
from pipeline.store.store import Store


def expected(store: Store, rows: np.ndarray, frames: int) -> np.ndarray:
    """(N, 3, T, V, 2) of some rows of a store, one clip at a time."""
    out = np.zeros((len(rows), 3, frames, 25, 2), np.float32)
    for place, row in enumerate(rows):
        clip = np.nan_to_num(store.clip(int(row)), nan=0)
        for m, body in enumerate(clip):
            out[place, :, : clip.shape[1], :, m] = body.transpose(2, 0, 1)
    return out


@pytest.fixture(scope="module")
def peers_store(
    raw: Path, request_for: Callable[..., IngestRequest], tmp_path_factory: pytest.TempPathFactory
) -> Store:
    """The shared recordings as SkeleMixCLR's recipe leaves them: 64 frames each."""
    output = tmp_path_factory.mktemp("peers") / "smx.zarr"
    ingest(request_for(raw, output, "skelemixclr", workers=1))
    return Store(output)


def test_npz_holds_what_the_recipe_stored(shared_store: Store, tmp_path: Path) -> None:
    export(ExportRequest(store=shared_store, format="npz", output=tmp_path / "no-suffix"))
    with np.load(tmp_path / "no-suffix", allow_pickle=False) as arrays:
        held = dict(arrays)
    frames = int(shared_store.columns["frames"].max())
    assert {name: values.dtype for name, values in held.items() if name != "names"} == {
        "data": np.float32,
        "lengths": np.int32,
        **dict.fromkeys(["labels", "subjects", "cameras", "setups", "replications"], np.int64),
    }
    assert held["names"].dtype.kind == "U"
    assert held["names"].tolist() == sorted(held["names"].tolist()) == shared_store.names
    np.testing.assert_array_equal(held["data"], expected(shared_store, np.arange(72), frames))
    assert held["lengths"].tolist() == shared_store.columns["frames"].tolist()
    assert held["labels"].tolist() == shared_store.columns["label"].tolist()


@pytest.mark.parametrize("name", ["xsub", "xview"])
def test_ctrgcn_reads_its_npz(shared_store: Store, tmp_path: Path, name: str) -> None:
    """As feeder_ntu.py: labels from one-hot rows, (N, T, 150) to (N, C, T, V, M), frames counted where any is not 0."""
    export(ExportRequest(store=shared_store, format="ctrgcn", output=tmp_path / "NTU60.npz", split=name))
    split = find_split(shared_store, name)
    with np.load(tmp_path / "NTU60.npz") as arrays:
        assert arrays.files == ["x_train", "y_train", "x_test", "y_test"]
        for side, rows in (("train", split.train), ("test", split.test)):
            x, y = arrays[f"x_{side}"], arrays[f"y_{side}"]
            assert (x.dtype, y.dtype) == (np.float32, np.float64)
            assert y.shape == (len(rows), 60)
            assert np.where(y > 0)[1].tolist() == shared_store.columns["label"][rows].tolist()
            N, T, _ = x.shape
            data = x.reshape((N, T, 2, 25, 3)).transpose(0, 4, 1, 3, 2)
            np.testing.assert_array_equal(data, expected(shared_store, rows, 300))
            assert [int((clip.sum(0).sum(-1).sum(-1) != 0).sum()) for clip in data] == shared_store.columns["frames"][
                rows
            ].tolist()


def test_ctrgcn_makes_room_for_longer_clips_and_refuses_other_skeletons(
    own_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(own_store)
    monkeypatch.setattr(arrays, "REFERENCE_FRAMES", 10)
    export(ExportRequest(store=store, format="ctrgcn", output=tmp_path / "a.npz"))
    with np.load(tmp_path / "a.npz") as made:
        assert made["x_train"].shape[1] == store.columns["frames"].max()
    monkeypatch.setattr("pipeline.export.npz.CTRGCN_JOINTS", 17)
    with pytest.raises(ArtifactError, match="has 25 joints per body, but the loader of CTR-GCN expects 17"):
        export(ExportRequest(store=store, format="ctrgcn", output=tmp_path / "b.npz"))


STREAMS: tuple[Stream, ...] = ("joint", "bone", "motion", "bone-motion")


@pytest.mark.parametrize("streams", [(), STREAMS, ("bone",)])
def test_stgcn_and_its_followers_read_their_folder(
    shared_store: Store, tmp_path: Path, streams: tuple[Stream, ...]
) -> None:
    """As their feeders: unpickled (names, labels), data mapped from disk, (C, T, V, M) a sample."""
    report = export(ExportRequest(store=shared_store, format="stgcn", output=tmp_path / "xsub", streams=streams))
    split = find_split(shared_store, "xsub")
    called = {"motion": "joint_motion", "bone-motion": "bone_motion"}
    suffixes = [f"data_{called.get(stream, stream)}" for stream in streams] or ["data"]
    wanted_files = {f"{side}_{name}.npy" for side in ("train", "val") for name in suffixes}
    wanted_files |= {"train_label.pkl", "val_label.pkl"}
    assert {path.name for path in (tmp_path / "xsub").iterdir()} == wanted_files
    assert report.clips == 72
    for side, rows in (("train", split.train), ("val", split.test)):
        with (tmp_path / "xsub" / f"{side}_label.pkl").open("rb") as handle:
            names, labels = pickle.load(handle)
        assert names == [f"{shared_store.names[row]}.skeleton" for row in rows]
        assert labels == shared_store.columns["label"][rows].tolist()
        assert type(labels[0]) is int
        for stream, name in zip(streams or ("joint",), suffixes, strict=True):
            data = np.load(tmp_path / "xsub" / f"{side}_{name}.npy", mmap_mode="r")
            assert data.shape == (len(rows), 3, 300, 25, 2)
            for place, row in enumerate(rows):
                clip = derive_stream(shared_store.clip(int(row)), stream, shared_store.layout)
                for m, body in enumerate(np.nan_to_num(clip, nan=0)):
                    np.testing.assert_array_equal(data[place, :, : len(body), :, m], body.transpose(2, 0, 1))
                assert not data[place, :, clip.shape[1] :].any()
                assert not data[place, ..., len(clip) :].any()
            assert data.flags.c_contiguous


def test_ctrgcn_keeps_the_length_that_a_recipe_gives_all_clips(peers_store: Store, tmp_path: Path) -> None:
    export(ExportRequest(store=peers_store, format="ctrgcn", output=tmp_path / "a.npz"))
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["x_test"].shape == (len(find_split(peers_store).test), 64, 150)


def test_stgcn_keeps_the_length_that_a_recipe_gives_all_clips(peers_store: Store, tmp_path: Path) -> None:
    report = export(ExportRequest(store=peers_store, format="stgcn", output=tmp_path / "smx"))
    split = find_split(peers_store)
    data = np.load(tmp_path / "smx" / "train_data.npy", mmap_mode="r")
    assert data.shape == (len(split.train), 3, 64, 25, 2)
    np.testing.assert_array_equal(data, expected(peers_store, split.train, 64))
    assert (report.splits, report.clips) == (["xsub"], 72)
    export(ExportRequest(store=peers_store, format="stgcn", output=tmp_path / "smx", split="xview"))  # replaces it
    view = find_split(peers_store, "xview")
    assert np.load(tmp_path / "smx" / "train_data.npy", mmap_mode="r").shape[0] == len(view.train)


@pytest.mark.parametrize("dtype", [None, "float32", "float16"])
def test_pyskl_reads_its_annotations(shared_store: Store, tmp_path: Path, dtype: str | None) -> None:
    """As PoseDataset: unpickled dict, clips of a split by frame_dir; PreNormalize3D then writes into the keypoints."""
    report = export(ExportRequest(store=shared_store, format="pyskl", output=tmp_path / "a.pkl", dtype=dtype))
    with (tmp_path / "a.pkl").open("rb") as handle:
        data = pickle.load(handle)
    assert report.splits == ["xsub", "xview"]
    assert list(data) == ["split", "annotations"]
    assert sorted(data["split"]) == ["xsub_train", "xsub_val", "xview_train", "xview_val"]
    split = find_split(shared_store, "xsub")
    for side, rows in (("train", split.train), ("val", split.test)):
        wanted = set(data["split"][f"xsub_{side}"])
        chosen = [one for one in data["annotations"] if one["frame_dir"] in wanted]
        assert [one["frame_dir"] for one in chosen] == [shared_store.names[row] for row in rows]
    assert type(data["annotations"]) is list
    assert len(data["annotations"]) == 72
    for row, one in enumerate(data["annotations"]):
        clip = np.nan_to_num(shared_store.clip(row), nan=0)
        assert one["label"] == shared_store.columns["label"][row]
        assert type(one["label"]) is int
        assert one["total_frames"] == clip.shape[1] == one["keypoint"].shape[1]
        assert one["keypoint"].dtype == np.dtype(dtype or "float32")
        np.testing.assert_array_equal(one["keypoint"], clip.astype(one["keypoint"].dtype))
        one["keypoint"][0, 0] += 1  # it can be written to


def test_pyskl_annotations_need_no_numpy_of_today(shared_store: Store, tmp_path: Path) -> None:
    """The file names nothing but numpy.ndarray, which every numpy has; numpy 2's own pickles name numpy._core."""
    export(ExportRequest(store=shared_store, format="pyskl", output=tmp_path / "a.pkl"))
    named = []

    class Careful(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> object:
            named.append((module, name))
            return super().find_class(module, name)

    with (tmp_path / "a.pkl").open("rb") as handle:
        Careful(handle).load()
    assert set(named) == {("numpy", "ndarray"), ("builtins", "list"), ("builtins", "bytearray")}


def test_hdf5_has_arrays_splits_and_lineage(shared_store: Store, tmp_path: Path) -> None:
    export(ExportRequest(store=shared_store, format="hdf5", output=tmp_path / "a.h5"))
    frames = int(shared_store.columns["frames"].max())
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["data"], expected(shared_store, np.arange(72), frames))
        assert file["data"].chunks == (1, 3, frames, 25, 2)
        assert file["names"].asstr()[()].tolist() == shared_store.names
        assert file["bodies"][()].tolist() == shared_store.columns["bodies"].tolist()
        assert file["labels"][()].tolist() == shared_store.columns["label"].tolist()
        assert file["lengths"][()].tolist() == shared_store.columns["frames"].tolist()
        for name in ("xsub", "xview"):
            split = find_split(shared_store, name)
            assert file[f"splits/{name}/train"][()].tolist() == split.train.tolist()
            assert file[f"splits/{name}/test"][()].tolist() == split.test.tolist()
        assert json.loads(file.attrs["recipe"]) == shared_store.attributes["recipe"]
        assert file.attrs["store_digest"] == shared_store.digest
        assert file.attrs["units"] == "m"
