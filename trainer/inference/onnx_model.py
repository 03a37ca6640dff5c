"""Convert an encoder into an ONNX model with `torch.onnx.export`: input, outputs, dynamic axes, opset."""

import io
import warnings

import onnx
import torch
from torch import Tensor, nn

from pipeline.errors import SkelepipeError
from trainer.config.evaluation import FeatureLayer
from trainer.data.streams import derive_stream
from trainer.models.encoder import COORDINATES, Encoder
from trainer.runs.run import Run

OPSET = 17
"""Of ONNX 1.12 (June 2022): onnxruntime reads it from 1.12 on."""
CLIPS, FEATURES, SCORES = "clips", "features", "scores"
EXAMPLE = (2, 13)
"""N and T of the batch that the encoder is traced with. They are dynamic in the model, and so is M."""


class ExportedModel(nn.Module):
    """What the ONNX file computes: stream, encoder and, if given, a linear classifier.

    Args:
        encoder: in evaluation mode, on the CPU, with `fast` off.
        run: the run of the encoder, for its stream and skeleton layout.
        layer: where the features are taken.
        classifier: weight (classes, D) and bias (classes,) of a linear layer on the backbone features.
    """

    def __init__(
        self, encoder: Encoder, run: Run, layer: FeatureLayer, classifier: tuple[Tensor, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.encoder, self.run, self.layer, self.classifier = encoder, run, layer, classifier

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Positions (N, 3, T, V, M) in metres to features (N, D) and, with a classifier, scores (N, classes)."""
        pooled = self.encoder.backbone(derive_stream(clips, self.run.config.stream, self.run.layout))
        features = self.encoder.head(pooled) if self.layer == "head" else pooled
        if self.classifier is None:
            return (features,)
        weight, bias = self.classifier
        return features, nn.functional.linear(pooled, weight, bias)


def convert_to_onnx(model: ExportedModel) -> onnx.ModelProto:
    """Trace a model and convert it to ONNX, with N, T and M left open.

    torch's TorchScript exporter (`dynamo=False`) needs no package besides onnx and takes less than a second; the newer
    one needs onnxscript, takes seconds, and stores the paths of source files in the model.

    Raises:
        SkelepipeError: the encoder uses an operation that torch cannot convert.
    """
    run = model.run
    names = [FEATURES] if model.classifier is None else [FEATURES, SCORES]
    (samples, frames), joints, bodies = EXAMPLE, len(run.layout.joints), run.config.bodies
    clips = torch.randn(samples, COORDINATES, frames, joints, bodies, generator=torch.Generator().manual_seed(0))
    content = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter about itself; the result is compared with torch
            torch.onnx.export(
                model.eval(),
                (clips,),
                content,  # type: ignore[arg-type]
                input_names=[CLIPS],
                output_names=names,
                opset_version=OPSET,
                dynamic_axes={CLIPS: {0: "N", 2: "T", 4: "M"}, **{name: {0: "N"} for name in names}},
                dynamo=False,
                verbose=False,
            )
    except (RuntimeError, ValueError, TypeError) as error:
        name = run.config.encoder.name
        reason = str(error).strip().partition("\n")[0]
        raise SkelepipeError(f"{run.path}: torch cannot convert the encoder {name} to ONNX: {reason}") from error
    proto = onnx.load_model_from_string(content.getvalue())
    with torch.no_grad():
        sizes = [output.shape[1] for output in model(clips)]
    for output, size in zip(proto.graph.output, sizes, strict=True):
        output.type.tensor_type.shape.dim[1].dim_value = size  # the exporter leaves D open where it follows a reduction
    onnx.checker.check_model(proto, full_check=True)
    return proto
