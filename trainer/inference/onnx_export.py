"""A run's encoder as an ONNX file for other people's programs; written only if onnxruntime computes what torch does."""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import ArtifactError, ConfigError, SkelepipeError
from pipeline.files import atomic
from trainer.config.evaluation import FeatureLayer
from trainer.evaluation import features
from trainer.inference import onnx_metadata
from trainer.models.encoder import Encoder
from trainer.runs.classifier import Classifier, load_classifier
from trainer.runs.run import CheckpointName, Run, load_encoder

PACKAGES = ("onnx", "onnxruntime")
"""The extra `onnx`: the format, and what a file is checked with."""
TOLERANCE = 1e-5
"""Largest difference from torch, as a share of the largest number that an output has in a batch."""
CHECKED = ((1, 1), (1, 2), (2, 3), (3, 64), (5, 37), (2, 300))
"""N and T of the batches that onnxruntime and torch must agree on; besides, 2 and the T of the training."""
MOST_BYTES = 2**31 - 2**20
"""Of weights: the format's messages end at 2 GiB."""
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxExportRequest:
    """What the user asks."""

    run: Run
    output: Path
    layer: FeatureLayer = "backbone"
    checkpoint: CheckpointName | None = None
    """None: the last; a classifier has an encoder of its own."""
    classifier: str | None = None
    """Name of a classifier that an evaluation left: its scores are a further output, its encoder is what is written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxExportResult:
    """What was written, and how far it is from torch."""

    out: Path
    run: str
    layer: FeatureLayer
    joints: int
    dimensions: int
    """D of the features."""
    classes: int | None
    """Columns of the scores, when a classifier was asked for."""
    opset: int
    bytes: int
    differences: dict[str, float]
    """Of each output the largest over all batches, as a share of the largest number in the batch."""
    batches: list[tuple[int, int]]
    """N and T of the batches that were compared."""
    checkpoint: dict[str, Any]
    classifier: str | None
    format: str = field(default="onnx", init=False)


def export_onnx(request: OnnxExportRequest) -> OnnxExportResult:
    """Write a run's encoder, exactly to where the request says, if onnxruntime gives the features that torch gives.

    Raises:
        SkelepipeError: a package of the extra `onnx` is missing, or onnxruntime computes something else.
        ConfigError: both a checkpoint and a classifier are named, or the encoder is another than ST-GCN.
        ArtifactNotFound: the run has no such classifier.
        ArtifactError: the run, its checkpoint or the classifier is damaged, or the weights are more than a file holds.
        OutputLocked: another process is writing there.
        OutputFailed: the disk refuses.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise SkelepipeError(
            f"--format onnx needs {' and '.join(missing)}, of the extra `onnx`: pip install {' '.join(PACKAGES)}"
        )
    from trainer.inference import onnx_graph  # noqa: PLC0415 - of the extra, which only those who ask for it need

    run, layer, output = request.run, request.layer, request.output
    if run.config.encoder.name != onnx_graph.ENCODER:
        raise ConfigError(
            f"{run.path}: has encoder {run.config.encoder.name}; only {onnx_graph.ENCODER} is known as an ONNX graph"
        )
    with atomic.sole_file_writer(output):
        encoder, checkpoint, chosen = _source(request)
        if sum(tensor.nbytes for tensor in encoder.state_dict().values()) > MOST_BYTES:
            raise ArtifactError(f"{run.path}: its weights are more than the 2 GiB that an ONNX file holds")
        scores = (chosen.weight, chosen.bias) if chosen else None
        proto = onnx_graph.model(encoder, run.config.stream, run.layout, layer, scores)
        onnx_metadata.describe(proto, run, layer, checkpoint, chosen)
        content = proto.SerializeToString(deterministic=True)
        batches = [*CHECKED, (2, run.config.frames)]
        differences = _differences(content, request, encoder, chosen, batches)
        atomic.write_file(output, content)
    return OnnxExportResult(
        out=output,
        run=run.path.as_posix(),
        layer=layer,
        joints=len(run.layout.joints),
        dimensions=encoder.config.hidden_dim if layer == "backbone" else encoder.config.feature_dim,
        classes=len(chosen.classes) if chosen else None,
        opset=onnx_graph.OPSET,
        bytes=len(content),
        differences=differences,
        batches=batches,
        checkpoint=checkpoint,
        classifier=chosen.name if chosen else None,
    )


def _source(request: OnnxExportRequest) -> tuple[Encoder, dict[str, Any], Classifier | None]:
    """The encoder that is written, the checkpoint that it comes from, and the classifier, if one was asked for."""
    run = request.run
    if request.classifier is None:
        return *load_encoder(run, CPU, request.checkpoint or "last", fast=False), None
    if request.checkpoint is not None:
        raise ConfigError(
            f"--checkpoint {request.checkpoint} means nothing beside --classifier, which has an encoder of its own"
        )
    chosen = load_classifier(run, request.classifier, CPU, fast=False)
    return chosen.encoder, chosen.facts["lineage"]["checkpoint"], chosen


def _differences(
    content: bytes,
    request: OnnxExportRequest,
    encoder: Encoder,
    chosen: Classifier | None,
    batches: list[tuple[int, int]],
) -> dict[str, float]:
    """How far onnxruntime's outputs are from torch's: of each the largest share over all batches.

    Raises:
        SkelepipeError: onnxruntime cannot run the model, or one of them is more than the tolerance, or no number.
    """
    import onnxruntime  # noqa: PLC0415 - of the extra

    run, found = request.run, dict[str, float]()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for number, (samples, frames) in enumerate(batches):
        clips = people(samples, frames, len(run.layout.joints), run.config.bodies, seed=number)
        wanted = {"features": features.extract_positions(encoder, torch.from_numpy(clips), run, request.layer).numpy()}
        if chosen is not None:
            wanted["scores"] = chosen.scores(features.extract_positions(encoder, torch.from_numpy(clips), run)).numpy()
        for name, theirs in zip(names, session.run(None, {"clips": clips}), strict=True):
            largest = np.abs(wanted[name]).max()
            share = float(np.abs(theirs - wanted[name]).max() / max(largest, np.finfo(np.float32).tiny))
            if not share <= TOLERANCE:  # as no NaN is
                raise SkelepipeError(
                    f"{request.output}: onnxruntime's {name} of {samples} clips of {frames} frames differ from torch's "
                    f"by {share:.1e} of the largest, expected at most {TOLERANCE:.0e}; nothing was written: "
                    "are the weights very large or no numbers, or is onnxruntime an old one?"
                )
            found[name] = max(found.get(name, 0.0), share)
    return found


def people(samples: int, frames: int, joints: int, bodies: int, seed: int) -> NDArray[np.float32]:
    """(N, 3, T, V, M) metres: people who move a little; every third clip has one body, the last of several none."""
    rng = np.random.default_rng(seed)
    standing = rng.normal(0, 0.4, (samples, 3, 1, joints, bodies))
    clips = (standing + rng.normal(0, 0.05, (samples, 3, frames, joints, bodies))).astype(np.float32)
    clips[::3, ..., 1:] = 0
    if samples > 1:
        clips[-1] = 0
    return clips
