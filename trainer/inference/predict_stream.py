"""Predict classes while a recording arrives, window by window (`predict RUN - --window S`)."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import ConfigError, RawFileError, UnusableClip
from pipeline.files.text_paths import request_with_text_paths
from pipeline.recipes.recipe import Recipe, apply_recipe, recipe_from_plain
from pipeline.skeleton.frame_rate import FRAMES_PER_SECOND, at_common_rate
from pipeline.skeleton.layout import KINECT_V2
from pipeline.skeleton.recording import Recording
from pipeline.sources.folder.arrays import to_metres
from pipeline.sources.folder.skeleton_toml import FolderSpec
from pipeline.sources.frame_stream import MAX_PEOPLE, read_frames
from pipeline.sources.unlabelled import read_matching_spec
from trainer.evaluation import features
from trainer.inference.predict import most_probable, resize_and_pad
from trainer.runs.classifier import Classifier, choose_classifier, load_classifier
from trainer.runs.run import Run

SOURCE = "standard input"


@request_with_text_paths
@dataclass(frozen=True, kw_only=True, slots=True)
class StreamRequest:
    """What to predict."""

    run: Run
    window: float
    """Seconds of a window."""
    stride: float
    """Seconds from the start of a window to the start of the next."""
    device: torch.device
    classifier: str | None = None
    skeleton: Path | None = None
    """The `skeleton.toml` with units, axes and rate; None: metres with y up at 30 frames per second, Kinect v2 only."""
    top: int = 5
    fast: bool = True


def predict_stream(request: StreamRequest, lines: Iterable[str]) -> Iterator[str]:
    """Yield a JSON object for each window as soon as its last frame has arrived.

    The keys are start and end in seconds, and top (label, name, probability); or `reason` instead of top if nobody
    usable is in the window. Frames that no later window needs are forgotten.

    Raises:
        ConfigError: a window is shorter than a frame, or units and axes are unknown.
        ArtifactNotFound, ArtifactError: there is no such classifier, or it is damaged.
        RawFileError: a line is no frame.
    """
    run = request.run
    spec = _spec(request)
    rate = spec.frames_per_second or FRAMES_PER_SECOND
    length, stride = round(request.window * rate), round(request.stride * rate)
    if length < 1 or stride < 1:
        raise ConfigError(f"window and stride must be at least a frame, {1 / rate:.3f} s")
    classifier = load_classifier(run, choose_classifier(run, request.classifier), request.device, fast=request.fast)
    recipe = recipe_from_plain(classifier.facts["recipe"], f"classifier {classifier.name} of {run.path}")
    kept: list[NDArray[np.float64]] = []
    first = 0  # the number of the first frame that is kept
    for number, frame in enumerate(read_frames(lines, run.layout, SOURCE)):
        if number >= first:
            kept.append(frame)
        if number + 1 == first + length:
            answer = _predict_window(kept, spec, recipe, classifier, request)
            yield json.dumps({"start": first / rate, "end": (first + length) / rate, **answer})
            kept, first = kept[stride:], first + stride


def _spec(request: StreamRequest) -> FolderSpec:
    if request.skeleton is not None:
        return read_matching_spec(request.skeleton, request.run.layout)
    if request.run.layout != KINECT_V2:
        raise ConfigError(f"{SOURCE}: units and axes are unknown; name a skeleton.toml with --skeleton")
    return FolderSpec(
        path=Path(), layout=KINECT_V2, per_metre=1, up="y", frames_per_second=None, classes=None, splits={}
    )


def _predict_window(
    frames: list[NDArray[np.float64]], spec: FolderSpec, recipe: Recipe, classifier: Classifier, request: StreamRequest
) -> dict[str, Any]:
    """Return the most probable classes of some frames, or the reason why there are none."""
    people, axes = max(map(len, frames)), max(frame.shape[2] for frame in frames)
    bodies = np.full((min(people, MAX_PEOPLE), len(frames), len(spec.layout.joints), axes), np.nan)
    for at, frame in enumerate(frames):
        bodies[: len(frame), at, :, : frame.shape[2]] = frame
    try:
        recording = Recording.from_bodies(SOURCE, spec.layout, to_metres(bodies, spec))
        clip = apply_recipe(recipe, at_common_rate(recording, spec.frames_per_second))
    except (UnusableClip, RawFileError, ValueError) as error:
        return {"reason": str(error)}
    positions = torch.from_numpy(resize_and_pad(clip.xyz, request.run)[None])
    scores = classifier.scores(features.extract_positions(classifier.encoder, positions, request.run))
    if not scores.isfinite().all():
        return {"reason": "the encoder's output is not finite"}
    (top,) = most_probable(classifier, scores, request.top)
    return {"top": [asdict(prediction) for prediction in top]}
