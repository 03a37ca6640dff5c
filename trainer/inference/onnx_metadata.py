"""Metadata and description of an exported ONNX model: expected input, preparation of clips, outputs."""

import importlib.metadata
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.errors import one_line
from trainer.config.evaluation import FeatureLayer
from trainer.runs.classifier import Classifier
from trainer.runs.run import Run

if TYPE_CHECKING:
    import onnx

METADATA_VERSION = 1
COORDINATES = (
    "x, y, z as the recipe leaves them; a recording of a Kinect is in the sensor's space, x to its left, y up, z away "
    "from it, before the recipe's steps turn and shift it"
)
RESIZE = (
    "linear in time by the half-pixel rule: frame t of the result lies at (t + 1/2) * T_before / T - 1/2 of the clip, "
    "held at both ends; a joint that is missing in either of the two frames around it is missing, that is 0; a clip of "
    "T frames stays as it is"
)
STREAMS = {
    "joint": "the joints themselves",
    "motion": "the way of each joint to the next frame",
    "bone": "the way to each joint from its parent",
}
BODIES = {
    "all": "a mean over all M bodies, one that is absent counting as what zeros become",
    "present": "a mean over the bodies that are not zeros throughout, or all if none is",
}


def model_metadata(
    run: Run, layer: FeatureLayer, checkpoint: Mapping[str, Any], classifier: Classifier | None
) -> dict[str, Any]:
    """The metadata of a model by key."""
    made_from = classifier.facts if classifier else run.lineage["store"]
    metadata: dict[str, Any] = {
        "format_version": METADATA_VERSION,
        "tool": f"skelepipe {importlib.metadata.version('skelepipe')}",
        "run": run.digest,
        "checkpoint": {key: value for key, value in checkpoint.items() if key != "skipped"},
        "layer": layer,
        "dataset": run.lineage["store"].get("dataset"),
        "layout": run.layout.to_json(),
        "units": "m",
        "axes": ["N sample", "C coordinate", "T frame", "V joint", "M body"],
        "coordinates": COORDINATES,
        "missing": "0, as are all coordinates of an absent body",
        "recipe": made_from["recipe"],
        "frames": run.config.frames,
        "resize": RESIZE,
        "bodies": run.config.bodies,
        "body_mean": run.config.encoder.body_mean,
        "stream": run.config.stream,
    }
    if classifier:
        names = classifier.names or [""] * len(classifier.classes)
        lineage = classifier.facts["lineage"]
        metadata["classifier"] = {
            "name": classifier.name,
            **{key: classifier.facts[key] for key in ("protocol", "representation", "batch_norm", "dataset")},
            **{key: {part: lineage[key][part] for part in ("name", "digest")} for key in ("store", "split")},
        }
        metadata["classes"] = [
            {"id": label, "name": name} for label, name in zip(classifier.classes, names, strict=True)
        ]
    return metadata


def description(known: Mapping[str, Any]) -> str:
    """The metadata as English text, for the model's doc_string."""
    recipe, layout, checkpoint = known["recipe"], known["layout"], known["checkpoint"]
    origin = (
        f"imported from {checkpoint['imported']}"
        if checkpoint.get("imported")
        else f"trained on {known['dataset']}, step {checkpoint['step']} of {checkpoint['total_steps']}"
    )
    layer = "before its projection head" if known["layer"] == "backbone" else "behind its projection head"
    text = [
        f"Encoder of skeleton clips by {known['tool']}, {origin}.",
        f"Input `clips`: float32 (N, 3, T, {len(layout['joints'])}, M), joints of the layout {layout['name']} in the "
        f"order of the metadata `layout`, in metres. Coordinates: {known['coordinates']}. Missing joints are 0, and so "
        "is all of an absent body.",
        f"Clips must have been prepared by the recipe {recipe['name']} "
        f"({', '.join(step['step'] for step in recipe['steps']) or 'no steps'}; in full in `recipe`), and then "
        f"resized to {known['frames']} frames: {known['resize']}. Any T from 1 works and gives features; those "
        f"of T = {known['frames']} are what was trained. Training showed {known['bodies']} bodies, the most active "
        "first; any M from 1 works.",
        f"The model itself derives the stream {known['stream']}: {STREAMS[known['stream']]}. Nothing is to be derived "
        "before.",
        f"Output `features`: float32 (N, D) of the frozen encoder, {layer}; {BODIES[known['body_mean']]}. Each clip's "
        "are its own, whatever else is in the batch.",
    ]
    if "classes" in known:
        text.append(
            f"Output `scores`: float32 (N, {len(known['classes'])}) of the classifier {known['classifier']['name']}, "
            "columns in the order of `classes`; their softmax is how sure it is among these classes."
        )
    return "\n".join(map(one_line, text))  # contains names from files


def add_metadata(
    proto: "onnx.ModelProto",
    run: Run,
    layer: FeatureLayer,
    checkpoint: Mapping[str, Any],
    classifier: Classifier | None,
) -> None:
    """Write metadata and description into a model; strings are stored as they are, all other values as JSON."""
    metadata = model_metadata(run, layer, checkpoint, classifier)
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, one_line(value) if isinstance(value, str) else json.dumps(value)
    proto.doc_string = description(metadata)
    proto.producer_name, proto.producer_version = "skelepipe", importlib.metadata.version("skelepipe")
    proto.graph.name = "encoder"
