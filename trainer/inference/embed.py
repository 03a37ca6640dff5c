"""Compute the features of clips with a trained encoder and write them to an .npz (`skelepipe embed`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.errors import ArtifactError, ArtifactNotFound
from pipeline.files import safe_numpy
from pipeline.files.atomic import sole_file_writer, write_file
from pipeline.files.regular_files import open_buffered
from pipeline.files.text_paths import accept_text_paths
from pipeline.recipes.steps.resample import resized
from pipeline.sources.coordinate_limits import MAX_POSITION, explain_beyond, first_beyond
from pipeline.store.batches import pad_clip
from pipeline.store.splits import Split
from pipeline.store.store import Store
from trainer.config.evaluation import FeatureLayer
from trainer.data.loader import load_clips
from trainer.evaluation import features
from trainer.evaluation.divergence import require_finite_features
from trainer.runs.run import CheckpointName, Run, load_encoder

PER_CLIP = ("labels", "names", "lengths")
"""Arrays of an input file with one value for each clip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipBatch:
    """Clips with their labels and names."""

    clips: Tensor
    """(N, 3, T, V, M) positions in metres, whatever the run's stream."""
    labels: NDArray[np.int64]
    """(N,) class ids from 0; -1 if unknown."""
    names: NDArray[np.str_]
    """(N,)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedding:
    """The features of a batch of clips."""

    features: NDArray[np.float32]
    """(N, D), in the order of the batch."""
    checkpoint: dict[str, Any]
    """The checkpoint of the encoder: path, digest, step, newer damaged checkpoints that were skipped."""


def from_store(run: Run, store: Store, split: Split | None = None, subset: str = "all") -> ClipBatch:
    """Read all clips of a store, or one side of a split, in row order, resized to the run's T."""
    rows = np.arange(len(store)) if split is None else np.sort(split.side(subset))
    return ClipBatch(
        clips=load_clips(store, rows, run.config.frames, run.config.bodies),
        labels=store.columns["label"][rows].astype(np.int64),
        names=np.array(store.names, np.str_)[rows],
    )


@accept_text_paths
def from_file(run: Run, path: Path) -> ClipBatch:
    """Read the array `data` (N, 3, T, V, M) of an .npz, with `lengths`, `labels` and `names` if present.

    With `lengths`, as `skelepipe export` writes them, clips are resized as in training; else `data` is used as it is.

    Raises:
        ArtifactNotFound: the file does not exist.
        ArtifactError: the file is not an .npz, contains objects, or `data` does not fit the run's skeleton.
    """
    if not path.is_file():
        raise ArtifactNotFound(path)
    try:
        with open_buffered(path) as handle:
            arrays = safe_numpy.read_arrays(handle)
            contents = {name: arrays[name]() for name in ("data", *PER_CLIP) if name in arrays}
    except Exception as error:  # numpy and zipfile raise many exception types for damaged files
        raise ArtifactError(f"{path}: cannot be read as an .npz of plain arrays ({error})") from error
    if "data" not in contents:
        raise ArtifactError(f"{path}: has no array `data` (N, 3, T, V, M)")
    return from_array(run, **contents, source=str(path))


def from_array(
    run: Run,
    data: NDArray[Any],
    labels: NDArray[Any] | None = None,
    names: NDArray[Any] | None = None,
    lengths: NDArray[Any] | None = None,
    *,
    source: str = "array",
) -> ClipBatch:
    """Check arrays and make a batch of them.

    Args:
        run: the clips must have its skeleton layout.
        data: numbers (N, 3, T, V, M), positions in metres, processed by the run's recipe; missing joints are 0.
        labels: (N,) integers, -1 if unknown; default: all unknown.
        names: (N,); default: 0, 1, ...
        lengths: (N,) integers, the number of frames of each clip; the rest of `data` is padding. The clips are resized
            to the run's T and M, as in training. Default: `data` is not resized.
        source: the origin of the arrays, for error messages.

    Raises:
        ArtifactError: an array does not fit the run's skeleton or the other arrays, or is not numeric; a coordinate is
            not finite or beyond any recording.
    """
    joints = len(run.layout.joints)
    if data.ndim != 5 or data.shape[1] != 3 or data.shape[3] != joints or data.dtype.kind not in "fiu" or not data.size:
        raise ArtifactError(
            f"{source}: data is {data.dtype} {data.shape}, expected numbers (N, 3, T, {joints}, M) for {run.path}"
        )
    with np.errstate(over="ignore"):
        clips = np.ascontiguousarray(data, np.float32)
    if not np.isfinite(clips).all():
        clip = int(np.flatnonzero(~np.isfinite(clips).reshape(len(clips), -1).all(1))[0])
        raise ArtifactError(f"{source}: data is not finite in clip {clip}; write missing joints as 0")
    if beyond := first_beyond(clips, MAX_POSITION):
        clip, axis, _, joint, _ = beyond
        reason = explain_beyond(axis, run.layout.joints[joint], clips[beyond], MAX_POSITION)
        raise ArtifactError(f"{source}: clip {clip}: {reason}")
    for name, array in zip(PER_CLIP, (labels, names, lengths), strict=True):
        if array is not None and array.shape != (len(data),):
            raise ArtifactError(f"{source}: {name} has shape {array.shape}, expected ({len(data)},)")
    if labels is not None and labels.dtype.kind not in "iu":
        raise ArtifactError(f"{source}: labels are {labels.dtype}, expected integers, -1 if unknown")
    if lengths is not None:
        if lengths.dtype.kind not in "iu" or lengths.min() < 1 or lengths.max() > data.shape[2]:
            raise ArtifactError(f"{source}: lengths must be integers from 1 to {data.shape[2]}, the frames of data")
        clips = _resize(clips, lengths, run)
    return ClipBatch(
        clips=torch.from_numpy(clips),
        labels=(np.full(len(data), -1) if labels is None else labels).astype(np.int64),
        names=(np.arange(len(data)) if names is None else names).astype(np.str_),
    )


def _resize(clips: NDArray[np.float32], lengths: NDArray[Any], run: Run) -> NDArray[np.float32]:
    """Resize padded clips (N, 3, T, V, M) as `fill_batch` resizes clips of a store, to the run's frames and bodies.

    A joint at exactly (0, 0, 0) is missing, except for the centre, which recipes place at the origin.
    """
    config = run.config
    out = np.empty((len(clips), 3, config.frames, clips.shape[3], config.bodies), np.float32)
    for index, length in enumerate(lengths.tolist()):
        clip = clips[index, :, :length].transpose(3, 1, 2, 0).copy()  # (M, T, V, 3)
        is_zero = (clip == 0).all(axis=3)
        is_absent = is_zero.all(axis=2)
        is_zero[..., run.layout.centre] = False
        clip[is_zero | is_absent[..., None]] = np.nan
        out[index] = pad_clip(resized(clip, config.frames), config.frames, config.bodies)
    return out


def encode(
    run: Run,
    batch: ClipBatch,
    *,
    layer: FeatureLayer = "backbone",
    normalised: bool = False,
    device: torch.device | None = None,
    which: CheckpointName = "last",
    fast: bool = True,
) -> Embedding:
    """Compute the features of a batch with a run's frozen encoder.

    Args:
        run: the run of the encoder.
        batch: the clips.
        layer: before or after the projection head.
        normalised: scale every vector to length 1.
        device: default: the GPU if there is one.
        which: which of the run's checkpoints.
        fast: use the fast implementation (models/fast/); results differ by rounding only.

    Raises:
        ArtifactError: the run's checkpoint is missing or damaged.
        NotFinite: the checkpoint or a feature has NaN or infinite values.
        ConfigError: the device does not exist.
    """
    encoder, checkpoint = load_encoder(run, device, which, fast=fast)
    vectors = features.extract_positions(encoder, batch.clips, run, layer)
    require_finite_features(vectors)
    return Embedding(features=(normalize(vectors, dim=1) if normalised else vectors).numpy(), checkpoint=checkpoint)


@accept_text_paths
def embed(
    run: Run,
    batch: ClipBatch,
    output: Path,
    *,
    layer: FeatureLayer = "backbone",
    normalised: bool = False,
    device: torch.device | None = None,
    which: CheckpointName = "last",
    fast: bool = True,
) -> dict[str, Any]:
    """Write `features` float32 (N, D), `labels` and `names` to `output`, in the order of the batch.

    Args: see `encode`.

    Returns:
        clips (N), dimensions (D) and the checkpoint of the encoder: path, digest, step, newer ones that were skipped.

    Raises:
        ArtifactError: the run's checkpoint is missing or damaged.
        OutputLocked: another process is writing the file.
        OutputFailed: the disk reports an error.
    """
    with sole_file_writer(output):
        embedding = encode(run, batch, layer=layer, normalised=normalised, device=device, which=which, fast=fast)
        arrays: dict[str, NDArray[Any]] = {"features": embedding.features, "labels": batch.labels, "names": batch.names}
        needed = sum(array.nbytes for array in arrays.values())
        write_file(output, lambda handle: np.savez(handle, **arrays), needed=needed)  # type: ignore[arg-type]
    clips, dimensions = embedding.features.shape
    return {"clips": clips, "dimensions": dimensions, "checkpoint": embedding.checkpoint}
