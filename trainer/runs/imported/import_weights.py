"""Import weights that were trained by other code, as a finished run for `embed` and `eval`."""

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
from pipeline.files.system_files import entries
from pipeline.files.text_paths import request_with_text_paths
from pipeline.recipes.recipe import load_recipe
from pipeline.skeleton.layout import KINECT_V2
from pipeline.store.verify import verify
from trainer.config.method import Stream
from trainer.config.pretrain import PretrainConfig
from trainer.runs import checkpoint
from trainer.runs.imported.released_weights import RELEASED_CODES, ReleasedWeights, read_released, streams_in
from trainer.runs.imported.torch_file import TorchFile, read_torch_file
from trainer.runs.run import Run, create_run, is_damaged, load_run


@request_with_text_paths
@dataclass(frozen=True, kw_only=True, slots=True)
class ImportRequest:
    """What to import."""

    file: Path
    source: str
    """A key of `RELEASED_CODES`."""
    stream: Stream
    """The stream to import if the file has several; otherwise the stream that the file was trained on."""
    output: Path
    recipe: str | None = None
    """Name of a shipped recipe or a file, if clips were not processed as the source does for NTU RGB+D."""
    force: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportResult:
    """The imported run."""

    outcome: Literal["imported", "up to date"]
    run: Run
    notes: tuple[str, ...]
    """Assumptions made, and parts of the file that were not imported; one line each."""


def import_weights(request: ImportRequest) -> ImportResult:
    """Read a released checkpoint and write it as a run.

    Raises:
        ArtifactNotFound: there is no such file.
        ArtifactError: it is not a checkpoint of the source, or has unknown or missing keys.
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
        outcome = _publish(_describe_run(request, file, weights, others), weights, request)
        record_latest(request.output.parent, "run", request.output.name)
    return ImportResult(
        outcome=outcome,
        run=load_run(request.output),
        notes=tuple(_notes(request, file, weights, others, suffixed)),
    )


def _read(file: TorchFile, request: ImportRequest) -> tuple[ReleasedWeights, dict[str, int], bool]:
    """The requested stream, the number of keys of each other stream, and whether the keys name their stream."""
    source = RELEASED_CODES[request.source]
    keys_by_stream = streams_in(file.tensors)
    streams = {
        stream: read_released({key: file.tensors[key] for key in keys}, stream, source)
        for stream, keys in keys_by_stream.items()
    }
    suffixed = set(keys_by_stream) != {"joint"}
    stream = request.stream if suffixed else "joint"
    if stream not in streams:
        raise ArtifactError(f"has the streams {', '.join(streams)}, not {stream}; choose one of them with --stream")
    others: dict[str, int] = {other: len(keys) for other, keys in keys_by_stream.items() if other != stream}
    return streams[stream], others, suffixed


def _describe_run(
    request: ImportRequest, file: TorchFile, weights: ReleasedWeights, others: dict[str, int]
) -> dict[str, Any]:
    """The content of the run's run.json."""
    source = RELEASED_CODES[request.source]
    recipe = load_recipe(request.recipe or source.recipe)
    config = PretrainConfig.model_validate(
        {
            "frames": source.frames,
            "stream": request.stream,
            "recipe": recipe.name,
            "method": source.method,
            "encoder": weights.encoder.model_dump(),
            "pair": weights.pair.model_dump() if weights.pair else {},
        }
    )
    keys = {"taken": weights.taken, "of_other_streams": sum(others.values()), "left_out": len(weights.ignored)}
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
            "store": {"name": None, "path": None, "digest": None, "dataset": None, "recipe": recipe.resolved},
            "split": {"name": None, "digest": None},
            "versions": {"skelepipe": importlib.metadata.version("skelepipe"), "torch": torch.__version__},
        },
    }


def _publish(
    facts: dict[str, Any], weights: ReleasedWeights, request: ImportRequest
) -> Literal["imported", "up to date"]:
    """Write the run into a partial folder and rename it, unless the same run already exists."""
    output = request.output
    partial = output.with_name(f".{output.name}.partial")
    with disk_errors(output):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            new = create_run(partial, **facts)
            if output.exists() and any(entries(output)) and _is_up_to_date(new, output, request.force):
                return "up to date"
            checkpoint.save(new.checkpoints, weights.model, None, {"step": 0, "epoch": 0, "run": new.digest})
            atomic.publish_folder(partial, output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return "imported"


def _is_up_to_date(new: Run, output: Path, force: bool) -> bool:
    """Whether the output is already this import, undamaged.

    Raises:
        ArtifactError: it is not a run, or its run.json is damaged, and `force` is off.
        OutputExists: it is another run, or damaged, and `force` is off.
    """
    if force and is_damaged(output):
        return False
    existing = load_run(output)  # raises if it is not a run: anything else is never replaced
    if existing.digest == new.digest and not verify(output).findings:
        return True
    if not force:
        problem = "is damaged" if existing.digest == new.digest else f"is another run ({existing.preset})"
        raise OutputExists(f"{output}: {problem}; use --force to replace it, or another --out to keep both")
    return False


def _notes(
    request: ImportRequest, file: TorchFile, weights: ReleasedWeights, others: dict[str, int], suffixed: bool
) -> list[str]:
    notes = []
    if not suffixed:
        notes.append(f"the file does not name its stream; assumed: {request.stream}")
    notes += [
        f"not imported: stream {stream}, {count} keys; use --stream {stream} to import it"
        for stream, count in others.items()
    ]
    notes += [f"not imported: {key}, which only training needs" for key in weights.ignored]
    notes += [f"not imported: {key}, not part of the state_dict" for key in file.ignored]
    notes += [f"not in the file: {replacement}" for replacement in weights.filled]
    if weights.pair is None:
        head = "is a classifier or a single layer with" if weights.encoder.head_layers == 1 else "has"
        notes.append(f"not in the file: key encoder and queue; the head {head} {weights.encoder.feature_dim} outputs")
    return notes
