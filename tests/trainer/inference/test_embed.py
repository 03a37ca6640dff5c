from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ArtifactError, ArtifactNotFound
from pipeline.export.export import ExportRequest, export
from pipeline.store.splits import find_split
from pipeline.store.store import Store
from trainer.data.loader import load_clips
from trainer.data.streams import derive_stream
from trainer.evaluation import features
from trainer.inference import embed
from trainer.pretrain.pretrain import PretrainRequest, pretrain
from trainer.runs.run import Run, load_encoder

CPU = torch.device("cpu")


def test_features_of_a_store_are_in_row_order(shared_run: Run, shared_store: Store, tmp_path: Path) -> None:
    batch = embed.from_store(shared_run, shared_store, None, "all")
    found = embed.embed(shared_run, batch, tmp_path / "out", layer="backbone", normalised=False, device=CPU)
    assert (found["clips"], found["dimensions"], found["checkpoint"]["step"]) == (72, 8, shared_run.total_steps)
    with np.load(tmp_path / "out", allow_pickle=False) as arrays:
        assert arrays["features"].dtype == np.float32
        assert arrays["names"].tolist() == shared_store.names
        assert arrays["labels"].tolist() == shared_store.columns["label"].tolist()
        encoder, _ = load_encoder(shared_run, CPU)
        np.testing.assert_array_equal(arrays["features"], features.extract(encoder, batch.clips))


def test_one_side_of_a_split_can_be_embedded(shared_run: Run, shared_store: Store) -> None:
    split = find_split(shared_store, "xview")
    batch = embed.from_store(shared_run, shared_store, split, "test")
    assert batch.names.tolist() == [shared_store.names[row] for row in split.test]


def test_normalised_features_have_length_one(shared_run: Run, shared_store: Store, tmp_path: Path) -> None:
    batch = embed.from_store(shared_run, shared_store, None, "all")
    embed.embed(shared_run, batch, tmp_path / "f.npz", layer="head", normalised=True, device=CPU)
    with np.load(tmp_path / "f.npz") as arrays:
        assert arrays["features"].shape == (72, 4)
        np.testing.assert_allclose(np.linalg.norm(arrays["features"], axis=1), 1, rtol=1e-5)


def test_positions_are_converted_to_the_runs_stream(
    train_request: Callable[..., PretrainRequest], shared_store: Store, tmp_path: Path
) -> None:
    run = pretrain(train_request(tmp_path / "run", "stream=bone", "epochs=1")).run
    encoder, _ = load_encoder(run, CPU)
    clips = load_clips(shared_store, np.arange(len(shared_store)), 16, run.config.bodies)
    wanted = features.extract(encoder, derive_stream(clips, "bone", run.layout))
    np.savez(tmp_path / "x.npz", data=clips.numpy())
    for batch in (embed.from_store(run, shared_store, None, "all"), embed.from_file(run, tmp_path / "x.npz")):
        embed.embed(run, batch, tmp_path / "f.npz", layer="backbone", normalised=False, device=CPU)
        with np.load(tmp_path / "f.npz") as arrays:
            np.testing.assert_array_equal(arrays["features"], wanted)


def test_the_clips_of_an_export_are_those_of_the_store(shared_run: Run, shared_store: Store, tmp_path: Path) -> None:
    export(ExportRequest(store=shared_store, format="npz", output=tmp_path / "x.npz"))
    batch, stored = embed.from_file(shared_run, tmp_path / "x.npz"), embed.from_store(shared_run, shared_store)
    torch.testing.assert_close(batch.clips, stored.clips, rtol=0, atol=1e-6)
    assert batch.names.tolist() == shared_store.names
    assert batch.labels.tolist() == stored.labels.tolist()
    features, expected = (embed.encode(shared_run, each, device=CPU).features for each in (batch, stored))
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-6)


def test_an_array_without_lengths_is_not_resized(shared_run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "bare.npz", data=np.zeros((2, 3, 9, 25, 1)))
    bare = embed.from_file(shared_run, tmp_path / "bare.npz")
    assert (bare.labels.tolist(), bare.names.tolist(), bare.clips.dtype) == ([-1, -1], ["0", "1"], torch.float32)


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"x": np.zeros(3)}, "has no array `data`"),
        ({"data": np.zeros((2, 3, 0, 25, 1))}, r"expected numbers"),
        ({"data": np.zeros((2, 3, 9, 25))}, r"expected numbers"),
        ({"data": np.zeros((2, 3, 9, 17, 1))}, r"expected numbers \(N, 3, T, 25, M\)"),
        ({"data": np.full((2, 3, 9, 25, 1), np.nan)}, "not finite in clip 0"),
        ({"data": np.full((2, 3, 9, 25, 1), 1e300)}, "not finite in clip 0"),
        ({"data": np.full((2, 3, 9, 25, 1), 3e38)}, r"clip 0: x of spine_base is 3e\+38 m, expected at most"),
        ({"data": np.zeros((2, 3, 9, 25, 1)), "labels": np.zeros(3)}, "labels has shape"),
        ({"data": np.zeros((2, 3, 9, 25, 1)), "lengths": np.array([3])}, "lengths has shape"),
        ({"data": np.zeros((2, 3, 9, 25, 1)), "lengths": np.array([3, 10])}, "lengths must be integers from 1 to 9"),
        ({"data": np.zeros((2, 3, 9, 25, 1)), "lengths": np.array([0, 9])}, "lengths must be integers from 1 to 9"),
        ({"data": np.zeros((2, 3, 9, 25, 1)), "lengths": np.array([3.5, 9])}, "lengths must be integers"),
        (
            {"data": np.zeros((2, 3, 9, 25, 1)), "labels": np.array(["a", "b"])},
            "labels are <U1, expected integers",
        ),
        ({"data": np.zeros((2, 3, 9, 25, 1)), "labels": np.array([0.5, 1])}, "labels are float64"),
        ({"data": np.array([{"a": 1}], dtype=object)}, "cannot be read as an .npz of plain arrays"),
    ],
)
def test_an_array_of_another_shape_or_type_is_rejected(
    shared_run: Run, tmp_path: Path, arrays: dict[str, np.ndarray], complaint: str
) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ArtifactError, match=complaint):
        embed.from_file(shared_run, tmp_path / "bad.npz")


def test_missing_and_invalid_files_have_different_errors(shared_run: Run, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ArtifactError, match="cannot be read"):
        embed.from_file(shared_run, tmp_path / "text")
    np.save(tmp_path / "bare.npy", np.zeros((2, 3, 9, 25, 1)))
    with pytest.raises(ArtifactError, match="has no array `data`"):
        embed.from_file(shared_run, tmp_path / "bare.npy")
    with pytest.raises(ArtifactNotFound):
        embed.from_file(shared_run, tmp_path / "none")
