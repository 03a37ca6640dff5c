"""Trained classifiers, kept with their run: a linear layer and the very encoder that it stands on, sealed.

The encoder's whole state lies with the layer, batch-norm statistics included: evaluation recalibrates or trains it, and
a checkpoint holds neither.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.artifacts import manifest, schemas
from pipeline.artifacts.paths import CLASSIFIERS_FOLDER, META_FILE
from pipeline.errors import ArtifactError, ArtifactNotFound
from pipeline.files import atomic
from pipeline.files.disk import disk_errors
from pipeline.store.store import Store
from pipeline.suggest import did_you_mean
from trainer.models.encoder import Encoder
from trainer.runs.run import RESULTS_FOLDER, Run, method_of_run, sole_evaluation
from trainer.runs.safetensors_file import read_tensors, tensors_size, write_tensors
from trainer.runtime.device import choose_device

TENSORS = "classifier.safetensors"
WEIGHT, BIAS, ENCODER = "weight", "bias", "encoder."
RECALIBRATED = "-recalibrated"
"""How the classifier of the recalibrated encoder is called behind the evaluation's name; it is taken only by name."""
PROTOCOLS = ("linear", "finetune")
"""Evaluations that leave classifiers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Classifier:
    """A classifier that is ready to be asked."""

    name: str
    """Such as `linear`, `linear-recalibrated` or `finetune`."""
    encoder: Encoder
    """In evaluation mode."""
    weight: Tensor
    """(classes, D)."""
    bias: Tensor
    """(classes,)."""
    classes: tuple[int, ...]
    """The data set's own class ids, in the order of the rows of `weight`."""
    names: tuple[str, ...]
    """Their names; empty where the data set gives none."""
    facts: Mapping[str, Any]
    """protocol, representation, batch_norm, dataset, recipe in full, and the evaluation's lineage."""

    def scores(self, features: Tensor) -> Tensor:
        """(N, D) features to (N, classes) scores, as the evaluation computes them."""
        return features @ self.weight.T + self.bias


def state_of(encoder: Encoder) -> dict[str, Tensor]:
    """A copy of all that an encoder is, for `save`: the encoder may change afterwards."""
    return {name: tensor.detach().cpu().clone() for name, tensor in encoder.state_dict().items()}


def save_classifier(
    run: Run,
    name: str,
    *,
    encoder: Mapping[str, Tensor],
    weight: Tensor,
    bias: Tensor,
    classes: Sequence[int],
    store: Store,
    facts: Mapping[str, Any],
) -> Path:
    """Keep a classifier with its run, in place of one of the same name.

    Args:
        run: whose encoder it was.
        name: of the evaluation.
        encoder: the encoder's whole state, as `state_of` gives it.
        weight: (classes, D).
        bias: (classes,).
        classes: the data set's class ids, in the order of the rows of `weight`.
        store: whose clips they were fitted to: its recipe and the names of its classes are kept.
        facts: JSON: protocol, representation, batch_norm (where its statistics come from), lineage.

    Raises:
        OutputFailed: the disk refuses; the one before stays.
        OutputLocked: another process has been writing it for a minute.
    """
    final = _place(run, name)
    made = final.with_name(f".{final.name}.partial")
    kept = {WEIGHT: weight, BIAS: bias, **{ENCODER + key: tensor for key, tensor in encoder.items()}}
    with sole_evaluation(run), disk_errors(final, tensors_size(kept)):
        shutil.rmtree(made, ignore_errors=True)  # of a process that was killed while it saved
        made.mkdir()
        write_tensors(made / TENSORS, kept)
        meta = {
            "kind": schemas.CLASSIFIER.kind,
            "run": run.digest,
            "classes": list(classes),
            "names": [store.attributes["classes"].get(str(label), "") for label in classes],
            "dataset": store.attributes["dataset"],
            "recipe": store.attributes["recipe"],
            **facts,
        }
        (made / META_FILE).write_text(json.dumps(meta, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        manifest.write_manifest(made, schemas.CLASSIFIER)
        atomic.publish_folder(made, final)
    return final


def list_classifiers(run: Run) -> list[str]:
    """Names of a run's classifiers, the newest first."""
    found = (run.path / RESULTS_FOLDER).glob(f"*{CLASSIFIERS_FOLDER}")
    ours = [path for path in found if not path.name.startswith(".")]
    ours.sort(key=lambda path: (path / manifest.MANIFEST).stat().st_mtime_ns if path.is_dir() else 0, reverse=True)
    return [path.name.removesuffix(CLASSIFIERS_FOLDER) for path in ours]


def choose_classifier(run: Run, name: str | None) -> str:
    """The name of the classifier that is meant: the one that is named, else the newest that is not recalibrated.

    Raises:
        ArtifactNotFound: the run has none, or none of that name; the text says which command makes one.
    """
    there = list_classifiers(run)
    usual = [other for other in there if not other.endswith(RECALIBRATED)]
    if name in there or (name is None and usual):
        return name or usual[0]
    wanted = _place(run, name or "linear")
    has = f"it has {', '.join(there)}; " if there else ""
    protocol = (name or "linear").partition("-")[0]
    asked = f" --protocol {protocol}" if protocol in PROTOCOLS else ""
    raise ArtifactNotFound(
        wanted, f"{has}classifiers are made by `skelepipe eval {run.path}{asked}`", did_you_mean(name or "", there)
    )


def load_classifier(run: Run, name: str, device: torch.device | None = None, *, fast: bool = True) -> Classifier:
    """Read a classifier, every byte held against its seal; onto the GPU, if there is one, unless a device is named.

    Raises:
        ArtifactNotFound: there is none of that name.
        ArtifactError: it is damaged, another run's or of another version.
    """
    path = _place(run, name)
    if not path.exists():
        choose_classifier(run, name)
    again = f"evaluate again with `skelepipe eval {run.path}`"
    for finding in manifest.verify_folder(path, schemas.CLASSIFIER):
        raise ArtifactError(f"{path}: {finding}; {again}")
    meta = manifest.open_unchecksummed(path / META_FILE, schemas.CLASSIFIER_META)
    if meta["run"] != run.digest:
        raise ArtifactError(f"{path}: is a classifier of another run than {run.path}; {again}")
    kept = read_tensors(path / TENSORS)
    encoder = method_of_run(run, fast=fast).pair.query
    state = {key.removeprefix(ENCODER): tensor for key, tensor in kept.items() if key.startswith(ENCODER)}
    try:
        encoder.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ArtifactError(f"{path}: does not fit this encoder: {' '.join(str(error).split())}; {again}") from error
    rows = len(meta["classes"])
    for tensor, shape in ((WEIGHT, (rows, run.config.encoder.hidden_dim)), (BIAS, (rows,))):
        if tensor not in kept or tuple(kept[tensor].shape) != shape:
            there = f"has {tuple(kept[tensor].shape)}" if tensor in kept else "is missing"
            raise ArtifactError(f"{path / TENSORS}: its tensor {tensor} {there}, expected {shape}; {again}")
    return Classifier(
        name=name,
        encoder=encoder.to(device or choose_device()).eval(),
        weight=kept[WEIGHT],
        bias=kept[BIAS],
        classes=tuple(meta["classes"]),
        names=tuple(meta["names"]),
        facts=meta,
    )


def _place(run: Run, name: str) -> Path:
    return run.path / RESULTS_FOLDER / f"{name}{CLASSIFIERS_FOLDER}"
