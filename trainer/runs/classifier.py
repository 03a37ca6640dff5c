"""Save and load trained classifiers in a run's folder: a linear layer with the encoder it was trained on.

The encoder's whole state is saved with the layer, including batch-norm statistics: an evaluation recalibrates or
fine-tunes the encoder, so it differs from the one in the checkpoint.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.artifacts import manifest, schemas
from pipeline.artifacts.paths import CLASSIFIERS_FOLDER, META_FILE, RUN_FILE
from pipeline.errors import ArtifactError, ArtifactNotFound, NotFinite
from pipeline.files import atomic
from pipeline.files.disk import disk_errors
from pipeline.store.store import Store
from pipeline.suggest import did_you_mean
from trainer.models.encoder import Encoder
from trainer.models.size_estimate import TensorSpec, encoder_specs
from trainer.runs.fit_check import require_memory_to_encode
from trainer.runs.run import RESULTS_FOLDER, Run, build_run_encoder, sole_evaluation
from trainer.runs.safetensors_file import first_not_finite, read_tensors, require_tensors, tensors_size, write_tensors
from trainer.runtime.device import choose_device

TENSORS = "classifier.safetensors"
WEIGHT, BIAS, ENCODER = "weight", "bias", "encoder."
RECALIBRATED_SUFFIX = "-recalibrated"
"""Suffix of classifiers of the recalibrated encoder; they are never chosen by default."""
PROTOCOLS = ("linear", "finetune")
"""Protocols that save classifiers."""
SHORT_DIGEST = 8
"""Characters of the digest of an evaluation's settings in the names of its files."""
_ENDS_IN_DIGEST = re.compile(rf"-[0-9a-f]{{{SHORT_DIGEST}}}$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Classifier:
    """A loaded classifier."""

    name: str
    """With the digest of its settings, such as `linear-1a2b3c4d` or `linear-recalibrated-1a2b3c4d`."""
    encoder: Encoder
    """In evaluation mode."""
    weight: Tensor
    """(classes, D)."""
    bias: Tensor
    """(classes,)."""
    classes: tuple[int, ...]
    """The data set's class ids, in the order of the rows of `weight`."""
    names: tuple[str, ...]
    """Class names; empty if the data set has none."""
    facts: Mapping[str, Any]
    """meta.json: protocol, representation, batch_norm, dataset, the full recipe, and the evaluation's lineage."""

    def scores(self, features: Tensor) -> Tensor:
        """Compute scores (N, classes) of features (N, D), as the evaluation does."""
        return features @ self.weight.T + self.bias


def copy_state(encoder: Encoder) -> dict[str, Tensor]:
    """Copy an encoder's state dict to the CPU, for `save_classifier`; the encoder may change afterwards."""
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
    renew: bool = False,
) -> Path:
    """Save a classifier in its run's folder, replacing one of the same name.

    Args:
        run: the run of the encoder.
        name: of the evaluation.
        encoder: the encoder's whole state, from `copy_state`.
        weight: (classes, D).
        bias: (classes,).
        classes: the data set's class ids, in the order of the rows of `weight`.
        store: the store of the training clips: its recipe and class names are saved, too.
        facts: JSON: protocol, representation, batch_norm (the origin of its statistics), lineage; settings_digest.
        renew: make it the newest, even if it replaces one, which otherwise passes on its number.

    Raises:
        OutputFailed: the disk reports an error; the previous classifier stays.
        OutputLocked: another process has held the lock for a minute.
    """
    final = _path(run, name)
    partial = final.with_name(f".{final.name}.partial")
    tensors = {WEIGHT: weight, BIAS: bias, **{ENCODER + key: tensor for key, tensor in encoder.items()}}
    with sole_evaluation(run), disk_errors(final, tensors_size(tensors)):
        shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed while saving
        partial.mkdir()
        numbers = {saved.name: saved.number for saved in saved_classifiers(run)}
        write_tensors(partial / TENSORS, tensors)
        meta = {
            "kind": schemas.CLASSIFIER.kind,
            "run": run.digest,
            "classes": list(classes),
            "names": [store.attributes["classes"].get(str(label), "") for label in classes],
            "dataset": store.attributes["dataset"],
            "recipe": store.attributes["recipe"],
            "number": next_number(numbers, name, renew=renew),
            **facts,
        }
        (partial / META_FILE).write_text(json.dumps(meta, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        manifest.write_manifest(partial, schemas.CLASSIFIER)
        atomic.publish_folder(partial, final)
    return final


@dataclass(frozen=True, slots=True)
class SavedClassifier:
    """A classifier in a run's folder."""

    name: str
    """Short name and digest, such as `linear-1a2b3c4d`; classifiers of older versions have no digest."""
    short_name: str
    """Such as `linear`, `linear-recalibrated` or `finetune`."""
    number: int
    """Counts the run's classifiers in the order of evaluation; 0: of an older version."""
    modified: int
    """Time of the file, which orders those of older versions."""


def saved_classifiers(run: Run) -> list[SavedClassifier]:
    """A run's classifiers, newest first."""
    paths = (run.path / RESULTS_FOLDER).glob(f"[!.]*{CLASSIFIERS_FOLDER}")
    return sorted(map(_describe, paths), key=lambda saved: (saved.number, saved.modified), reverse=True)


def _describe(path: Path) -> SavedClassifier:
    name = path.name.removesuffix(CLASSIFIERS_FOLDER)
    try:
        meta = manifest.open_unchecksummed(path / META_FILE, schemas.CLASSIFIER_META)
    except (ArtifactError, OSError):
        meta = {}  # damaged: `load_classifier` says so
    try:
        modified = (path / manifest.MANIFEST).stat().st_mtime_ns
    except OSError:
        modified = 0
    digest = meta.get("settings_digest") or (name[-SHORT_DIGEST:] if _ENDS_IN_DIGEST.search(name) else "")
    return SavedClassifier(name, short_name(name, digest), meta.get("number", 0), modified)


def next_number(numbers: Mapping[str, int], name: str, *, renew: bool) -> int:
    """The number of a result or classifier to write, given the numbers of those that exist.

    A counter, not a time: equal evaluations give equal bytes, and clocks do not matter.
    """
    return numbers[name] if numbers.get(name) and not renew else max(numbers.values(), default=0) + 1


def short_name(name: str, digest: str) -> str:
    """The name of a result or classifier without the digest of its settings."""
    return name.removesuffix(f"-{digest[:SHORT_DIGEST]}") if digest else name


def list_classifiers(run: Run) -> list[str]:
    """Names of a run's classifiers, newest first."""
    return [saved.name for saved in saved_classifiers(run)]


def choose_classifier(run: Run, name: str | None) -> str:
    """Choose the newest classifier of a name, or exactly the named one if the name has a digest.

    Without a name, the newest one that is not recalibrated is chosen.

    Raises:
        ArtifactNotFound: the run has none, or none of that name; the message gives the command that makes one.
    """
    existing = saved_classifiers(run)
    for saved in existing:
        if name == saved.short_name or (name is None and not saved.short_name.endswith(RECALIBRATED_SUFFIX)):
            return saved.name
    if any(name == saved.name for saved in existing):
        return str(name)
    names = [saved.name for saved in existing]
    protocol = (name or "linear").partition("-")[0]
    option = f" --protocol {protocol}" if protocol in PROTOCOLS else ""
    hint = f"make one with `skelepipe eval {run.path}{option}`"
    raise ArtifactNotFound(
        _path(run, name or "linear"),
        f"the run has {', '.join(names)} (newest first); {hint}" if names else hint,
        did_you_mean(name or "", [*names, *(saved.short_name for saved in existing)]),
    )


def find_classifier_damage(run: Run, name: str) -> str:
    """Say what is wrong with the files of a classifier; empty if nothing is."""
    return next(iter(manifest.verify_folder(_path(run, name), schemas.CLASSIFIER)), "")


def load_classifier(run: Run, name: str, device: torch.device | None = None, *, fast: bool = True) -> Classifier:
    """Load a classifier and verify its checksums; onto the GPU, if there is one, unless a device is given.

    The name is resolved as in `choose_classifier`.

    Raises:
        ArtifactNotFound: the run has no classifier of that name.
        ArtifactError: it is damaged, belongs to another run or has another format version.
        NotFinite: a value is NaN or infinite.
    """
    name = choose_classifier(run, name)
    path = _path(run, name)
    remedy = f"evaluate again with `skelepipe eval {run.path}`"
    for finding in manifest.verify_folder(path, schemas.CLASSIFIER):
        raise ArtifactError(f"{path}: {finding}; {remedy}")
    meta = manifest.open_unchecksummed(path / META_FILE, schemas.CLASSIFIER_META)
    if meta["run"] != run.digest:
        raise ArtifactError(f"{path}: belongs to another run than {run.path}; {remedy}")
    rows = len(meta["classes"])
    specs = {ENCODER + name: spec for name, spec in encoder_specs(run.layout, run.config.encoder).items()}
    specs[WEIGHT] = TensorSpec((rows, run.config.encoder.hidden_dim), torch.float32)
    specs[BIAS] = TensorSpec((rows,), torch.float32)
    require_tensors(path / TENSORS, specs, remedy)
    require_memory_to_encode(run.path / RUN_FILE, run.layout, run.config)
    tensors = read_tensors(path / TENSORS)
    if tensor := first_not_finite(tensors):
        raise NotFinite(f"{path / TENSORS}: {tensor} is not finite; {remedy}")
    encoder = build_run_encoder(run, fast=fast)
    encoder.load_state_dict({name.removeprefix(ENCODER): tensors[name] for name in tensors if name.startswith(ENCODER)})
    return Classifier(
        name=name,
        encoder=encoder.to(device or choose_device()).eval(),
        weight=tensors[WEIGHT],
        bias=tensors[BIAS],
        classes=tuple(meta["classes"]),
        names=tuple(meta["names"]),
        facts=meta,
    )


def _path(run: Run, name: str) -> Path:
    return run.path / RESULTS_FOLDER / f"{name}{CLASSIFIERS_FOLDER}"
