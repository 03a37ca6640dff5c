"""Save and load checkpoints: safetensors and JSON in a folder with checksums, written atomically."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.artifacts import manifest, schemas
from pipeline.artifacts.paths import META_FILE
from pipeline.errors import ArtifactError, ArtifactNotFound, NotFinite, OutputFailed
from pipeline.files import atomic
from pipeline.files.disk import disk_errors, sync_folder
from trainer.models.encoder import Encoder
from trainer.models.size_estimate import QUERY
from trainer.runs.safetensors_file import first_not_finite, read_tensors, tensors_size, write_tensors

KEPT_CHECKPOINTS = 2
"""One to resume from, and one in case it is damaged. The best checkpoint recorded in each of them is kept, too."""
MODEL, OPTIMISER = "model.safetensors", "optimiser.safetensors"


def save(folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer | None, meta: Mapping[str, Any]) -> Path:
    """Write the checkpoint of step `meta["step"]`, and remove old checkpoints as `remove_old` does.

    Imported weights have no optimiser. The run's folder, the parent of `folder`, must exist.

    Raises:
        OutputFailed: the disk reports an error, or the run's folder is gone; the previous checkpoints stay.
    """
    final = folder / _name(meta["step"])
    partial = folder / f".{final.name}.partial"
    files = {MODEL: model.state_dict()} | ({OPTIMISER: _optimiser_tensors(optimiser)} if optimiser else {})
    with disk_errors(final, sum(tensors_size(tensors) for tensors in files.values())):
        try:
            if not folder.is_dir():
                folder.mkdir()
                sync_folder(folder.parent)
            _remove_partial(folder)
            partial.mkdir()
            for name, tensors in files.items():
                write_tensors(partial / name, tensors)
            document = {"kind": schemas.CHECKPOINT.kind, **meta}
            (partial / META_FILE).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            manifest.write_manifest(partial, schemas.CHECKPOINT)
            atomic.publish_folder(partial, final)
        except FileNotFoundError as error:  # never recreate parts of a run that was removed
            raise OutputFailed(f"{final}: cannot be written: {folder.parent} was removed or moved") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    remove_old(folder, final)
    return final


def remove_old(folder: Path, newest: Path) -> None:
    """Remove all checkpoints but the last two up to `newest` and the best ones that these two record.

    A checkpoint newer than `newest` is damaged; it stays and does not count as one of the two.

    Raises:
        OutputFailed: the disk reports an error.
    """
    with disk_errors(folder, outcome="all checkpoints are intact"):
        _remove_partial(folder)
        paths = [path for path in list_checkpoints(folder) if path.name <= newest.name]
        best = {best_of(folder, path) for path in paths[-KEPT_CHECKPOINTS:]}
        for old in paths[:-KEPT_CHECKPOINTS]:
            if old not in best:
                atomic.remove_folder(old)


def _remove_partial(folder: Path) -> None:
    """Remove partial folders left by a process that was killed while saving or removing a checkpoint."""
    for path in folder.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def list_checkpoints(folder: Path) -> list[Path]:
    """List a run's checkpoints, oldest first."""
    return sorted(folder.glob("step-*"))


def newest_intact(folder: Path) -> tuple[Path, list[str]]:
    """Find the newest checkpoint that is not damaged, and list why newer ones were skipped.

    Raises:
        ArtifactNotFound: there is no checkpoint.
        ArtifactError: all are damaged.
    """
    skipped: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        findings = manifest.verify_folder(path, schemas.CHECKPOINT)
        if not findings:
            return path, skipped
        skipped.append(f"skipped {path}: {findings[0]}")
    if skipped:
        raise ArtifactError(f"{folder}: all checkpoints are damaged; {'; '.join(skipped)}")
    raise ArtifactNotFound(folder / "step-*", "the run has no checkpoint")


def best_of(folder: Path, path: Path) -> Path | None:
    """The best checkpoint recorded in another one; None if none is recorded or the other one cannot be read."""
    try:
        best = read_meta(path).get("best")
    except (ArtifactError, OSError):
        return None
    return None if best is None else folder / _name(best["step"])


def find_not_finite(model: nn.Module, optimiser: torch.optim.Optimizer) -> str:
    """Name of the first tensor of model or optimiser that has a NaN or infinite value; empty if there is none."""
    state = model.state_dict() | {f"momentum {name}": value for name, value in _optimiser_tensors(optimiser).items()}
    return first_not_finite(state)


def read_meta(path: Path) -> dict[str, Any]:
    """Read the meta.json of a checkpoint: step, epoch, run, best.

    Raises:
        ArtifactError: it is missing, or a field is missing or has another type.
    """
    return manifest.open_unchecksummed(path / META_FILE, schemas.META)


def load_model(path: Path, model: nn.Module) -> None:
    """Load a checkpoint's weights and buffers into a model.

    Raises:
        ArtifactError: keys or shapes differ from the model's.
        NotFinite: a value is NaN or infinite.
    """
    _load_state(path, model, _read_model(path))


def load_query_encoder(path: Path, encoder: Encoder) -> None:
    """Load a checkpoint's query encoder; the key encoder and the queue are left out.

    Raises:
        ArtifactError: keys or shapes differ from the encoder's.
        NotFinite: a value of the checkpoint is NaN or infinite.
    """
    tensors = _read_model(path)
    _load_state(path, encoder, {name.removeprefix(QUERY): tensors[name] for name in tensors if name.startswith(QUERY)})


def _read_model(path: Path) -> dict[str, Tensor]:
    tensors = read_tensors(path / MODEL)
    if name := first_not_finite(tensors):
        raise NotFinite(f"{path / MODEL}: {name} is not finite; restore the file or train again")
    return tensors


def _load_state(path: Path, model: nn.Module, state: Mapping[str, Tensor]) -> None:
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ArtifactError(f"{path}: does not fit this model: {' '.join(str(error).split())}") from error


def load_optimiser(path: Path, optimiser: torch.optim.Optimizer) -> None:
    """Load a checkpoint's momentum buffers into an optimiser.

    Raises:
        ArtifactError: their shapes differ from the parameters'.
    """
    momenta, parameters = read_tensors(path / OPTIMISER), _parameters(optimiser)
    shapes = {str(index): parameter.shape for index, parameter in enumerate(parameters)}
    if any(momentum.shape != shapes.get(index) for index, momentum in momenta.items()):
        raise ArtifactError(f"{path}: its optimiser state belongs to another model")
    for index, parameter in enumerate(parameters):
        if str(index) in momenta:
            optimiser.state[parameter]["momentum_buffer"] = momenta[str(index)].to(parameter.device)


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    """All parameters in the order of the parameter groups."""
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """SGD's momentum buffers by the index of the parameter in the parameter groups."""
    return {
        str(index): optimiser.state[parameter]["momentum_buffer"]
        for index, parameter in enumerate(_parameters(optimiser))
        if "momentum_buffer" in optimiser.state[parameter]
    }
