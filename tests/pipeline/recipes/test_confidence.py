"""Confidences of joints: from the files of a folder through recipes to the store, the output and exports."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import RecipeError
from pipeline.export.export import ExportRequest, export
from pipeline.ingest.ingest import ingest
from pipeline.ingest.request import IngestRequest
from pipeline.recipes.recipe import apply_recipe, load_recipe, recipe_from_plain
from pipeline.recipes.registry import STEPS
from pipeline.report.clip_view import clip_facts
from pipeline.skeleton.layout import KINECT_V2
from pipeline.skeleton.recording import Recording
from pipeline.skeleton.segments import DEFAULT_FRAME_INDEX
from pipeline.sources.folder.source import FolderSource
from pipeline.sources.source import Reading
from pipeline.store import verify
from pipeline.store.store import Store
from pipeline.store.summary import summarise_store
from tests.pipeline.sources.test_folder_source import V, folder, motion
from trainer.terminal import pipeline_output

T = 40


def own(root: Path, beside: Mapping[str, NDArray[np.generic]], suffix: str = ".npz") -> Path:
    """A folder of two clips with the array `xyz` only, and one with more arrays."""
    rows = ["file,label,subject", f"clips/c{suffix},0,1", "clips/a.npy,0,1", "clips/b.npy,1,2"]
    made = folder(root, rows, a=motion(T, 1), b=motion(T, 2))
    path, arrays = made / "clips" / f"c{suffix}", {"xyz": motion(T, 3, bodies=2), **beside}
    if suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
    return made


def sure(seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((2, T, V), np.float32)


def store_of(root: Path, out: Path, chosen: str = "none") -> Store:
    request = IngestRequest(dataset="folder", roots=(root,), output=out, recipe=load_recipe(chosen))
    assert ingest(request).outcome == "ingested"
    return Store(out)


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_the_store_keeps_the_mean_of_each_joint(tmp_path: Path, suffix: str) -> None:
    values = sure()
    values[0, :, 2] = np.nan
    values[:, :, 4] = np.inf
    store = store_of(own(tmp_path / "own", {"confidence": values}, suffix), tmp_path / "s.zarr")
    assert store.confidence is not None
    assert store.confidence.dtype == np.float32
    row = store.names.index("c")
    values[~np.isfinite(values)] = np.nan
    expected = [np.mean([x for x in values[:, :, joint].ravel() if x == x] or [np.nan]) for joint in range(V)]
    np.testing.assert_allclose(store.confidence[row], expected, rtol=1e-6)
    assert np.isnan(store.confidence[[store.names.index("a"), store.names.index("b")]]).all()
    assert verify.verify(store.path).findings == []


def test_view_names_the_least_certain_joints_of_a_clip(tmp_path: Path) -> None:
    store = store_of(own(tmp_path / "raw", {"confidence": sure()}), tmp_path / "s.zarr")
    assert store.confidence is not None
    row = store.names.index("c")
    line = dict(clip_facts(store, row))["least certain"].split(", ")
    assert [word.split()[-1] for word in line] == [f"{value:.2f}" for value in np.sort(store.confidence[row])[:3]]
    assert "least certain" not in dict(clip_facts(store, store.names.index("a")))


def test_a_store_without_confidence_has_no_such_array(tmp_path: Path) -> None:
    store = store_of(own(tmp_path / "own", {}), tmp_path / "s.zarr")
    assert store.confidence is None
    assert not (store.path / "confidence").exists()
    assert summarise_store(store)["confidence"] is None


def test_a_segment_has_the_mean_of_its_own_frames(tmp_path: Path) -> None:
    root = own(tmp_path / "own", {"confidence": sure()})
    (root / "manifest.csv").write_text("file,label,subject,start,end\nclips/c.npz,0,1,5,15\nclips/c.npz,0,1,15,40\n")
    store = store_of(root, tmp_path / "s.zarr")
    assert store.confidence is not None
    np.testing.assert_allclose(
        store.confidence, [sure()[:, a:b].mean(axis=(0, 1)) for a, b in ((15, 40), (5, 15))], 1e-6
    )


def test_inspect_names_the_least_certain_and_exports_have_it(tmp_path: Path) -> None:
    values = np.full((2, T, V), 0.9, np.float32)
    values[..., 4] = 0.25
    store = store_of(own(tmp_path / "own", {"confidence": values}), tmp_path / "s.zarr")
    found = summarise_store(store)
    assert found["confidence"]["clips"] == 1
    assert found["confidence"]["joints"]["left_hand"] == 0.25
    line = next(line for line in pipeline_output.overview_lines(found) if "confidence" in line)
    assert line == (
        "confidence of 1 clip: mean 0.83; joints of lowest confidence: "
        "left_hand 0.25, waist 0.90, chest 0.90, head 0.90, left_arm 0.90"
    )
    json.dumps(found, allow_nan=False)
    for form, name in (("npz", "x.npz"), ("hdf5", "x.h5")):
        export(ExportRequest(store=store, format=form, output=tmp_path / name))
    with np.load(tmp_path / "x.npz") as kept:
        np.testing.assert_array_equal(kept["confidence"][list(kept["names"]).index("c")], values[0, 0])
        assert kept["confidence"].shape == (3, V)
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["confidence"][store.names.index("c")], values[0, 0])


@pytest.mark.parametrize(
    ("beside", "line"),
    [
        (np.zeros((2, T), np.float32), r"its array confidence is float32 \(2, 40\), expected numbers \(2, 40, 9\)"),
        (np.zeros((T, V), np.float32), r"float32 \(40, 9\), expected"),
        (np.full((2, T, V), "high"), "its array confidence is <U4"),
        (np.full((2, T, V), None), "holds Python objects"),
    ],
)
def test_an_invalid_confidence_is_refused_and_other_clips_are_read(tmp_path: Path, beside: NDArray, line: str) -> None:
    store = store_of(own(tmp_path / "own", {"confidence": beside}), tmp_path / "s.zarr")
    assert len(store) == 2
    assert re.search(line, store.quarantine[0]["reason"]), store.quarantine


def recording(values: NDArray[np.float32] | None) -> Recording:
    xyz = motion(T, 3, bodies=2)
    wide = np.concatenate([xyz, xyz + 0.3, xyz[..., :7, :] + 0.6], axis=2)
    return Recording.from_bodies("r", KINECT_V2, wide.astype(np.float32), values)


def test_joints_below_the_minimum_become_missing_and_empty_bodies_are_dropped() -> None:
    values = np.full((2, T, 25), 0.8, np.float32)
    values[0, 3, 7] = 0.29
    values[0, 4, 8] = np.nan
    values[1, 10:20] = 0.1
    whole = recording(values)
    dropped = STEPS["drop_uncertain"](whole, least=0.3)
    assert isinstance(dropped, Recording)
    assert len(dropped.frame) == len(whole.frame) - 10
    at = np.flatnonzero((dropped.frame == 3) & (dropped.body == 0))[0]
    assert not dropped.xyz[at, 7].any()
    assert dropped.xyz[at, [6, 8]].all()
    assert dropped.xyz[np.flatnonzero((dropped.frame == 4) & (dropped.body == 0))[0], 8].all()
    assert not ((dropped.frame >= 10) & (dropped.frame < 20) & (dropped.body == 1)).any()
    assert whole.xyz.all(), "the recording itself stays as it was"
    clip = apply_recipe(load_recipe("clean-certain"), whole)
    assert clip.step_counts["joints_missing"] == 1


@pytest.mark.parametrize("values", [None, np.full((2, T, 25), 0.3, np.float32)])
def test_without_confidence_clean_certain_is_clean_bit_for_bit(values: NDArray[np.float32] | None) -> None:
    both = [apply_recipe(load_recipe(name), recording(values)) for name in ("clean", "clean-certain")]
    assert both[0].xyz.tobytes() == both[1].xyz.tobytes()
    assert both[0].step_counts == both[1].step_counts


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        (["follow_ids", "drop_uncertain"], r"step 2 \(drop_uncertain\): takes a recording, so it must come before"),
        (["drop_uncertain"], "no step reads the recording; add one of bodies_by_slot"),
        (["drop_uncertain", "trim"], r"step 2 \(trim\): changes a clip, so it cannot be first"),
        (["drop_uncertain", "follow_ids", "bodies_by_slot"], r"step 3 \(bodies_by_slot\): reads a recording"),
    ],
)
def test_the_step_must_come_before_the_reader(steps: list[str], line: str) -> None:
    with pytest.raises(RecipeError, match=line):
        recipe_from_plain({"name": "mine", "steps": [{"step": step} for step in steps]}, "mine.toml")


def test_unlabelled_recordings_have_their_confidence(tmp_path: Path) -> None:
    root = own(tmp_path / "own", {"confidence": sure()})
    source = FolderSource([root])
    entry = next(entry for entry in source.survey(keep_missing=False).entries if entry.name == "c")
    found = next(iter(source.read(entry, DEFAULT_FRAME_INDEX)))
    assert isinstance(found, Reading)
    assert found.recording.confidence is not None
    assert found.recording.confidence.shape == (2 * T, V)
