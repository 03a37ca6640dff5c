"""Features of any clips as one .npz: of a store's split, or of an array in a file."""

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
from pipeline.store.splits import Split
from pipeline.store.store import Store
from trainer.config.evaluation import FeatureLayer
from trainer.data.loader import load_clips
from trainer.evaluation import features
from trainer.runs.run import CheckpointName, Run, load_encoder


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipBatch:
    """Clips with what is known of them."""

    clips: Tensor
    """(N, 3, T, V, M) positions in metres, whatever the run's stream."""
    labels: NDArray[np.int64]
    """(N,) classes from 0; -1 unknown."""
    names: NDArray[np.str_]
    """(N,)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedding:
    """What an encoder makes of clips."""

    features: NDArray[np.float32]
    """(N, D), rows in the batch's order."""
    checkpoint: dict[str, Any]
    """Where they come from: path, digest, step, newer ones that were skipped."""


def from_store(run: Run, store: Store, split: Split | None = None, subset: str = "all") -> ClipBatch:
    """A store's clips, of one side of a split or all of them, resized to the run's T; in row order."""
    rows = np.arange(len(store)) if split is None else np.sort(split.side(subset))
    return ClipBatch(
        clips=load_clips(store, rows, run.config.frames, run.config.bodies),
        labels=store.columns["label"][rows].astype(np.int64),
        names=np.array(store.names, np.str_)[rows],
    )


def from_file(run: Run, path: Path) -> ClipBatch:
    """The array `data` (N, 3, T, V, M) of an .npz as it is; `labels` and `names` too when they are there.

    Raises:
        ArtifactNotFound: there is no such file.
        ArtifactError: it is no .npz, holds objects, or `data` does not fit the run's skeleton.
    """
    if not path.is_file():
        raise ArtifactNotFound(path)
    try:
        with path.open("rb") as handle:
            arrays = safe_numpy.read_arrays(handle)
            held = {name: arrays[name]() for name in ("data", "labels", "names") if name in arrays}
    except Exception as error:  # numpy and zipfile raise nearly anything over a damaged file
        raise ArtifactError(f"{path}: cannot be read as an .npz of plain arrays ({error})") from error
    if "data" not in held:
        raise ArtifactError(f"{path}: holds no array `data` (N, 3, T, V, M)")
    return from_array(run, held["data"], held.get("labels"), held.get("names"), source=str(path))


def from_array(
    run: Run,
    data: NDArray[Any],
    labels: NDArray[Any] | None = None,
    names: NDArray[Any] | None = None,
    *,
    source: str = "array",
) -> ClipBatch:
    """An array of clips as it is: no frame is added or taken away.

    Args:
        run: whose skeleton the clips must have.
        data: numbers (N, 3, T, V, M), positions in metres as the run's recipe leaves them; missing is 0.
        labels: (N,) whole numbers, -1 unknown, which they all are when not given.
        names: (N,); 0, 1, ... when not given.
        source: where the arrays come from, for what is said of them.

    Raises:
        ArtifactError: an array does not fit the run's skeleton or the others, or holds something else than numbers.
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
    for name, given in (("labels", labels), ("names", names)):
        if given is not None and given.shape != (len(data),):
            raise ArtifactError(f"{source}: {name} has shape {given.shape}, expected ({len(data)},)")
    if labels is not None and labels.dtype.kind not in "iu":
        raise ArtifactError(f"{source}: labels are {labels.dtype}, expected whole numbers, -1 where unknown")
    return ClipBatch(
        clips=torch.from_numpy(clips),
        labels=(np.full(len(data), -1) if labels is None else labels).astype(np.int64),
        names=(np.arange(len(data)) if names is None else names).astype(np.str_),
    )


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
    """The features of a batch by a run's frozen encoder.

    Args:
        run: whose encoder.
        batch: the clips.
        layer: before or behind the projection head.
        normalised: scale every vector to length 1.
        device: where it is computed; the GPU if there is one when not given.
        which: of the run's checkpoints.
        fast: encode in less time, equal but for rounding: by trainer/models/fast/cpu.py, on a GPU by trainer/models/fast/gpu.py.

    Raises:
        ArtifactError: the run's checkpoint is missing or damaged.
        ConfigError: there is no such device.
    """
    encoder, checkpoint = load_encoder(run, device, which, fast=fast)
    found = features.extract_positions(encoder, batch.clips, run, layer)
    return Embedding(features=(normalize(found, dim=1) if normalised else found).numpy(), checkpoint=checkpoint)


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
    """Write `features` float32 (N, D), `labels` and `names` to `output`, rows in the batch's order.

    Args as `encode` has them.

    Returns:
        clips N, dimensions D, and the checkpoint they come from: path, digest, step, newer ones that were skipped.

    Raises:
        ArtifactError: the run's checkpoint is missing or damaged.
        OutputLocked: another process is writing there.
        OutputFailed: the disk refuses.
    """
    with sole_file_writer(output):
        found = encode(run, batch, layer=layer, normalised=normalised, device=device, which=which, fast=fast)
        arrays: dict[str, NDArray[Any]] = {"features": found.features, "labels": batch.labels, "names": batch.names}
        needed = sum(array.nbytes for array in arrays.values())
        write_file(output, lambda handle: np.savez(handle, **arrays), needed=needed)  # type: ignore[arg-type]
    clips, dimensions = found.features.shape
    return {"clips": clips, "dimensions": dimensions, "checkpoint": found.checkpoint}
