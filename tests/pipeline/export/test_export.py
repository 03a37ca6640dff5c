"""Exports in general: what they refuse, that they appear whole or not at all, and that memory stays flat."""

import os
import re
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from pipeline.artifacts.paths import splits_folder
from pipeline.errors import ArtifactError, ConfigError, OutputExists, OutputFailed, SkelepipeError
from pipeline.export import arrays
from pipeline.export.arrays import derive_stream
from pipeline.export.export import ExportFormat, ExportRequest, export, padding_note
from pipeline.files import disk
from pipeline.skeleton.layout import KINECT_V2
from pipeline.store.batches import pad_clip
from pipeline.store.splits import built_split_names, find_split
from pipeline.store.store import Store

FORMS = get_args(ExportFormat)


def content(path: Path) -> dict[str, bytes]:
    """Every file at or below a path."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_store_gives_the_same_bytes_under_exactly_the_name_given(
    form: ExportFormat, shared_store: Store, tmp_path: Path
) -> None:
    told = []
    for name in ("a", "b"):
        report = export(
            ExportRequest(store=shared_store, format=form, output=tmp_path / name),
            lambda done, total: told.append((done, total)),
        )
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert report.bytes == sum(map(len, content(tmp_path / "a").values()))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.lock", ".b.lock", "a", "b"]
    assert told == [(done, 72) for done in range(1, 73)] * 2


@pytest.mark.parametrize("form", FORMS)
def test_a_large_export_of_mostly_padding_is_announced_with_its_size(
    form: ExportFormat, shared_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ExportRequest(store=shared_store, format=form, output=tmp_path / "x")
    assert padding_note(request) == ""
    monkeypatch.setitem(shared_store.columns, "frames", shared_store.columns["frames"].copy())
    shared_store.columns["frames"][7] = 200_000
    note = padding_note(request)
    if form in {"pyskl", "hdf5"}:
        assert note == ""
    else:
        assert re.search(r"x: about 8\.6 GB for 0\.\d+ GB of positions", note)
        assert f"padded to the longest, {shared_store.names[7]} with 200000 frames" in note


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_store_is_not_exported(form: ExportFormat, own_store: Path, tmp_path: Path) -> None:
    shard = own_store / "xyz/c/0/0/0"
    flipped = bytearray(shard.read_bytes())
    flipped[100] ^= 1
    shard.write_bytes(flipped)
    with pytest.raises(ArtifactError):
        export(ExportRequest(store=Store(own_store), format=form, output=tmp_path / "x"))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("form", FORMS)
def test_an_export_that_fails_leaves_what_was_there(
    form: ExportFormat, shared_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(ExportRequest(store=shared_store, format=form, output=tmp_path / "x"))
    before = content(tmp_path / "x")
    clips = Store.clips

    def ending(self: Store, rows: object = None) -> Iterator[np.ndarray]:
        for count, clip in enumerate(clips(self, rows)):
            if count == 20:
                raise OSError(28, "No space left on device")
            yield clip

    monkeypatch.setattr(Store, "clips", ending)
    with pytest.raises(OutputFailed, match="No space left on device"):
        export(ExportRequest(store=shared_store, format=form, output=tmp_path / "x"))
    assert content(tmp_path / "x") == before
    monkeypatch.undo()
    export(ExportRequest(store=shared_store, format=form, output=tmp_path / "x"))
    assert content(tmp_path / "x") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [".x.lock", "x"]


@pytest.mark.parametrize("form", FORMS)
def test_never_more_than_a_few_clips_are_in_memory(
    form: ExportFormat, shared_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = most = 0

    def count(array: np.ndarray) -> np.ndarray:
        nonlocal alive, most

        def gone() -> None:
            nonlocal alive
            alive -= 1

        weakref.finalize(array, gone)
        alive += 1
        most = max(most, alive)
        return array

    clips, pad = Store.clips, pad_clip
    monkeypatch.setattr(Store, "clips", lambda self, rows=None: map(count, clips(self, rows)))
    monkeypatch.setattr(arrays, "pad_clip", lambda *given: count(pad(*given)))
    export(ExportRequest(store=shared_store, format=form, output=tmp_path / "x"))
    assert 0 < most <= 4
    assert alive == 0


def test_more_room_than_there_is_is_refused_before_anything_is_written(
    shared_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: disk.shutil._ntuple_diskusage(2e6, 1e6, 1e6))
    for form, needed in (("ctrgcn", 72 * 300 * 150 * 4), ("stgcn", 72 * 300 * 150 * 4)):
        with pytest.raises(OutputFailed, match=rf"needs about {needed / 1e6:,.0f} MB, 1 MB are free; nothing"):
            export(ExportRequest(store=shared_store, format=form, output=tmp_path / "x"))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("form", "room"), [*((form, 1_000_000) for form in FORMS), ("hdf5", 5000)])
def test_a_disk_that_refuses_is_one_line(form: ExportFormat, room: int, shared_store: Store, tmp_path: Path) -> None:
    """HDF5's own way would be a crash of the process."""
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
from cli import main
main(["export", {str(shared_store.path)!r}, "--format", {form!r}, "--out", {str(tmp_path / "x")!r}])
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    wanted = f"Error: {tmp_path / 'x'}: cannot be written: File too large; nothing was written there"
    assert done.stderr.splitlines() == [wanted]
    assert [path.name for path in tmp_path.iterdir()] == [".x.lock"]


def test_options_that_mean_nothing_to_a_format_are_refused(shared_store: Store, tmp_path: Path) -> None:
    output = tmp_path / "x"
    with pytest.raises(ConfigError, match="--split does not apply to --format npz, only to ctrgcn and stgcn"):
        export(ExportRequest(store=shared_store, format="npz", output=output, split="xsub"))
    with pytest.raises(ConfigError, match="--stream does not apply to --format pyskl, only to stgcn"):
        export(ExportRequest(store=shared_store, format="pyskl", output=output, streams=("bone",)))
    with pytest.raises(ConfigError, match="--dtype does not apply to --format hdf5, only to pyskl"):
        export(ExportRequest(store=shared_store, format="hdf5", output=output, dtype="float16"))
    with pytest.raises(ConfigError, match="no split 'xset'; it has xsub, xview"):
        export(ExportRequest(store=shared_store, format="stgcn", output=output, split="xset"))


def test_a_split_that_was_not_built_is_built(own_store: Path, tmp_path: Path) -> None:
    store = Store(own_store)
    before = {name: find_split(store, name).digest for name in built_split_names(store)}
    for path in splits_folder(own_store).glob("*.json"):
        path.unlink()
    assert export(ExportRequest(store=store, format="ctrgcn", output=tmp_path / "a", split="xview")).splits == ["xview"]
    assert built_split_names(store) == ["xview"]
    splits_folder(own_store).joinpath("xview.json").unlink()
    assert export(ExportRequest(store=store, format="pyskl", output=tmp_path / "b")).splits == ["xsub", "xview"]
    assert {name: find_split(store, name).digest for name in built_split_names(store)} == before


def test_a_store_that_cannot_be_split_is_exported_without_where_that_will_do(
    own_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(own_store)
    for path in splits_folder(own_store).glob("*.json"):
        path.unlink()
    monkeypatch.setitem(store.columns, "subject", np.full(72, 1))
    monkeypatch.setitem(store.columns, "camera", np.full(72, 2))
    assert export(ExportRequest(store=store, format="hdf5", output=tmp_path / "a")).splits == []
    with pytest.raises(ArtifactError, match="no split can be built"):
        export(ExportRequest(store=store, format="ctrgcn", output=tmp_path / "b"))


def test_a_folder_of_something_else_is_never_replaced(shared_store: Store, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.tex").write_text("years of work")
    for place in (tmp_path / "x", tmp_path / "x" / "thesis.tex"):
        with pytest.raises(OutputExists, match="exists and has other files"):
            export(ExportRequest(store=shared_store, format="stgcn", output=place))
    assert (tmp_path / "x" / "thesis.tex").read_text() == "years of work"


def test_a_third_body_is_refused(shared_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shared_store.columns, "bodies", np.full(72, 3))
    with pytest.raises(SkelepipeError, match="more than 2 bodies"):
        export(ExportRequest(store=shared_store, format="npz", output=tmp_path / "x"))


def test_clips_without_a_label_are_named(shared_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = shared_store.columns["label"].copy()
    labels[[3, 9]] = -1
    monkeypatch.setitem(shared_store.columns, "label", labels)
    for form in ("ctrgcn", "stgcn", "pyskl"):
        with pytest.raises(
            ArtifactError, match=f"2 of 72 clips have no label, first {shared_store.names[3]}; add labels"
        ):
            export(ExportRequest(store=shared_store, format=form, output=tmp_path / "x"))
    assert export(ExportRequest(store=shared_store, format="npz", output=tmp_path / "x")).clips == 72


def test_padding_keeps_present_joints_and_zeroes_the_rest() -> None:
    clip = np.arange(2 * 3 * 25 * 3, dtype=np.float32).reshape(2, 3, 25, 3) + 1
    clip[1, 2, 4] = np.nan
    whole = pad_clip(clip, frames=5)
    assert whole.shape == (3, 5, 25, 2)
    assert (whole[:, 2, 4, 1] == 0).all()
    assert (whole[:, 3:] == 0).all()
    np.testing.assert_array_equal(whole[:, :3, :, 0], clip[0].transpose(2, 0, 1))
    assert pad_clip(clip, frames=5, bodies=1).shape == (3, 5, 25, 1)


BONES = [(1, 2), (2, 21), (3, 21), (4, 3), (5, 21), (6, 5), (7, 6), (8, 7), (9, 21), (10, 9), (11, 10), (12, 11)]
BONES += [(13, 1), (14, 13), (15, 14), (16, 15), (17, 1), (18, 17), (19, 18), (20, 19), (21, 21), (22, 23), (23, 8)]
BONES += [(24, 25), (25, 12)]
"""2s-AGCN's pairs of NTU joints, numbered from 1."""


def test_streams_are_those_of_2s_agcn() -> None:
    clip = np.random.default_rng(0).normal(size=(2, 6, 25, 3)).astype(np.float32)
    bone = np.zeros_like(clip)
    for one, other in BONES:
        bone[:, :, one - 1] = clip[:, :, one - 1] - clip[:, :, other - 1]
    for base, joints, motions in ((clip, "joint", "motion"), (bone, "bone", "bone-motion")):
        np.testing.assert_array_equal(derive_stream(clip, joints, KINECT_V2), base)
        motion = np.zeros_like(base)
        for t in range(5):
            motion[:, t] = base[:, t + 1] - base[:, t]
        np.testing.assert_array_equal(derive_stream(clip, motions, KINECT_V2), motion)


def test_a_bone_or_motion_that_lacks_an_end_is_nothing() -> None:
    clip = np.random.default_rng(0).normal(size=(1, 6, 25, 3)).astype(np.float32)
    clip[0, 2, 5] = np.nan  # left elbow
    bones = derive_stream(clip, "bone", KINECT_V2)
    assert sorted({joint for _, _, joint, _ in np.argwhere(np.isnan(bones)).tolist()}) == [5, 6]
    motion = pad_clip(derive_stream(clip, "motion", KINECT_V2), 9)
    assert not motion[:, 1:3, 5, 0].any()
    assert not motion[:, 5:].any()
    assert motion[:, 0:5, 6, 0].all()
