"""Released checkpoints through the command line to features, compared with encoders that share no code with ours."""

import errno
import hashlib
import json
import pickle
import re
import resource
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import nn

from cli import main
from pipeline.errors import ArtifactError, OutputExists
from pipeline.ingest.ingest import ingest
from pipeline.recipes.recipe import load_recipe, shipped_recipes
from pipeline.skeleton.layout import KINECT_V2
from pipeline.store.build_splits import build_splits
from pipeline.store.store import Store
from tests.support import released_checkpoints
from trainer.data.loader import load_clips
from trainer.pretrain.pretrain import pretrain
from trainer.runs.imported.released_weights import RELEASED_CODES, read_released
from trainer.runs.imported.torch_file import read_torch_file
from trainer.runs.run import load_encoder, load_finished_run, load_run

GOLDEN = Path(__file__).parents[2] / "golden" / "skelemixclr_step.npz"
EXACT = {"rtol": 0, "atol": 1e-5}


def skelepipe(*words, code=0):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


def embedded(run, clips, folder, layer="backbone"):
    np.savez(folder / "clips.npz", data=clips.numpy())
    out = folder / "features.npz"
    skelepipe("embed", run, "--input", folder / "clips.npz", "--layer", layer, "--out", out, "--force")
    with np.load(out) as arrays:
        return torch.from_numpy(arrays["features"])


@pytest.mark.parametrize("source", ["skelemixclr", "crosclr", "aimclr"])
def test_features_at_full_width_equal_the_reference(source, tmp_path):
    checkpoint = released_checkpoints.Checkpoint(source, channels=16, hidden=256, feature=128, queue=32768)
    file = checkpoint.save(tmp_path / "epoch300_model.pt")
    said = skelepipe("import-weights", file, "--source", source, "--out", tmp_path / "run")
    assert "16 channels, 256 features" in said
    frames = 64 if source == "skelemixclr" else 50
    clips = released_checkpoints.clips(4, frames, seed=1)
    encoder = checkpoint.encoders["q"]
    with torch.no_grad():
        expected = encoder.features(clips)
        assert expected.std(dim=0).min() > 1e-3, "features that do not differ would prove nothing"
        torch.testing.assert_close(embedded(tmp_path / "run", clips, tmp_path), expected, **EXACT)
        torch.testing.assert_close(embedded(tmp_path / "run", clips, tmp_path, "head"), encoder(clips), **EXACT)


@pytest.fixture
def small(tmp_path):
    """A narrow SkeleMixCLR checkpoint as it lies in a file."""
    checkpoint = released_checkpoints.Checkpoint("skelemixclr")
    checkpoint.save(tmp_path / "model.pt")
    return checkpoint


def imported(tmp_path, state, *options, code=0, source="skelemixclr", **saved):
    """What the command says of a file with this state."""
    torch.save(state, tmp_path / "model.pt", **saved)
    words = ("import-weights", tmp_path / "model.pt", "--source", source, "--out", tmp_path / "run", *options)
    return skelepipe(*words, code=code)


def same_features(tmp_path, encoder, frames=20):
    clips = released_checkpoints.clips(3, frames, seed=2)
    with torch.no_grad():
        torch.testing.assert_close(embedded(tmp_path / "run", clips, tmp_path), encoder.features(clips), **EXACT)


def test_the_reference_state_dict_gives_the_reference_features(tmp_path):
    """Numbers of the reference itself: tests/golden/README.md."""
    with np.load(GOLDEN) as golden:
        state = {
            name.removeprefix("state/"): torch.from_numpy(golden[name])
            for name in golden.files
            if name.startswith("state/")
        }
        clips = torch.from_numpy(golden["input/query"])
        answers = {name: torch.from_numpy(golden[f"eval/{name}"]) for name in ("backbone", "embedding")}
    said = imported(tmp_path, state)
    assert f"{len(state)} keys" in said
    for layer, name in (("backbone", "backbone"), ("head", "embedding")):
        torch.testing.assert_close(embedded(tmp_path / "run", clips, tmp_path, layer), answers[name], **EXACT)


@pytest.mark.parametrize("stream", ["joint", "motion", "bone"])
def test_each_stream_of_a_crosclr_checkpoint_can_be_imported(stream, tmp_path):
    checkpoint = released_checkpoints.Checkpoint("crosclr", ("joint", "motion", "bone"))
    said = imported(tmp_path, checkpoint.state, "--stream", stream, source="crosclr")
    others = {"joint", "motion", "bone"} - {stream}
    assert all(f"not imported: stream {other}" in said for other in others)
    assert "does not name its stream" not in said
    positions = released_checkpoints.clips(3, 50, seed=3)
    of = positions.clone()
    if stream == "motion":
        of = torch.cat([positions[:, :, 1:] - positions[:, :, :-1], torch.zeros_like(positions[:, :, :1])], dim=2)
    elif stream == "bone":
        of[..., 20, :] = 0
        for joint, other in released_checkpoints.BONES:
            of[..., joint - 1, :] = positions[..., joint - 1, :] - positions[..., other - 1, :]
    encoder = checkpoint.encoders["q" if stream == "joint" else f"q_{stream}"]
    with torch.no_grad():
        for layer, expected in (("backbone", encoder.features(of)), ("head", encoder(of))):
            torch.testing.assert_close(embedded(tmp_path / "run", positions, tmp_path, layer), expected, **EXACT)


def test_key_encoder_and_queue_are_imported(small, tmp_path):
    imported(tmp_path, small.state)
    held = load_file(next((tmp_path / "run" / "checkpoints").glob("step-*")) / "model.safetensors")
    assert torch.equal(held["queue"], small.state["queue"])
    assert int(held["pointer"]) == 16
    assert torch.equal(held["key.head.3.weight"], small.state["encoder_k.fc.3.weight"])
    assert torch.equal(held["query.blocks.7.temporal.weight"], small.state["encoder_q.st_gcn_networks.7.tcn.2.weight"])
    assert len(held) == len(small.state)


@pytest.mark.parametrize("frames", [5, 50, 64, 301])
def test_clips_of_any_length_are_encoded_without_resizing(frames, small, tmp_path):
    imported(tmp_path, small.state)
    same_features(tmp_path, small.encoders["q"], frames)


WRAPPINGS = {
    "plain dict": dict,
    "module.": lambda state: {f"module.{name}": value for name, value in state.items()},
    "state_dict": lambda state: {"state_dict": state, "epoch": 300, "optimizer": {"lr": 0.1}},
    "model": lambda state: {"epoch": 300, "model": {f"module.{name}": value for name, value in state.items()}},
    "float64": lambda state: {name: t.double() if t.is_floating_point() else t for name, t in state.items()},
    "gradients": lambda state: {name: nn.Parameter(t, t.is_floating_point()) for name, t in state.items()},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("zipped", [True, False])
def test_wrapped_state_dicts_are_found(wrapping, zipped, small, tmp_path):
    said = imported(tmp_path, WRAPPINGS[wrapping](small.state), "--json", _use_new_zipfile_serialization=zipped)
    report = json.loads(said)
    assert report["lineage"]["imported"]["keys"] == {"taken": len(small.state), "of_other_streams": 0, "left_out": 0}
    others = {"state_dict": ["epoch", "optimizer"], "model": ["epoch"]}.get(wrapping, [])
    assert [note for note in report["notes"] if "state_dict" in note] == [
        f"not imported: {name}, not part of the state_dict" for name in others
    ]
    same_features(tmp_path, small.encoders["q"])


def test_a_checkpoint_of_a_linear_evaluation_can_be_imported(tmp_path):
    encoder = released_checkpoints.Encoder(released_checkpoints.agcn_graph(), 4, 16, nn.Linear(16, 60))
    released_checkpoints.warm(encoder)
    state = {f"encoder_q.{name}": value for name, value in encoder.state_dict().items()}
    said = imported(tmp_path, state)
    assert "not in the file: key encoder and queue; the head is a classifier or a single layer with 60 outputs" in said
    same_features(tmp_path, encoder)
    clips = released_checkpoints.clips(3, 20, seed=2)
    with torch.no_grad():
        torch.testing.assert_close(embedded(tmp_path / "run", clips, tmp_path, "head"), encoder(clips), **EXACT)
    assert skelepipe("verify", tmp_path / "run")


@pytest.mark.parametrize(
    ("lacking", "told"),
    [
        (".A", "graph: the source's"),
        ("edge_importance", "edge importance: ones"),
        ("num_batches_tracked", "num_batches_tracked: zeros"),
    ],
)
def test_missing_keys_of_older_checkpoints_are_filled_and_reported(lacking, told, tmp_path):
    checkpoint = released_checkpoints.Checkpoint("skelemixclr", importance=lacking != "edge_importance")
    state = {
        name: value for name, value in checkpoint.state.items() if not re.search(rf"{re.escape(lacking)}(\.|$)", name)
    }
    assert f"not in the file: {told}" in imported(tmp_path, state)
    same_features(tmp_path, checkpoint.encoders["q"])


def test_queue_labels_are_ignored(small, tmp_path):
    said = imported(tmp_path, small.state | {"queue_label": -torch.ones(32)})
    assert "not imported: queue_label, which only training needs" in said


def without(state, *names):
    return {name: value for name, value in state.items() if name not in names}


FAULTS = {
    "unknown": (lambda s: s | {"encoder_q.attention": torch.ones(1)}, "encoder_q.attention is unknown"),
    "of no encoder": (lambda s: s | {"fc.weight": torch.ones(1)}, "fc.weight is unknown"),
    "an eleventh block": (
        lambda s: s | {"encoder_q.st_gcn_networks.10.gcn.conv.bias": torch.ones(1)},
        "encoder_q.st_gcn_networks.10.gcn.conv.bias is unknown",
    ),
    "missing": (
        lambda s: without(s, "encoder_k.st_gcn_networks.3.tcn.3.running_mean"),
        "encoder_k.st_gcn_networks.3.tcn.3.running_mean is missing",
    ),
    "several missing": (
        lambda s: without(s, "encoder_q.data_bn.weight", "encoder_q.data_bn.bias"),
        "encoder_q.data_bn.weight (and 1 more) is missing",
    ),
    "one importance missing": (
        lambda s: without(s, "encoder_q.edge_importance.4"),
        "encoder_q.edge_importance.4 is missing",
    ),
    "no pointer": (lambda s: without(s, "queue_ptr"), "queue_ptr is missing"),
    "no queue": (lambda s: without(s, "queue"), "queue is missing"),
    "no head": (
        lambda s: {name: value for name, value in s.items() if ".fc." not in name},
        "encoder_q.fc.2.2.weight is missing",
    ),
    "shape": (
        lambda s: s | {"encoder_q.data_bn.bias": torch.ones(60)},
        "encoder_q.data_bn.bias is (60,), expected (75,)",
    ),
    "axes": (
        lambda s: s | {"encoder_q.st_gcn_networks.0.tcn.2.weight": torch.ones(4, 4)},
        "encoder_q.st_gcn_networks.0.tcn.2.weight is (4, 4), expected 4 axes",
    ),
    "queue of another size": (lambda s: s | {"queue": torch.ones(9, 32)}, "queue is (9, 32), expected (8, 32)"),
    "pointer": (lambda s: s | {"queue_ptr": torch.tensor([32])}, "queue_ptr is 32, outside a queue of 32"),
    "NaN": (
        lambda s: s | {"encoder_q.st_gcn_networks.9.tcn.0.weight": torch.full((16,), torch.nan)},
        "encoder_q.st_gcn_networks.9.tcn.0.weight has values that are not finite",
    ),
    "variance": (
        lambda s: s | {"encoder_q.data_bn.running_var": -torch.ones(75)},
        "encoder_q.data_bn.running_var has a negative variance",
    ),
    "integers": (
        lambda s: s | {"encoder_q.data_bn.bias": torch.ones(75, dtype=torch.int64)},
        "encoder_q.data_bn.bias has torch.int64, expected torch.float32",
    ),
    "other joints": (
        lambda s: s | {"encoder_q.A": torch.ones(3, 20, 20)},
        "encoder_q.A is (3, 20, 20), expected (3, 25, 25)",
    ),
    "no known graph": (
        lambda s: (
            s
            | {
                "encoder_k.A": s["encoder_k.A"].index_put(
                    (torch.tensor(1), torch.tensor(2), torch.tensor(3)), torch.tensor(0.25)
                )
            }
        ),
        "encoder_k.A is not a known graph: [1, 2, 3] is 0.25, `agcn` has 1",
    ),
    "other source": (
        lambda s: s | {"encoder_q.A": torch.tensor(released_checkpoints.spatial_graph())},
        "encoder_q.A is the graph `spatial`, not `agcn`: this looks like crosclr or aimclr; set --source accordingly",
    ),
    "other type": (lambda s: s | {"queue": [1, 2]}, "has a list under 'queue', expected only tensors by name"),
    "sparse": (lambda s: s | {"queue": torch.ones(8, 32).to_sparse()}, "has a torch.sparse_coo tensor under 'queue'"),
    "a tensor": (lambda s: s["queue"], "has a tensor, expected a state_dict"),
    "nothing": (lambda s: {}, "has nothing, expected a state_dict"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_invalid_checkpoint_is_a_one_line_error_and_leaves_no_files(fault, small, tmp_path):
    change, told = FAULTS[fault]
    said = imported(tmp_path, change(dict(small.state)), code=1)
    assert said.startswith(f"Error: {tmp_path / 'model.pt'}: ")
    assert told in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_wrong_source_is_reported_with_the_likely_one(tmp_path):
    state = released_checkpoints.Checkpoint("aimclr").state
    assert "looks like crosclr or aimclr" in imported(tmp_path, state, code=1)
    state = released_checkpoints.Checkpoint("skelemixclr").state
    assert "looks like skelemixclr" in imported(tmp_path, state, code=1, source="aimclr")


def test_a_missing_stream_is_rejected_with_the_available_ones(tmp_path):
    state = released_checkpoints.Checkpoint("crosclr", ("joint", "motion")).state
    said = imported(tmp_path, state, "--stream", "bone", code=1, source="crosclr")
    assert "has the streams joint, motion, not bone" in said


def test_other_streams_are_checked_too(tmp_path):
    state = released_checkpoints.Checkpoint("crosclr", ("joint", "motion")).state
    said = imported(tmp_path, without(state, "encoder_k_motion.fc.0.bias"), code=1, source="crosclr")
    assert "encoder_k_motion.fc.0.bias is missing" in said


class Trap:
    """What runs when a pickle of it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_rejected_and_not_run(zipped, small, tmp_path):
    mark = tmp_path / "it-ran"
    said = imported(tmp_path, {**small.state, "x": Trap(mark)}, code=1, _use_new_zipfile_serialization=zipped)
    assert "which is not a tensor: loading it could run code, so it was not loaded" in said
    assert not mark.exists()
    assert not (tmp_path / "run").exists()


def test_a_pickled_model_is_rejected_by_its_class(tmp_path):
    said = imported(tmp_path, nn.Linear(2, 2), code=1)
    assert "has torch.nn.modules.linear.Linear, which is not a tensor" in said


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_rejected(zipped, small, tmp_path):
    imported(tmp_path, small.state, _use_new_zipfile_serialization=zipped)
    content = (tmp_path / "model.pt").read_bytes()
    for length in (40, 3000, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.pt").write_bytes(content[:length])
        said = skelepipe(
            "import-weights", tmp_path / "cut.pt", "--source", "skelemixclr", "--out", tmp_path / "x", code=1
        )
        assert (
            said
            == f"Error: {tmp_path / 'cut.pt'}: is damaged or truncated, or is not a state_dict; download it again\n"
        )
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x89PNG\r\n", b"\x08\0\0\0\0\0\0\0{}      ", pickle.dumps({})])
def test_other_files_are_rejected(content, tmp_path):
    (tmp_path / "x.pt").write_bytes(content)
    said = skelepipe("import-weights", tmp_path / "x.pt", "--source", "aimclr", "--out", tmp_path / "x", code=1)
    assert said == f"Error: {tmp_path / 'x.pt'}: is not a PyTorch checkpoint\n"


def test_a_missing_file_is_rejected(tmp_path):
    skelepipe("import-weights", tmp_path / "x.pt", "--source", "aimclr", "--out", tmp_path / "x", code=2)
    assert "is a folder" in skelepipe("import-weights", tmp_path, "--source", "aimclr", "--out", tmp_path / "x", code=1)


def test_importing_again_is_up_to_date_and_another_file_is_rejected(small, tmp_path):
    assert ": imported, " in imported(tmp_path, small.state)
    assert ": up to date, " in imported(tmp_path, small.state)
    other = released_checkpoints.Checkpoint("skelemixclr", seed=1)
    assert "is another run (imported skelemixclr); use --force to replace it" in imported(tmp_path, other.state, code=1)
    same_features(tmp_path, small.encoders["q"])
    assert ": imported, " in imported(tmp_path, other.state, "--force")
    same_features(tmp_path, other.encoders["q"])
    assert [path.name for path in tmp_path.iterdir() if ".partial" in path.name or ".replaced" in path.name] == []


def test_a_damaged_import_is_replaced_only_with_force(small, tmp_path):
    imported(tmp_path, small.state)
    weights = next((tmp_path / "run" / "checkpoints").glob("step-*")) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    skelepipe("verify", tmp_path / "run", code=4)
    assert "is damaged; use --force to replace it" in imported(tmp_path, small.state, code=1)
    assert ": imported, " in imported(tmp_path, small.state, "--force")
    skelepipe("verify", tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text('{"kind": "skelepipe-run"}')
    imported(tmp_path, small.state, code=1)
    assert ": imported, " in imported(tmp_path, small.state, "--force")


def test_a_folder_that_is_not_a_run_is_not_replaced_by_an_import(small, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    assert "is not a run" in imported(tmp_path, small.state, "--force", code=1)
    assert (tmp_path / "run" / "thesis.tex").read_text() == "x"


def test_lineage_records_the_origin_of_the_weights(small, tmp_path):
    imported(tmp_path, small.state, "--stream", "bone")
    run = load_run(tmp_path / "run")
    content = (tmp_path / "model.pt").read_bytes()
    assert run.imported == {
        "file": "model.pt",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "source": "skelemixclr",
        "holds": "pair",
        "keys": {"taken": len(small.state), "of_other_streams": 0, "left_out": 0},
    }
    assert run.lineage["store"]["recipe"] == load_recipe("skelemixclr").resolved
    assert (run.config.stream, run.config.frames, run.config.recipe) == ("bone", 64, "skelemixclr")
    assert run.layout == KINECT_V2


def test_the_command_line_offers_every_source():
    offered = next(option for option in main.commands["import-weights"].params if option.name == "source")
    assert set(offered.type.choices) == set(RELEASED_CODES)
    shipped = shipped_recipes()
    assert all(source.recipe in shipped for source in RELEASED_CODES.values())


def test_an_imported_run_is_evaluated_on_a_store_of_its_recipe(small, raw, request_for, shared_store, tmp_path):
    imported(tmp_path, small.state)
    ingest(request_for(raw, tmp_path / "smx.zarr", "skelemixclr", workers=1))
    store = Store(tmp_path / "smx.zarr")
    build_splits(store)
    said = skelepipe(
        "eval", tmp_path / "run", "--store", store.path, "--split", "xsub", "--protocol", "knn", "--k", "3"
    )
    for told in ("random encoder", "weights imported from model.pt", "test clips may be among them"):
        assert told in said
    (written,) = (tmp_path / "run" / "eval").glob("knn-smx-*-xsub-*.json")
    result = json.loads(written.read_text())
    assert result["lineage"]["transfer"] is result["lineage"]["test_clips_pretrained_on"] is result["published"] is None
    assert result["rows"]["pre-trained"]["top1"] != result["rows"]["random encoder"]["top1"]
    words = ("embed", tmp_path / "run", "--store", store.path, "--out", tmp_path / "f.npz")
    assert "weights imported from model.pt" in skelepipe(*words)
    clips = load_clips(store, np.arange(len(store)), 64, 2)
    with np.load(tmp_path / "f.npz") as arrays, torch.no_grad():
        np.testing.assert_allclose(arrays["features"], small.encoders["q"].features(clips).numpy(), **EXACT)
    said = skelepipe("eval", tmp_path / "run", code=1)
    assert "has imported weights; name a store of recipe skelemixclr with --store" in said
    said = skelepipe("eval", tmp_path / "run", "--store", shared_store.path, code=1)
    assert "was made by recipe clean, but" in said
    assert "was trained on skelemixclr" in said


def test_another_recipe_can_be_named(tmp_path):
    imported(tmp_path, released_checkpoints.Checkpoint("aimclr").state, "--recipe", "aimclr-pku", source="aimclr")
    run = load_run(tmp_path / "run")
    assert run.lineage["store"]["recipe"] == load_recipe("aimclr-pku").resolved
    assert (run.config.recipe, run.config.frames) == ("aimclr-pku", 50)
    said = imported(
        tmp_path, released_checkpoints.Checkpoint("aimclr").state, "--recipe", "pku", code=1, source="aimclr"
    )
    assert "no recipe is called 'pku'" in said


def test_pretrain_does_not_resume_an_imported_run(small, train_request, tmp_path):
    imported(tmp_path, small.state)
    with pytest.raises(OutputExists, match=r"imported weights \(model\.pt\), which pretrain cannot resume"):
        pretrain(train_request(tmp_path / "run"))
    same_features(tmp_path, small.encoders["q"])
    assert pretrain(train_request(tmp_path / "run", force=True)).run.imported is None


def test_an_imported_run_is_finished_and_the_newest(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small.save(tmp_path / "epoch300_model.pt")
    skelepipe("import-weights", "epoch300_model.pt", "--source", "skelemixclr")
    assert load_finished_run(Path("runs/epoch300_model")).imported
    assert "run runs/epoch300_model (newest)" in skelepipe("eval", code=1)


def test_the_spatial_graph_can_be_trained(train_request, tmp_path):
    run = pretrain(train_request(tmp_path / "run", "encoder.graph=spatial", "encoder.head_layers=3", "epochs=1")).run
    encoder, _ = load_encoder(run, torch.device("cpu"))
    np.testing.assert_allclose(encoder.adjacency.numpy(), released_checkpoints.spatial_graph(), atol=1e-7)
    assert sum(isinstance(layer, nn.Linear) for layer in encoder.head) == 3


def test_a_full_disk_leaves_no_files(small, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("trainer.runs.safetensors_file.save", full)
        said = imported(tmp_path, small.state, code=5)
    assert "cannot be written: No space left on device" in said
    assert {path.name for path in tmp_path.iterdir()} == {"model.pt", ".run.lock"}
    assert ": imported, " in imported(tmp_path, small.state)


TELLS = "encoder_q.st_gcn_networks.0.tcn.2.weight"


@pytest.mark.parametrize(("told", "says"), [
    (torch.ones(1).expand(3000, 3000, 9, 1), rf"'{TELLS}' has shape \(3000, 3000, 9, 1\) but only 4 bytes"),
    (torch.ones(100_000, 1, 1, 1), r"is missing|expected \("),
])  # fmt: skip
def test_a_tensor_with_a_false_size_takes_no_memory(told, says, small, tmp_path):
    torch.save(small.state | {TELLS: told}, tmp_path / "x.pt")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ArtifactError, match=says):
        read_released(read_torch_file(tmp_path / "x.pt").tensors, "joint", RELEASED_CODES["skelemixclr"])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_a_string_with_a_false_length_takes_no_memory(small, tmp_path):
    small.save(tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "x.pt").read_bytes()
    at = whole.index(b"X\x05\x00\x00\x00queue") + 1
    (tmp_path / "x.pt").write_bytes(whole[:at] + (10**9).to_bytes(4, "little") + whole[at + 4 :])
    tracemalloc.start()
    with pytest.raises(ArtifactError, match="is damaged or truncated, or is not a state_dict"):
        read_torch_file(tmp_path / "x.pt")
    assert tracemalloc.get_traced_memory()[1] < 10 * len(whole) + (1 << 22)
    tracemalloc.stop()
