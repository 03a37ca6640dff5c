"""ONNX export: onnxruntime agrees with `embed` and `predict`, and the file describes its input."""

import json
import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from cli import main
from docs.examples import onnx_features
from pipeline.errors import ArtifactError, ConfigError, OutputLocked, SkelepipeError
from pipeline.export.export import ExportRequest, export
from pipeline.files.atomic import sole_file_writer
from pipeline.recipes.steps.resample import resized
from pipeline.skeleton.layout import KINECT_V2
from pipeline.store.splits import find_split
from pipeline.store.store import Store
from tests.house.import_rules import libraries
from tests.support import released_checkpoints
from trainer.config.evaluation import compose_eval
from trainer.config.model import EncoderConfig
from trainer.evaluation.evaluate import EvaluateRequest, evaluate
from trainer.evaluation.features import extract_positions
from trainer.inference import embed, onnx_export, onnx_model
from trainer.inference.onnx_export import CHECKED_BATCHES, OnnxExportRequest, export_onnx, random_clips
from trainer.inference.onnx_model import ExportedModel, convert_to_onnx
from trainer.inference.predict import PredictRequest, predict
from trainer.models.encoder import Encoder
from trainer.runs.classifier import load_classifier
from trainer.runs.imported.import_weights import ImportRequest, import_weights
from trainer.runs.run import Run, load_encoder, load_run

CPU = torch.device("cpu")
SHAPES = [(1, 1, 2), (1, 2, 1), (2, 3, 2), (4, 5, 3), (3, 16, 2), (1, 31, 3)]
"""N, T and M: every remainder of T divided by the encoder's stride of four, and a single frame."""


def run_model(model: Path | bytes, clips: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"clips": clips})


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    """Compare to 1e-5 of the largest expected value."""
    assert actual.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.fixture(scope="module")
def run(shared_run: Run, shared_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy of the tiny run with the classifiers of a linear evaluation."""
    folder = tmp_path_factory.mktemp("onnx") / "runs" / "tiny"
    shutil.copytree(shared_run.path, folder, ignore=shutil.ignore_patterns("eval"))
    copied = load_run(folder)
    evaluate(
        EvaluateRequest(
            run=copied,
            store=shared_store,
            split=find_split(shared_store, "xsub"),
            protocols=("linear",),
            config=compose_eval(["linear.epochs=3"]),
            baselines=False,
            device=CPU,
        )
    )
    return copied


def test_features_of_the_file_equal_those_of_embed(run: Run, shared_store: Store, tmp_path: Path) -> None:
    result = export_onnx(OnnxExportRequest(run=run, output=tmp_path / "x"))
    assert (result.dimensions, result.classes, result.bytes) == (8, None, (tmp_path / "x").stat().st_size)
    assert result.batches[-1] == (2, 16)
    assert result.differences["features"] <= 1e-5
    batch = embed.from_store(run, shared_store, None, "all")
    assert_close(run_model(tmp_path / "x", batch.clips.numpy())[0], embed.encode(run, batch, device=CPU).features)


@pytest.mark.parametrize(
    ("stream", "bodies", "settings"),
    [
        ("joint", "all", {}),
        ("motion", "present", {"graph": "spatial", "head_layers": 3, "head_norm": False}),
        ("bone", "present", {"head_layers": 1, "temporal_kernel": 3}),
        ("motion", "all", {"head_layers": 3}),
    ],
)
def test_all_streams_encoders_and_sizes_of_the_dynamic_axes_agree_with_torch(
    run: Run, stream: str, bodies: str, settings: dict[str, object]
) -> None:
    torch.manual_seed(1)
    sizes = {"hidden_channels": 2, "hidden_dim": 8, "feature_dim": 4}
    encoder = Encoder(KINECT_V2, EncoderConfig.model_validate({**sizes, "body_mean": bodies, **settings}))
    randomise_norms_and_edges(encoder)
    config = run.config.model_copy(update={"stream": stream, "encoder": encoder.config})
    for layer, traced_bodies in (("backbone", 1), ("head", 2)):
        this = replace(run, config=config.model_copy(update={"bodies": traced_bodies}))
        content = convert_to_onnx(ExportedModel(encoder, this, layer)).SerializeToString()
        for samples, frames, many in SHAPES:
            clips = random_clips(samples, frames, 25, many, seed=frames)
            expected = extract_positions(encoder, torch.from_numpy(clips), this, layer)
            assert_close(run_model(content, clips)[0], expected.numpy())


def randomise_norms_and_edges(encoder: Encoder) -> None:
    """Move weights and statistics of norms, and edge weights, away from their initial values, so that each matters."""
    for name, tensor in [*encoder.named_parameters(), *encoder.named_buffers()]:
        if "norm" in name or "edge" in name or "shortcut.1" in name or name.startswith("head.1"):
            tensor.data = torch.empty_like(tensor, dtype=torch.float32).uniform_(0.6, 1.4).to(tensor.dtype)
    encoder.eval()


def test_scores_of_a_classifier_equal_those_of_predict(
    run: Run, raw: Path, shared_store: Store, tmp_path: Path
) -> None:
    result = export_onnx(OnnxExportRequest(run=run, output=tmp_path / "x", classifier="linear", layer="head"))
    assert (result.classes, result.dimensions, set(result.differences)) == (3, 4, {"features", "scores"})
    predicted = predict(PredictRequest(run=run, roots=(raw,), device=CPU, classifier="linear"))
    rows = [shared_store.names.index(answer.clip) for answer in predicted.answers]
    batch = embed.from_store(run, shared_store, None, "all")
    features, scores = run_model(tmp_path / "x", batch.clips.numpy()[rows])
    assert_close(scores, predicted.scores.numpy())
    assert_close(features, embed.encode(run, batch, layer="head", device=CPU).features[rows])


def test_a_recalibrated_classifier_exports_its_own_encoder(run: Run, shared_store: Store, tmp_path: Path) -> None:
    export_onnx(OnnxExportRequest(run=run, output=tmp_path / "x", classifier="linear-recalibrated"))
    batch = embed.from_store(run, shared_store, None, "all")
    classifier = load_classifier(run, "linear-recalibrated", CPU)
    expected = extract_positions(classifier.encoder, batch.clips, run)
    features, scores = run_model(tmp_path / "x", batch.clips.numpy())
    assert_close(features, expected.numpy())
    assert_close(scores, classifier.scores(expected).numpy())
    assert np.abs(features - embed.encode(run, batch, device=CPU).features).max() > 1e-3


def test_metadata_and_description(run: Run, shared_store: Store, tmp_path: Path) -> None:
    result = export_onnx(OnnxExportRequest(run=run, output=tmp_path / "x", classifier="linear"))
    proto = onnx.load(tmp_path / "x")
    onnx.checker.check_model(proto, full_check=True)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert metadata["format_version"] == "1"
    assert metadata["tool"].startswith("skelepipe ")
    assert (metadata["units"], metadata["stream"], metadata["frames"], metadata["bodies"]) == ("m", "joint", "16", "2")
    assert json.loads(metadata["axes"]) == ["N sample", "C coordinate", "T frame", "V joint", "M body"]
    assert json.loads(metadata["layout"]) == KINECT_V2.to_json()
    assert json.loads(metadata["recipe"]) == shared_store.attributes["recipe"]
    assert json.loads(metadata["checkpoint"])["digest"] == result.checkpoint["digest"]
    assert (metadata["run"], metadata["dataset"]) == (run.digest, "ntu60")
    classes = json.loads(metadata["classes"])
    assert [entry["id"] for entry in classes] == sorted({int(label) for label in shared_store.columns["label"]})
    assert classes[0]["name"] == shared_store.attributes["classes"][str(classes[0]["id"])]
    assert json.loads(metadata["classifier"])["split"]["name"] == "xsub"
    for text in ("recipe clean", "resized to 16 frames", "kinect-v2", "(N, 3, T, 25, M)", "in metres", "(N, 3) of the"):
        assert text in proto.doc_string
    assert str(run.path) not in (tmp_path / "x").read_bytes().decode("latin-1")
    (clips,) = proto.graph.input
    assert [dim.dim_param or dim.dim_value for dim in clips.type.tensor_type.shape.dim] == ["N", 3, "T", 25, "M"]
    shapes = [[dim.dim_param or dim.dim_value for dim in out.type.tensor_type.shape.dim] for out in proto.graph.output]
    assert shapes == [["N", run.config.encoder.hidden_dim], ["N", len(classes)]]
    assert (proto.opset_import[0].version, proto.producer_name) == (17, "skelepipe")


def test_unprintable_names_are_escaped(run: Run, tmp_path: Path) -> None:
    lineage = run.lineage | {"store": run.lineage["store"] | {"dataset": "\ud800\x1b[31m"}}
    odd = replace(run, layout=replace(run.layout, name="a\udcffb\nc"), lineage=lineage)
    export_onnx(OnnxExportRequest(run=odd, output=tmp_path / "x"))
    proto = onnx.load(tmp_path / "x")
    assert r"layout a\udcffb\nc in the" in proto.doc_string
    assert r"trained on \ud800\x1b[31m, step" in proto.doc_string
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert metadata["dataset"] == r"\ud800\x1b[31m"
    assert json.loads(metadata["layout"])["name"] == odd.layout.name


def test_the_same_run_in_another_folder_gives_the_same_bytes(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "moved")
    for number, one in enumerate((run, load_run(tmp_path / "moved"))):
        export_onnx(OnnxExportRequest(run=one, output=tmp_path / str(number), classifier="linear"))
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()


def test_imported_weights_can_be_exported(tmp_path: Path) -> None:
    weights = released_checkpoints.Checkpoint("aimclr").save(tmp_path / "w.pt")
    asked = ImportRequest(file=weights, source="aimclr", stream="motion", output=tmp_path / "run", recipe=None)
    imported = import_weights(asked).run
    export_onnx(OnnxExportRequest(run=imported, output=tmp_path / "x", layer="head"))
    clips = random_clips(3, 50, 25, 2, seed=0)
    expected = embed.encode(imported, embed.from_array(imported, clips), layer="head", device=CPU)
    assert_close(run_model(tmp_path / "x", clips)[0], expected.features)
    proto = onnx.load(tmp_path / "x")
    assert "imported from w.pt" in proto.doc_string
    assert "stream motion" in proto.doc_string


@pytest.mark.parametrize("what", ["wrong", "NaN"])
def test_a_model_that_differs_from_torch_is_not_written(
    what: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_text("before")

    def changed(model: ExportedModel) -> onnx.ModelProto:
        proto = convert_to_onnx(model)
        (bias,) = [tensor for tensor in proto.graph.initializer if tensor.name == "encoder.blocks.9.spatial_norm.bias"]
        values = onnx.numpy_helper.to_array(bias).copy()
        values[:] = values + 1e-2 if what == "wrong" else np.nan
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        return proto

    monkeypatch.setattr(onnx_model, "convert_to_onnx", changed)
    with pytest.raises(SkelepipeError, match=r"features of 1 clips of 1 frames differ from torch's by .* nothing was"):
        export_onnx(OnnxExportRequest(run=run, output=tmp_path / "x"))
    assert (tmp_path / "x").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".x.lock", "x"]


def test_impossible_exports_are_one_line_errors(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="--checkpoint best cannot be combined with --classifier"):
        export_onnx(OnnxExportRequest(run=run, output=tmp_path / "x", classifier="linear", checkpoint="best"))
    with pytest.raises(ArtifactError, match="the run has linear"):
        export_onnx(OnnxExportRequest(run=run, output=tmp_path / "x", classifier="finetune"))
    with sole_file_writer(tmp_path / "x"), pytest.raises(OutputLocked):
        export_onnx(OnnxExportRequest(run=run, output=tmp_path / "x"))
    with monkeypatch.context() as context:
        context.setattr(onnx_export, "MAX_WEIGHT_BYTES", 1000)
        with pytest.raises(ArtifactError, match="exceed the 2 GiB"):
            export_onnx(OnnxExportRequest(run=run, output=tmp_path / "x"))
    monkeypatch.setattr(onnx_export.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(SkelepipeError, match=r"needs onnxruntime, of the extra `onnx`: pip install onnx onnxruntime"):
        export_onnx(OnnxExportRequest(run=run, output=tmp_path / "x"))
    assert not (tmp_path / "x").exists()


class FramesEncoder(Encoder):
    """An encoder without a graph: one convolution over time."""

    def make_blocks(self, config: EncoderConfig, graph: torch.Size) -> nn.ModuleList:
        return nn.ModuleList([nn.Conv2d(3, config.hidden_dim, (5, 1), stride=(4, 1), padding=(2, 0))])

    def feature_map(self, x: Tensor) -> Tensor:
        return self.blocks[0](self.normalise_input(x)).relu()


class BesselEncoder(FramesEncoder):
    """An encoder with an operation that ONNX does not have."""

    def feature_map(self, x: Tensor) -> Tensor:
        return torch.special.i0(super().feature_map(x))


def test_an_encoder_of_the_users_own_is_exported_or_refused_by_its_name(run: Run) -> None:
    config = run.config.encoder.model_copy(update={"name": "frames"})
    this = replace(run, config=run.config.model_copy(update={"encoder": config}))
    encoder = FramesEncoder(KINECT_V2, config).eval()
    content = convert_to_onnx(ExportedModel(encoder, this, "backbone")).SerializeToString()
    clips = random_clips(3, 22, 25, 3, seed=0)
    assert_close(run_model(content, clips)[0], extract_positions(encoder, torch.from_numpy(clips), this).numpy())
    with pytest.raises(SkelepipeError, match=r"torch cannot convert the encoder frames to ONNX: .*i0"):
        convert_to_onnx(ExportedModel(BesselEncoder(KINECT_V2, config).eval(), this, "backbone"))


def test_the_named_checkpoint_is_exported(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtifactError, match="has no best checkpoint"):
        export_onnx(OnnxExportRequest(run=run, output=tmp_path / "x", checkpoint="best"))
    requested, load = [], load_encoder
    monkeypatch.setattr(
        onnx_export,
        "load_encoder",
        lambda run, device, which, *, fast: requested.append((which, fast)) or load(run, device, fast=fast),
    )
    for which in (None, "last", "best"):
        export_onnx(OnnxExportRequest(run=run, output=tmp_path / "x", checkpoint=which))  # type: ignore[arg-type]
    assert requested == [("last", False), ("last", False), ("best", False)]


def test_export_distinguishes_runs_and_stores(run: Run, shared_store: Store, tmp_path: Path) -> None:
    def export(*words: object) -> tuple[int, str, str]:
        done = CliRunner().invoke(main, ["export", *map(str, words), "--out", str(tmp_path / "x"), "--force"])
        return done.exit_code, done.stdout, done.stderr

    code, out, err = export(run.path, "--classifier", "linear")
    assert (code, err) == (0, "")
    assert re.search(
        r"clips \(N, 3, T, 25, M\) to features \(N, 8\) and scores \(N, 3\) of linear-[0-9a-f]{8}, opset", out
    )
    result = json.loads(export(run.path, "--format", "onnx", "--json")[1])
    assert (result["format"], result["dimensions"], result["bytes"]) == ("onnx", 8, (tmp_path / "x").stat().st_size)
    store = shared_store.path
    for words, complaint in (
        (
            (run.path, "--format", "npz"),
            "is a run, which can be exported to --format onnx; --format npz belongs to stores",
        ),
        ((run.path, "--split", "xsub", "--stream", "bone"), "--split and --stream belong to stores"),
        (
            (store, "--format", "onnx"),
            "is a store, which can be exported to --format npz, ctrgcn, stgcn, pyskl or hdf5; --format onnx",
        ),
        ((store, "--layer", "head"), "--layer belongs to runs"),
        ((tmp_path / "none", "--format", "onnx"), "no such file or folder"),
    ):
        code, _, err = export(*words)
        assert (code, err.count("\n")) == (2, 1)
        assert complaint in err
    assert json.loads(export(store, "--json")[1])["format"] == "npz"


def test_compared_clips_include_absent_bodies() -> None:
    clips = random_clips(5, 4, 25, 2, seed=0)
    present = (clips != 0).any(axis=(1, 2, 3))
    assert present.tolist() == [[True, False], [True, True], [True, True], [True, False], [False, False]]
    assert all(samples < more or frames != other for (samples, frames), (more, other) in pairwise(CHECKED_BATCHES))


def test_the_script_without_torch_agrees_with_embed_and_the_evaluation(
    run: Run, shared_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(ExportRequest(store=shared_store, format="npz", output=tmp_path / "clips.npz"))
    export_onnx(OnnxExportRequest(run=run, output=tmp_path / "x", classifier="linear"))
    onnx_features.main(tmp_path / "x", tmp_path / "clips.npz", tmp_path / "found.npz")
    stored = embed.encode(run, embed.from_store(run, shared_store, None, "all"), device=CPU)
    with np.load(tmp_path / "found.npz") as found:
        assert_close(found["features"], stored.features)
        classifier = load_classifier(run, "linear", CPU)
        likeliest = classifier.scores(torch.from_numpy(stored.features)).argmax(dim=1)
        assert found["scores"].argmax(axis=1).tolist() == likeliest.tolist()
    printed = capsys.readouterr().out
    assert printed.startswith("Encoder of skeleton clips by skelepipe")
    assert f"\n71 {classifier.classes[likeliest[71]]} {classifier.names[likeliest[71]]}\n" in printed
    with np.load(tmp_path / "clips.npz") as exported:
        np.savez(tmp_path / "bare.npz", data=exported["data"])
    onnx_features.main(tmp_path / "x", tmp_path / "bare.npz", tmp_path / "found.npz")
    padded = embed.encode(run, embed.from_file(run, tmp_path / "bare.npz"), device=CPU)
    with np.load(tmp_path / "found.npz") as found:
        assert_close(found["features"], padded.features)


def test_the_script_needs_nothing_but_onnxruntime_and_numpy() -> None:
    assert libraries(Path(onnx_features.__file__)) == {"json", "sys", "pathlib", "numpy", "onnxruntime"}


@pytest.mark.parametrize("frames", [1, 7, 16, 40])
def test_resizing_in_the_script_equals_resizing_in_training(frames: int) -> None:
    clip = random_clips(1, 16, 5, 2, seed=3)[0]
    clip[:, 4, 2, 0] = np.nan
    theirs = resized(np.ascontiguousarray(clip.transpose(3, 1, 2, 0)), frames).transpose(3, 1, 2, 0)
    np.testing.assert_allclose(onnx_features.resized(clip, frames), np.nan_to_num(theirs), atol=1e-6)
