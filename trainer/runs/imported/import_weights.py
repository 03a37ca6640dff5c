"""Weights that were trained by other code, as a finished run that can be embedded with and evaluated."""

import importlib.metadata
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from pipeline.artifacts.latest import record_latest
from pipeline.errors import ArtifactError, OutputExists
from pipeline.files import atomic
from pipeline.files.disk import disk_errors
from pipeline.files.locks import sole_writer
from pipeline.recipes.recipe import load_recipe
from pipeline.skeleton.layout import KINECT_V2
from pipeline.store.verify import verify
from trainer.config.method import Stream
from trainer.config.pretrain import PretrainConfig
from trainer.runs import checkpoint
from trainer.runs.imported.released_weights import RELEASED_CODES, ReleasedWeights, read_released, streams_in
from trainer.runs.imported.torch_file import TorchFile, read_torch_file
from trainer.runs.run import Run, create_run, is_damaged, load_run


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportRequest:
    """What the user asks for."""

    file: Path
    source: str
    """A key of `foreign.SOURCES`."""
    stream: Stream
    """Which to take of several; of a file with one, what it was trained on."""
    output: Path
    recipe: str | None = None
    """A shipped recipe's name or a file, when the clips were not prepared as the source prepares NTU RGB+D."""
    force: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportResult:
    """What an import did."""

    outcome: Literal["imported", "up to date"]
    run: Run
    notes: tuple[str, ...]
    """What the file left open or what was left of it, a line each."""


def import_weights(request: ImportRequest) -> ImportResult:
    """Read a checkpoint, and write the run that it would be here.

    Raises:
        ArtifactNotFound: there is no such file.
        ArtifactError: it is no checkpoint of the source, or not every key in it is accounted for.
        OutputExists: the output is another run and `force` is off.
        OutputLocked, OutputFailed: as for any output.
        RecipeError: there is no such recipe.
    """
    file = read_torch_file(request.file)
    try:
        weights, others, suffixed = _read(file, request)
    except ArtifactError as error:
        raise ArtifactError(f"{file.path}: {error}") from error
    with sole_writer(request.output):
        outcome = _publish(_facts(request, file, weights, others), weights, request)
        record_latest(request.output.parent, "run", request.output.name)
    return ImportResult(
        outcome=outcome,
        run=load_run(request.output),
        notes=tuple(_notes(request, file, weights, others, suffixed)),
    )


def _read(file: TorchFile, request: ImportRequest) -> tuple[ReleasedWeights, dict[str, int], bool]:
    """The stream asked for, how many keys belong to each other one, and whether the file tells streams apart."""
    source = RELEASED_CODES[request.source]
    held = streams_in(file.tensors)
    found = {
        stream: read_released({key: file.tensors[key] for key in keys}, stream, source) for stream, keys in held.items()
    }
    suffixed = set(held) != {"joint"}
    wanted = request.stream if suffixed else "joint"
    if wanted not in found:
        raise ArtifactError(f"holds the streams {', '.join(found)}, not {wanted}; --stream names one of them")
    return found[wanted], {stream: len(keys) for stream, keys in held.items() if stream != wanted}, suffixed


def _facts(request: ImportRequest, file: TorchFile, weights: ReleasedWeights, others: dict[str, int]) -> dict[str, Any]:
    """The run's description."""
    source = RELEASED_CODES[request.source]
    prepared = load_recipe(request.recipe or source.recipe)
    config = PretrainConfig.model_validate(
        {
            "frames": source.frames,
            "stream": request.stream,
            "recipe": prepared.name,
            "method": source.method,
            "encoder": weights.encoder.model_dump(),
            "pair": weights.pair.model_dump() if weights.pair else {},
        }
    )
    keys = {"taken": weights.taken, "of_other_streams": sum(others.values()), "left_out": len(weights.besides)}
    return {
        "preset": f"imported {request.source}",
        "config": config.model_dump(mode="json"),
        "layout": KINECT_V2.to_json(),
        "total_steps": 0,
        "lineage": {
            "imported": {
                "file": file.path.name,
                "bytes": file.size,
                "sha256": file.sha256,
                "source": request.source,
                "holds": "pair" if weights.pair else "encoder",
                "keys": keys,
            },
            "store": {"name": None, "path": None, "digest": None, "dataset": None, "recipe": prepared.resolved},
            "split": {"name": None, "digest": None},
            "versions": {"skelepipe": importlib.metadata.version("skelepipe"), "torch": torch.__version__},
        },
    }


def _publish(
    facts: dict[str, Any], weights: ReleasedWeights, request: ImportRequest
) -> Literal["imported", "up to date"]:
    """Write the run beside its place and move it there whole, unless it is there."""
    output = request.output
    made = output.with_name(f".{output.name}.partial")
    with disk_errors(output):
        shutil.rmtree(made, ignore_errors=True)
        try:
            new = create_run(made, **facts)
            if output.exists() and any(output.iterdir()) and _is_there(new, output, request.force):
                return "up to date"
            checkpoint.save(new.checkpoints, weights.model, None, {"step": 0, "epoch": 0, "run": new.digest})
            atomic.publish_folder(made, output)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return "imported"


def _is_there(new: Run, output: Path, force: bool) -> bool:
    """Whether the output is this import already, whole.

    Raises:
        ArtifactError: it is no run, or damaged, and `force` is off.
        OutputExists: it is another run, or has lost its weights, and `force` is off.
    """
    if force and is_damaged(output):
        return False
    there = load_run(output)  # what is not a run is never replaced
    if there.digest == new.digest and not verify(output).findings:
        return True
    if not force:
        found = "is damaged" if there.digest == new.digest else f"is another run ({there.preset})"
        raise OutputExists(f"{output}: {found}; --force replaces it, another --out keeps both")
    return False


def _notes(
    request: ImportRequest, file: TorchFile, weights: ReleasedWeights, others: dict[str, int], suffixed: bool
) -> list[str]:
    notes = []
    if not suffixed:
        notes.append(f"the file does not say its stream: taken as {request.stream}")
    notes += [
        f"left: the stream {stream}, {count} keys; --stream {stream} takes it" for stream, count in others.items()
    ]
    notes += [f"left out: {key}, of use in training only" for key in weights.besides]
    notes += [f"left out: {key}, beside the state_dict" for key in file.beside]
    notes += [f"not in the file: {told}" for told in weights.filled]
    if weights.pair is None:
        head = "a classifier's or a plain layer, " if weights.encoder.head_layers == 1 else ""
        notes.append(f"not in the file: key encoder and queue; its head is {head}{weights.encoder.feature_dim} outputs")
    return notes
