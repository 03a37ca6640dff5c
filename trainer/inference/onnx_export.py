"""Export a run's encoder to ONNX; the file is written only if onnxruntime agrees with torch."""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import ArtifactError, ConfigError, SkelepipeError
from pipeline.files import atomic
from pipeline.files.text_paths import request_with_text_paths
from trainer.config.evaluation import FeatureLayer
from trainer.evaluation import features
from trainer.inference import onnx_metadata
from trainer.models.encoder import Encoder
from trainer.runs.classifier import Classifier, load_classifier
from trainer.runs.run import CheckpointName, Run, load_encoder

PACKAGES = ("onnx", "onnxruntime")
"""The extra `onnx`: the file format, and the runtime that checks the file."""
TOLERANCE = 1e-5
"""Largest difference from torch, relative to the largest absolute value of that output in the batch."""
CHECKED_BATCHES = ((1, 1), (1, 2), (2, 3), (3, 64), (5, 37), (2, 300))
"""N and T of the batches that are compared between onnxruntime and torch, in addition to N = 2 and the run's own T."""
MAX_WEIGHT_BYTES = 2**31 - 2**20
"""Protocol buffers, and so ONNX files, end at 2 GiB."""
CPU = torch.device("cpu")


@request_with_text_paths
@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxExportRequest:
    """What to export."""

    run: Run
    output: Path
    layer: FeatureLayer = "backbone"
    checkpoint: CheckpointName | None = None
    """None: the last one. Not allowed with a classifier, which contains its own encoder."""
    classifier: str | None = None
    """Name of a classifier saved by an evaluation: adds the output `scores` and exports the classifier's encoder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxExportResult:
    """What was written, and how much it differs from torch."""

    out: Path
    run: str
    layer: FeatureLayer
    joints: int
    dimensions: int
    """D of the features."""
    classes: int | None
    """Columns of the scores, if a classifier was requested."""
    opset: int
    bytes: int
    differences: dict[str, float]
    """For each output the largest difference over all batches, relative to the largest value in the batch."""
    batches: list[tuple[int, int]]
    """N and T of the batches that were compared."""
    checkpoint: dict[str, Any]
    classifier: str | None
    format: str = field(default="onnx", init=False)


def export_onnx(request: OnnxExportRequest) -> OnnxExportResult:
    """Write a run's encoder to exactly the requested path, if onnxruntime computes the same features as torch.

    Raises:
        SkelepipeError: a package of the extra `onnx` is missing, torch cannot convert the encoder, or onnxruntime
            computes something else.
        ConfigError: both a checkpoint and a classifier are named.
        ArtifactNotFound: the run has no such classifier.
        ArtifactError: the run, its checkpoint or the classifier is damaged, or the weights exceed 2 GiB.
        OutputLocked: another process is writing the file.
        OutputFailed: the disk reports an error.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise SkelepipeError(
            f"--format onnx needs {' and '.join(missing)}, of the extra `onnx`: pip install {' '.join(PACKAGES)}"
        )
    from trainer.inference import onnx_model  # noqa: PLC0415 - imports the optional package onnx

    run, layer, output = request.run, request.layer, request.output
    with atomic.sole_file_writer(output):
        encoder, checkpoint, classifier = _load_source(request)
        if sum(tensor.nbytes for tensor in encoder.state_dict().values()) > MAX_WEIGHT_BYTES:
            raise ArtifactError(f"{run.path}: the weights exceed the 2 GiB that an ONNX file can hold")
        linear = (classifier.weight, classifier.bias) if classifier else None
        proto = onnx_model.convert_to_onnx(onnx_model.ExportedModel(encoder, run, layer, linear))
        onnx_metadata.add_metadata(proto, run, layer, checkpoint, classifier)
        content = proto.SerializeToString(deterministic=True)
        batches = [*CHECKED_BATCHES, (2, run.config.frames)]
        differences = _compare_with_torch(content, request, encoder, classifier, batches)
        atomic.write_file(output, content)
    return OnnxExportResult(
        out=output,
        run=run.path.as_posix(),
        layer=layer,
        joints=len(run.layout.joints),
        dimensions=encoder.config.hidden_dim if layer == "backbone" else encoder.config.feature_dim,
        classes=len(classifier.classes) if classifier else None,
        opset=onnx_model.OPSET,
        bytes=len(content),
        differences=differences,
        batches=batches,
        checkpoint=checkpoint,
        classifier=classifier.name if classifier else None,
    )


def _load_source(request: OnnxExportRequest) -> tuple[Encoder, dict[str, Any], Classifier | None]:
    """Load the encoder to export, the description of its checkpoint, and the classifier if one was requested."""
    run = request.run
    if request.classifier is None:
        return *load_encoder(run, CPU, request.checkpoint or "last", fast=False), None
    if request.checkpoint is not None:
        raise ConfigError(
            f"--checkpoint {request.checkpoint} cannot be combined with --classifier, which contains its own encoder"
        )
    classifier = load_classifier(run, request.classifier, CPU, fast=False)
    return classifier.encoder, classifier.facts["lineage"]["checkpoint"], classifier


def _compare_with_torch(
    content: bytes,
    request: OnnxExportRequest,
    encoder: Encoder,
    classifier: Classifier | None,
    batches: list[tuple[int, int]],
) -> dict[str, float]:
    """Run the model with onnxruntime and return the largest relative difference from torch for each output.

    Raises:
        SkelepipeError: onnxruntime cannot run the model, or a difference is NaN or above the tolerance.
    """
    import onnxruntime  # noqa: PLC0415 - an optional package

    run, differences = request.run, dict[str, float]()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for seed, (samples, frames) in enumerate(batches):
        clips = random_clips(samples, frames, len(run.layout.joints), run.config.bodies, seed=seed)
        expected = {
            "features": features.extract_positions(encoder, torch.from_numpy(clips), run, request.layer).numpy()
        }
        if classifier is not None:
            backbone = features.extract_positions(encoder, torch.from_numpy(clips), run)
            expected["scores"] = classifier.scores(backbone).numpy()
        for name, output in zip(names, session.run(None, {"clips": clips}), strict=True):
            largest = np.abs(expected[name]).max()
            difference = float(np.abs(output - expected[name]).max() / max(largest, np.finfo(np.float32).tiny))
            if not difference <= TOLERANCE:  # also catches NaN
                raise SkelepipeError(
                    f"{request.output}: onnxruntime's {name} of {samples} clips of {frames} frames differ from torch's "
                    f"by {difference:.1e} of the largest value, expected at most {TOLERANCE:.0e}; nothing was written. "
                    "Check for very large or non-finite weights, or an old onnxruntime"
                )
            differences[name] = max(differences.get(name, 0.0), difference)
    return differences


def random_clips(samples: int, frames: int, joints: int, bodies: int, seed: int) -> NDArray[np.float32]:
    """Random clips (N, 3, T, V, M) in metres of slightly moving bodies.

    Every third clip has one body; the last of several clips has none.
    """
    rng = np.random.default_rng(seed)
    pose = rng.normal(0, 0.4, (samples, 3, 1, joints, bodies))
    clips = (pose + rng.normal(0, 0.05, (samples, 3, frames, joints, bodies))).astype(np.float32)
    clips[::3, ..., 1:] = 0
    if samples > 1:
        clips[-1] = 0
    return clips
