"""Checkpoints: safetensors and JSON in a sealed folder that appears whole; the last two are kept."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.artifacts import manifest, schemas
from pipeline.artifacts.paths import META_FILE
from pipeline.errors import ArtifactError, ArtifactNotFound
from pipeline.files import atomic
from pipeline.files.disk import disk_errors, make_folder
from trainer.runs.safetensors_file import read_tensors, tensors_size, write_tensors

KEPT = 2
"""Checkpoints that are kept: one to go on from, one for when that is damaged; and the best as each of them knows it."""
MODEL, OPTIMISER = "model.safetensors", "optimiser.safetensors"


def save(folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer | None, meta: Mapping[str, Any]) -> Path:
    """Write the checkpoint of `meta["step"]` into a run's folder; all but the last two and their best are dropped.

    Weights that were trained elsewhere have no optimiser.

    Raises:
        OutputFailed: the disk refuses; the checkpoints before stay.
    """
    final = folder / _name(meta["step"])
    made = folder / f".{final.name}.partial"
    state = {MODEL: model.state_dict()} | ({OPTIMISER: _optimiser_tensors(optimiser)} if optimiser else {})
    with disk_errors(final, sum(tensors_size(held) for held in state.values())):
        make_folder(folder)
        _forget_unfinished(folder)
        made.mkdir()
        for name, held in state.items():
            write_tensors(made / name, held)
        about = {"kind": schemas.CHECKPOINT.kind, **meta}
        (made / META_FILE).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        manifest.write_manifest(made, schemas.CHECKPOINT)
        atomic.publish_folder(made, final)
    tidy(folder, final)
    return final


def tidy(folder: Path, newest: Path) -> None:
    """Drop all checkpoints but the last two up to `newest`, and the best as these know it, and what kills have left.

    A newer one than `newest` is a damaged one that was passed over: it takes no whole one's place.

    Raises:
        OutputFailed: the disk refuses.
    """
    with disk_errors(folder, outcome="all checkpoints are whole"):
        _forget_unfinished(folder)
        there = [path for path in listed(folder) if path.name <= newest.name]
        best = {best_of(folder, path) for path in there[-KEPT:]}
        for old in there[:-KEPT]:
            if old not in best:
                atomic.remove_folder(old)


def _forget_unfinished(folder: Path) -> None:
    """Remove what a process that was killed while it saved or dropped one has left; their names begin with a dot."""
    for left in folder.glob(".step-*"):
        shutil.rmtree(left, ignore_errors=True)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def listed(folder: Path) -> list[Path]:
    """A run's checkpoints, oldest first."""
    return sorted(folder.glob("step-*"))


def newest(folder: Path) -> tuple[Path, list[str]]:
    """The newest checkpoint that is whole, and why newer ones were passed over.

    Raises:
        ArtifactNotFound: there is none at all.
        ArtifactError: none is whole.
    """
    skipped: list[str] = []
    for path in reversed(listed(folder)):
        findings = manifest.verify_folder(path, schemas.CHECKPOINT)
        if not findings:
            return path, skipped
        skipped.append(f"skipped {path}: {findings[0]}")
    if skipped:
        raise ArtifactError(f"{folder}: the run has no whole checkpoint; {'; '.join(skipped)}")
    raise ArtifactNotFound(folder / "step-*", "the run has no checkpoint")


def best_of(folder: Path, path: Path) -> Path | None:
    """The best checkpoint up to another one, as that one knows it; None when it knows of none or cannot be read."""
    try:
        best = read_meta(path).get("best")
    except (ArtifactError, OSError):
        return None
    return None if best is None else folder / _name(best["step"])


def not_finite(model: nn.Module, optimiser: torch.optim.Optimizer) -> str:
    """The first tensor of a training's state that holds a NaN or an infinity; empty when none does."""
    state = model.state_dict() | {f"momentum {name}": value for name, value in _optimiser_tensors(optimiser).items()}
    return next((name for name, value in state.items() if not torch.isfinite(value).all()), "")


def read_meta(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself: step, epoch, run, best.

    Raises:
        ArtifactError: it is not there, or lacks one of them, or has one of another type.
    """
    return manifest.open_unchecksummed(path / META_FILE, schemas.META)


def load_model(path: Path, model: nn.Module) -> None:
    """Put a checkpoint's weights and buffers into a model, every key accounted for.

    Raises:
        ArtifactError: the model has other keys or shapes.
    """
    try:
        model.load_state_dict(read_tensors(path / MODEL), strict=True)
    except RuntimeError as error:
        raise ArtifactError(f"{path}: does not fit this model: {' '.join(str(error).split())}") from error


def load_optimiser(path: Path, optimiser: torch.optim.Optimizer) -> None:
    """Put a checkpoint's momenta back.

    Raises:
        ArtifactError: they belong to other parameters.
    """
    kept, parameters = read_tensors(path / OPTIMISER), _parameters(optimiser)
    shapes = {str(index): parameter.shape for index, parameter in enumerate(parameters)}
    if any(momentum.shape != shapes.get(index) for index, momentum in kept.items()):
        raise ArtifactError(f"{path}: its optimiser state belongs to another model")
    for index, parameter in enumerate(parameters):
        if str(index) in kept:
            optimiser.state[parameter]["momentum_buffer"] = kept[str(index)].to(parameter.device)


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    """In the order of the parameter groups."""
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """SGD's momenta by the parameter's place in the parameter groups."""
    return {
        str(index): optimiser.state[parameter]["momentum_buffer"]
        for index, parameter in enumerate(_parameters(optimiser))
        if "momentum_buffer" in optimiser.state[parameter]
    }
