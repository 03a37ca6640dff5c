"""Features of any clips as one .npz: of a store's split, or of an array in a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from pipeline import numpy_files
from pipeline.errors import ArtifactError, ArtifactNotFound
from pipeline.publish import sole_file, write_file
from pipeline.splits import Split
from pipeline.store import Store
from trainer import features, loader, runs
from trainer.features import Layer
from trainer.runs import Run, Which


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Clips with what is known of them."""

    clips: Tensor
    """(N, 3, T, V, M) positions in metres, whatever the run's stream."""
    labels: NDArray[np.int64]
    """(N,) classes from 0; -1 unknown."""
    names: NDArray[np.str_]
    """(N,)."""


def from_store(run: Run, store: Store, split: Split | None, subset: str) -> Batch:
    """A store's clips, of one side of a split or all of them, resized to the run's T; in row order."""
    rows = np.arange(len(store)) if split is None else np.sort(split.side(subset))
    return Batch(
        clips=loader.load(store, rows, run.config.frames, run.config.bodies),
        labels=store.columns["label"][rows].astype(np.int64),
        names=np.array(store.names, np.str_)[rows],
    )


def from_file(run: Run, path: Path) -> Batch:
    """The array `data` (N, 3, T, V, M) of an .npz as it is; `labels` and `names` too when they are there.

    Raises:
        ArtifactNotFound: there is no such file.
        ArtifactError: it is no .npz, holds objects, or `data` does not fit the run's skeleton.
    """
    if not path.is_file():
        raise ArtifactNotFound(path)
    try:
        with path.open("rb") as handle:
            arrays = numpy_files.read(handle)
            held = {name: arrays[name]() for name in ("data", "labels", "names") if name in arrays}
    except Exception as error:  # numpy and zipfile raise nearly anything over a damaged file
        raise ArtifactError(f"{path}: cannot be read as an .npz of plain arrays ({error})") from error
    if "data" not in held:
        raise ArtifactError(f"{path}: holds no array `data` (N, 3, T, V, M)")
    data, joints = held["data"], len(run.layout.joints)
    if data.ndim != 5 or data.shape[1] != 3 or data.shape[3] != joints or data.dtype.kind not in "fiu" or not data.size:
        raise ArtifactError(
            f"{path}: data is {data.dtype} {data.shape}, expected numbers (N, 3, T, {joints}, M) for {run.path}"
        )
    with np.errstate(over="ignore"):
        clips = np.ascontiguousarray(data, np.float32)
    if not np.isfinite(clips).all():
        clip = int(np.flatnonzero(~np.isfinite(clips).reshape(len(clips), -1).all(1))[0])
        raise ArtifactError(f"{path}: data is not finite in clip {clip}; write missing joints as 0")
    for name in ("labels", "names"):
        if name in held and held[name].shape != (len(data),):
            raise ArtifactError(f"{path}: {name} has shape {held[name].shape}, expected ({len(data)},)")
    if "labels" in held and held["labels"].dtype.kind not in "iu":
        raise ArtifactError(f"{path}: labels are {held['labels'].dtype}, expected whole numbers, -1 where unknown")
    return Batch(
        clips=torch.from_numpy(clips),
        labels=held.get("labels", np.full(len(data), -1)).astype(np.int64),
        names=held.get("names", np.arange(len(data))).astype(np.str_),
    )


def embed(
    run: Run,
    batch: Batch,
    output: Path,
    *,
    layer: Layer,
    normalised: bool,
    device: torch.device,
    which: Which = "last",
    fast: bool = True,
) -> dict[str, Any]:
    """Write `features` float32 (N, D), `labels` and `names` to `output`, rows in the batch's order.

    Returns:
        clips N, dimensions D, and the checkpoint they come from: path, digest, step, newer ones that were skipped.

    Raises:
        ArtifactError: the run's checkpoint is missing or damaged.
        OutputLocked: another process is writing there.
        OutputFailed: the disk refuses.
    """
    with sole_file(output):
        encoder, checkpoint = runs.load_encoder(run, device, which, fast=fast)
        found = features.of_positions(encoder, batch.clips, run, layer)
        if normalised:
            found = normalize(found, dim=1)
        arrays = {"features": found.numpy(), "labels": batch.labels, "names": batch.names}
        needed = sum(array.nbytes for array in arrays.values())
        write_file(output, lambda handle: np.savez(handle, **arrays), needed=needed)  # type: ignore[arg-type]
    return {"clips": found.shape[0], "dimensions": found.shape[1], "checkpoint": checkpoint}
