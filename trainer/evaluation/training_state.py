"""Save the state of an unfinished training on labels, so that an evaluation that was stopped resumes it exactly."""

import json
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.artifacts import manifest, schemas
from pipeline.artifacts.paths import META_FILE
from pipeline.artifacts.validation import DocumentFields, DocumentSpec
from pipeline.errors import ArtifactError, one_line
from pipeline.files import atomic
from pipeline.files.disk import disk_errors, make_folder
from trainer.runs.run import RESULTS_FOLDER, Run, sole_evaluation
from trainer.runs.safetensors_file import read_tensors, tensors_size, write_tensors


class TrainingFields(DocumentFields):
    """meta.json of a state."""

    settings_digest: str
    training: str
    epoch: schemas.Count
    test_top1: dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], float]


_REMEDY = "evaluate again"
FOLDER = DocumentSpec("skelepipe-training", schemas.FolderFields, _REMEDY)
META = DocumentSpec("skelepipe-training", TrainingFields, _REMEDY)
TENSORS = "training.safetensors"
SAVE_SECONDS = 30.0
"""Time between two savings of a training; it is also saved after its last epoch."""


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How far a training is."""

    epoch: int
    """Finished epochs."""
    test_top1: dict[int, float]
    """As in `FinetuneResult`."""


@dataclass(kw_only=True)
class TrainingState:
    """The place of one training's state: a hidden folder among the results, removed when the result is written."""

    run: Run
    result: str
    """Name of the result that the training is part of."""
    settings_digest: str
    training: str
    """Which of the trainings of that result, such as `pre-trained, draw 3`."""
    report: Callable[[str], None]
    """Called with a message when a training is resumed, or cannot be."""
    _saved: float = field(default_factory=time.monotonic, init=False)

    @property
    def path(self) -> Path:
        """The folder of the state."""
        return unfinished_folder(self.run, self.result) / re.sub(r"[^a-z0-9]+", "-", self.training)

    def load(
        self, modules: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer, device: torch.device
    ) -> TrainingProgress:
        """Load the state, if there is one, into the modules, the optimiser and the random generators."""
        if not self.path.is_dir():
            return TrainingProgress(0, {})
        try:
            manifest.open_folder(self.path, FOLDER, max_bytes=None)
            meta = manifest.open_unchecksummed(self.path / META_FILE, META)
            if (meta["settings_digest"], meta["training"]) != (self.settings_digest, self.training):
                return TrainingProgress(0, {})
            tensors = read_tensors(self.path / TENSORS)
        except (ArtifactError, OSError) as error:
            self.report(one_line(f"{self.path}: cannot be resumed: {error}; training from the first epoch"))
            return TrainingProgress(0, {})
        for name, module in modules.items():
            prefix = f"{name}."
            module.load_state_dict(
                {key.removeprefix(prefix): tensors[key] for key in tensors if key.startswith(prefix)}
            )
        for index, parameter in enumerate(_parameters(optimiser)):
            if (key := f"momentum.{index}") in tensors:
                optimiser.state[parameter]["momentum_buffer"] = tensors[key].to(parameter.device)
        torch.set_rng_state(tensors["random.cpu"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], device)
        self.report(f"{self.training}: resumes after epoch {meta['epoch']}")
        return TrainingProgress(meta["epoch"], {int(epoch): top1 for epoch, top1 in meta["test_top1"].items()})

    def save(
        self,
        modules: Mapping[str, nn.Module],
        optimiser: torch.optim.Optimizer,
        device: torch.device,
        progress: TrainingProgress,
        *,
        is_last: bool,
    ) -> None:
        """Save the state after an epoch, if it is the last one or the last saving was long ago.

        Raises:
            OutputFailed: the disk reports an error, or the run was removed.
            OutputLocked: another process has held the lock for a minute.
        """
        if not is_last and time.monotonic() - self._saved < SAVE_SECONDS:
            return
        tensors: dict[str, Tensor] = {"random.cpu": torch.get_rng_state()}
        if device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(device)
        for name, module in modules.items():
            tensors |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        for index, parameter in enumerate(_parameters(optimiser)):
            if "momentum_buffer" in optimiser.state[parameter]:
                tensors[f"momentum.{index}"] = optimiser.state[parameter]["momentum_buffer"]
        partial = self.path.with_name(f".{self.path.name}.partial")
        with sole_evaluation(self.run), disk_errors(self.path, tensors_size(tensors)):
            make_folder(self.path.parent)
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            write_tensors(partial / TENSORS, tensors)
            meta = {
                "kind": FOLDER.kind,
                "settings_digest": self.settings_digest,
                "training": self.training,
                "epoch": progress.epoch,
                "test_top1": {str(epoch): top1 for epoch, top1 in progress.test_top1.items()},
            }
            (partial / META_FILE).write_text(json.dumps(meta, indent=1, allow_nan=False) + "\n", encoding="utf-8")
            manifest.write_manifest(partial, FOLDER)
            atomic.publish_folder(partial, self.path)
        self._saved = time.monotonic()


def unfinished_folder(run: Run, result: str) -> Path:
    """The folder of the trainings of a result that is not finished."""
    return run.path / RESULTS_FOLDER / f".{result}.unfinished"


def remove_unfinished(run: Run, result: str) -> None:
    """Remove the states of all trainings of a result."""
    shutil.rmtree(unfinished_folder(run, result), ignore_errors=True)


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    """All parameters in the order of the parameter groups."""
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
