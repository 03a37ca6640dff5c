"""Evaluation results of a run: the typed model, and writing and reading the files in `eval/` with a checksum."""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.artifacts import manifest
from pipeline.errors import explain, one_line
from pipeline.files import atomic
from pipeline.files.regular_files import read_bytes
from pipeline.sources.class_title import class_title
from trainer.runs.classifier import next_number, short_name
from trainer.runs.run import RESULTS_FOLDER, Run, sole_evaluation

MAX_BYTES = 64 << 20
"""Size of a result file; ten label draws on 120 classes, for two rows, take about 4 MB."""
HEADLINE_PROTOCOLS = ("linear", "finetune", "knn")
"""Protocols by preference for the headline number of a run."""
SCORES_SUFFIX = ".scores.npz"
Percent = Annotated[float, Field(ge=0, le=100.001)]
Count = Annotated[int, Field(ge=0, lt=2**53)]


class ResultFields(BaseModel):
    """Fields of a result that are read again; further fields are stored without being checked."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class BestEpoch(ResultFields):
    """The epoch with the highest accuracy on the test clips."""

    epoch: Count
    top1: Percent


class Row(ResultFields):
    """The numbers of one representation, such as `pre-trained` or `random encoder`."""

    top1: Percent
    top5: Percent | None = None
    interval95: tuple[Percent, Percent] | None = None
    deviation: Percent | None = None
    """Standard deviation over several draws of labels."""
    per_class: list[Percent | None] = []
    classes: list[int] = []
    confusion: list[list[Count]] = []
    clips: Count | None = None
    best_epoch: BestEpoch | None = None
    test_top1_by_epoch: dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Percent] = {}
    classifier: str = ""
    seeds: dict[str, "Row"] = {}
    """One row for each draw of labels."""

    @model_validator(mode="after")
    def _sizes_match_the_classes(self) -> Self:
        count = len(self.classes)
        if len(self.per_class) not in (0, count) or len(self.confusion) not in (0, count):
            raise ValueError(f"{len(self.per_class)} and {len(self.confusion)} values for {count} classes")
        if any(len(row) != count for row in self.confusion):
            raise ValueError("the confusion matrix is not square")
        return self

    def counts(self) -> NDArray[np.int64]:
        """Confusion matrix (C, C) in clips: rows true, columns predicted."""
        return np.array(self.confusion, np.int64).reshape(len(self.classes), len(self.classes))


class Artifact(ResultFields):
    """A store, split or run by name and digest."""

    name: str = ""
    digest: str


class EvaluatedSplit(Artifact):
    """The split of an evaluation, with its numbers of clips."""

    train: Count
    test: Count


class EvaluatedCheckpoint(ResultFields):
    """The checkpoint of an evaluation."""

    which: str = "last"
    step: Count
    total_steps: Count


class Lineage(ResultFields):
    """The inputs of an evaluation."""

    run: Artifact
    checkpoint: EvaluatedCheckpoint
    store: Artifact
    split: EvaluatedSplit
    transfer: bool | None = None
    test_clips_pretrained_on: int | None = None


class Result(ResultFields):
    """One evaluation, as `eval` writes it and reports read it."""

    name: str
    """The file name without suffix."""
    protocol: str
    settings: dict[str, Any]
    rows: dict[str, Row] = Field(min_length=1)
    class_names: list[str]
    notes: list[str] = []
    """What a reader of the numbers must know, such as clips without label."""
    fused: list[Any] | None = None
    lineage: Lineage
    settings_digest: str = ""
    """Of everything that determines the numbers; its beginning is part of the name. Empty: of an older version."""
    number: Count = 0
    """Counts the run's results in the order of evaluation, so that the newest is known. 0: of an older version."""

    @model_validator(mode="after")
    def _every_class_has_a_name(self) -> Self:
        if any(row.classes and len(row.classes) != len(self.class_names) for row in self.rows.values()):
            raise ValueError(f"{len(self.class_names)} class names, but a row with another number of classes")
        return self

    @property
    def short_name(self) -> str:
        """The name without the digest of the settings, such as `linear`."""
        return short_name(self.name, self.settings_digest)

    def labels(self, row: Row) -> list[str]:
        """Number and name of each class of a row."""
        return [class_title(label, name) for label, name in zip(row.classes, self.class_names, strict=True)]


def write_result(
    run: Run,
    name: str,
    fields: Mapping[str, Any],
    scores: Mapping[str, NDArray[Any]] = MappingProxyType({}),
    *,
    renew: bool = False,
) -> dict[str, Any]:
    """Write an evaluation's result into the run's folder, and its class scores into a second file.

    Args:
        run: the evaluated run.
        name: of the result.
        fields: the fields of a `Result` except its name, with any others.
        scores: an array (N, classes) for each row, and the arrays that describe N and classes; none: no second file.
        renew: make the result the newest, even if there is one of that name, which otherwise passes on its number.

    Returns:
        The fields in the file: those given, the number, the checksum of the scores, and the checksum of them all.

    Raises:
        OutputLocked, OutputFailed: see `sole_evaluation`.
    """
    Result.model_validate({**fields, "name": name})
    path, arrays = result_path(run, name), io.BytesIO()
    with sole_evaluation(run):
        numbers = {result.name: result.number for result in read_results(run)[0]}
        document = {**fields, "number": next_number(numbers, name, renew=renew)}
        if scores:
            np.savez(arrays, **scores)  # type: ignore[arg-type]
            document["scores_sha256"] = hashlib.sha256(arrays.getbuffer()).hexdigest()
            atomic.write_file(scores_path(path), arrays.getvalue())
        document["digest"] = manifest.json_digest(document)
        atomic.write_file(path, _to_bytes(document))
    return document


def result_path(run: Run, name: str) -> Path:
    """The file of a result."""
    return run.path / RESULTS_FOLDER / f"{name}.json"


def scores_path(path: Path) -> Path:
    """The file with the class scores of a result file."""
    return path.with_name(path.stem + SCORES_SUFFIX)


def read_scores(path: Path) -> dict[str, NDArray[Any]]:
    """Read the class scores of a result file, and verify their checksum if the result has one.

    Raises:
        ValueError: they were changed since the result was written.
        OSError, zipfile.BadZipFile: they cannot be read.
    """
    content = read_bytes(scores_path(path), max_bytes=None)
    expected = read_document(path).get("scores_sha256")
    if expected not in (None, hashlib.sha256(content).hexdigest()):
        raise ValueError(f"{scores_path(path).name} does not match its checksum: it was changed or damaged")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:  # noqa: TID251 (allow_pickle=False)
        return {name: arrays[name] for name in arrays.files}


def _to_bytes(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, allow_nan=False).encode() + b"\n"


def read_results(run: Run) -> tuple[list[Result], list[str]]:
    """Read all results of a run, sorted by name, and list why others were skipped."""
    results, skipped = [], []
    for path in sorted((run.path / RESULTS_FOLDER).glob("[!.]*.json")):
        try:
            result = read_result(path)
        except (ValueError, RecursionError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            skipped.append(one_line(f"{path}: skipped: {reason}; evaluate again"))
            continue
        if result.lineage.run.digest == run.digest:
            results.append(result)
        else:
            skipped.append(one_line(f"{path}: skipped: is a result of another run; evaluate again"))
    return results, skipped


def newest_results(results: Iterable[Result]) -> tuple[list[Result], list[Result]]:
    """Divide results into the newest of each short name, and the others, newest first."""
    newest_first = sorted(results, key=lambda result: (result.number, result.name), reverse=True)
    newest: dict[str, Result] = {}
    for result in newest_first:
        newest.setdefault(result.short_name, result)
    chosen = sorted(newest.values(), key=lambda result: result.short_name)
    return chosen, [result for result in newest_first if newest[result.short_name] is not result]


def read_result(path: Path) -> Result:
    """Read one result and verify its checksum. Results of older versions have none; only their fields are checked.

    Raises:
        ValueError: the file is not JSON, was changed, or has wrong fields; the message names the field.
        OSError: the file cannot be read.
    """
    document = read_document(path)
    try:
        return Result.model_validate({**document, "name": path.stem})
    except ValidationError as error:
        raise ValueError(f"field {explain(error.errors()[:1])}") from error


def read_document(path: Path) -> dict[str, Any]:
    """Read all fields of a result file and verify its checksum, if it has one.

    Raises:
        ValueError: the file is not a JSON object, or was changed.
        OSError: the file cannot be read.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"has {path.stat().st_size:,} bytes, expected at most {MAX_BYTES:,}")
    content = read_bytes(path)
    document = json.loads(content)
    if not isinstance(document, dict):
        raise ValueError("is not a JSON object")  # noqa: TRY004 (the file is wrong, not the caller)
    if "digest" in document:
        _verify_checksum(document, content)
    return document


def _verify_checksum(document: Mapping[str, Any], content: bytes) -> None:
    """Raise ValueError if a result's digest or any of its bytes has changed since it was written."""
    fields = {key: value for key, value in document.items() if key != "digest"}
    try:
        is_intact = document["digest"] == manifest.json_digest(fields) and content == _to_bytes(document)
    except ValueError:  # NaN, which is never written
        is_intact = False
    if not is_intact:
        raise ValueError("its content does not match its checksum: it was changed or damaged")
