"""The Python interface: the functions of `import skelepipe as sp` and their results."""

import pickle
import threading

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import skelepipe as sp
from pipeline.artifacts.paths import default_run_folder, default_store
from tests.conftest import TINY
from trainer.config.layers import parse_setting
from trainer.data.loader import load_clips
from trainer.data.streams import derive_stream
from trainer.runtime.signals import catch_stop_signals


def tiny():
    """The settings of the shared run, as Python values."""
    settings = {}
    for setting in TINY:
        key, value = next(iter(parse_setting(setting).items()))
        while isinstance(value, dict):
            inner, value = next(iter(value.items()))
            key += f".{inner}"
        settings[key] = value
    return settings


def test_a_store_is_opened_by_its_path_as_text(shared_store):
    store = sp.Store(str(shared_store.path))
    assert len(store) == len(shared_store)
    assert repr(store) == f"Store({str(store.path)!r}: ntu60, 72 clips, 3 classes, 25 joints, recipe clean)"


def test_clips_of_a_store_by_row_and_by_name(shared_store):
    np.testing.assert_array_equal(shared_store[3], shared_store.clip(3))
    np.testing.assert_array_equal(shared_store[-1], shared_store.clip(71))
    np.testing.assert_array_equal(shared_store[np.int64(2)], shared_store.clip(2))
    np.testing.assert_array_equal(shared_store[shared_store.names[5]], shared_store.clip(5))
    assert sum(1 for _ in shared_store) == 72
    with pytest.raises(IndexError, match="has no row 72; it has 72 clips"):
        shared_store[72]
    with pytest.raises(KeyError, match="has no clip 'S001'"):
        shared_store["S001"]


@pytest.mark.parametrize("stream", ["joint", "motion", "bone"])
def test_clips_are_those_of_the_training(shared_store, stream):
    clips = sp.Clips(shared_store, split="xsub", side="test", frames=20, stream=stream)
    expected = derive_stream(load_clips(shared_store, clips.rows, 20, 2), stream, shared_store.layout)
    assert clips[0][0].shape == (3, 20, 25, 2)
    for index in (0, 5, len(clips) - 1):
        x, label = clips[index]
        torch.testing.assert_close(x, expected[index], rtol=0, atol=0)
        assert label == shared_store.columns["label"][clips.rows[index]]


def test_sides_of_a_split(shared_store):
    train, test, both = (sp.Clips(shared_store, "xsub", side) for side in ("train", "test", "all"))
    assert set(train.rows).isdisjoint(test.rows)
    assert sorted([*train.rows, *test.rows]) == both.rows.tolist()
    assert repr(train) == f"Clips({shared_store.path}, xsub train: {len(train)} clips of (3, 64, 25, 2), joint)"
    assert train.class_names[0] == "drink water"


def test_a_data_loader_with_workers_reads_every_clip_once(shared_store):
    clips = sp.Clips(str(shared_store.path), split="xsub", frames=8, bodies=1)
    batches = list(DataLoader(clips, batch_size=7, num_workers=1))
    assert sum(len(y) for _, y in batches) == len(clips)
    torch.testing.assert_close(torch.cat([x for x, _ in batches])[9], clips[9][0], rtol=0, atol=0)


def test_clips_are_pickled_as_the_path_of_their_store(shared_store):
    clips = pickle.loads(pickle.dumps(sp.Clips(shared_store, "xsub", frames=8)))
    assert clips.store.path == shared_store.path
    torch.testing.assert_close(clips[1][0], sp.Clips(shared_store, "xsub", frames=8)[1][0], rtol=0, atol=0)


def test_augmentation_follows_the_random_numbers_of_torch(shared_store):
    clips = sp.Clips(shared_store, "xsub", frames=8, augment=True)
    torch.manual_seed(1)
    first, second = clips[0][0], clips[0][0]
    torch.manual_seed(1)
    assert torch.equal(first, clips[0][0])
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": "validation"}, "side 'validation': expected one of train, test, all"),
        ({"stream": "velocity"}, "stream 'velocity': expected one of joint, motion, bone"),
        ({"frames": 0}, "frames 0: must be at least 1"),
        ({"bodies": 3}, "bodies 3: must be from 1 to 2"),
        ({"split": "xsubs"}, "xsub"),
    ],
)
def test_impossible_clips_are_refused(shared_store, options, message):
    with pytest.raises(sp.SkelepipeError, match=message):
        sp.Clips(shared_store, **options)


def test_the_commands_as_functions(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = sp.ingest("ntu60", str(copy), workers=1)
    assert (store.path.as_posix(), len(store)) == ("processed/ntu60.zarr", 12)
    assert sp.ingest("ntu60", [copy], out="processed/ntu60.zarr").digest == store.digest
    splits = sp.build_splits("processed/ntu60.zarr", ["xsub"])
    assert list(splits) == ["xsub"]
    settings = {**tiny(), "batch_size": 4, "epochs": 1}
    run = sp.pretrain(store, preset="quick", settings=settings, encoder={"hidden_dim": 12}, device="cpu")
    assert run.path.as_posix() == "runs/ntu60-xsub-quick"
    assert run.run.config.encoder.hidden_dim == 12
    assert run.run.origins["encoder.hidden_dim"] == "pretrain()"
    results = run.evaluate("knn", settings={"knn.k": 3}, baselines=False)
    assert results["knn"]["settings"]["k"] == 3
    assert list(results.top1) == ["pre-trained", "pre-trained, recalibrated"]


def test_a_loaded_run_has_its_encoder_and_results_as_a_table(evaluated_run):
    run = sp.load_run(str(evaluated_run.path))
    x = torch.zeros(2, 3, 16, 25, 2)
    with torch.no_grad():
        assert run.encoder.backbone(x).shape == (2, 8)
    assert not run.encoder.training
    assert repr(run).startswith(f"TrainedRun({str(evaluated_run.path)!r}: skelemixclr+, stream joint, 2 epochs")
    results = run.evaluate("knn")
    assert results["knn"]["reused"]
    top1 = results.top1["random encoder"]["knn"]
    assert f"{top1:.1f} [" in repr(results)
    html = results._repr_html_()
    assert f"<th>random encoder</th><td>{top1:.1f}</td>" in html
    assert html.count("<tr>") == 5


def test_errors_name_python_arguments(shared_store, shared_run, tmp_path):
    with pytest.raises(sp.SkelepipeError, match=r"pretrain\(\): epoch: .*did you mean epochs"):
        sp.pretrain(shared_store, preset="quick", epoch=3, out=tmp_path / "run")
    with pytest.raises(sp.SkelepipeError, match="protocol 'svm': expected some of knn"):
        sp.load_run(shared_run.path).evaluate("svm")


def test_signals_are_left_alone_outside_the_main_thread():
    flags = []

    def work():
        with catch_stop_signals() as flag:
            flags.append(flag.number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert flags == [None]


def test_default_outputs_are_named_after_the_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "squats.zip"
    assert default_store("ntu60", [root]).name == "ntu60.zarr"
    assert default_store("folder", [root]).name == "squats.zarr"
    assert default_store("folder", [tmp_path / "my.videos"]).name == "my.videos.zarr"
    assert default_store("folder", [tmp_path / "raw"]).name == "folder.zarr"
    assert default_store("folder", [root, tmp_path / "b"]).name == "folder.zarr"
    assert default_run_folder("ntu60", "xsub", "ntu60-xsub").name == "ntu60-xsub"
    assert default_run_folder("ntu60", "xsub", "reference-ntu60-xsub").name == "ntu60-xsub-reference"
    assert default_run_folder("ntu60", "xsub", "quick").name == "ntu60-xsub-quick"
    old = tmp_path / "runs" / "ntu60-xsub-ntu60-xsub"
    old.mkdir(parents=True)
    (old / "run.json").touch()
    assert default_run_folder("ntu60", "xsub", "ntu60-xsub").name == old.name
