"""Evaluations that lie with a run, read back: the files have no seal, so each is looked at before it is believed."""

import json
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import explain, one_line
from trainer.runs.run import RESULTS_FOLDER, Run

LARGEST = 64 << 20
"""Bytes of a result; ten draws on 120 classes, twice, have some 4 MB."""
HEADLINE_PROTOCOLS = ("linear", "finetune", "knn")
"""Which evaluation answers first what a run is worth."""
Percent = Annotated[float, Field(ge=0, le=100.001)]
Count = Annotated[int, Field(ge=0, lt=2**53)]


class Fields(BaseModel):
    """What a page needs of a result; other fields are left alone."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class BestEpoch(Fields):
    """The best of all looks at the test clips."""

    epoch: Count
    top1: Percent


class Row(Fields):
    """One representation's numbers."""

    top1: Percent
    top5: Percent | None = None
    interval95: tuple[Percent, Percent] | None = None
    deviation: Percent | None = None
    """Over draws of labels, where there are several."""
    per_class: list[Percent | None] = []
    classes: list[int] = []
    confusion: list[list[Count]] = []
    clips: Count | None = None
    best_epoch: BestEpoch | None = None
    test_top1_by_epoch: dict[str, Percent] = {}
    classifier: str = ""
    seeds: dict[str, "Row"] = {}

    @model_validator(mode="after")
    def _one_of_everything_for_each_class(self) -> Self:
        count = len(self.classes)
        if len(self.per_class) not in (0, count) or len(self.confusion) not in (0, count):
            raise ValueError(f"{len(self.per_class)} and {len(self.confusion)} values for {count} classes")
        if any(len(said) != count for said in self.confusion):
            raise ValueError("the confusion is not square")
        if not all(epoch.isdecimal() and len(epoch) < 10 for epoch in self.test_top1_by_epoch):
            raise ValueError("an epoch is no number")
        return self

    def counts(self) -> "np.ndarray[Any, np.dtype[np.int64]]":
        """(C, C) clips, rows true, columns said."""
        return np.array(self.confusion, np.int64).reshape(len(self.classes), len(self.classes))


class Published(Fields):
    """What the authors report."""

    top1: Percent
    source: str


class OfSplit(Fields):
    """The split that was evaluated on."""

    name: str
    train: Count
    test: Count


class OfStore(Fields):
    """The store that was evaluated on."""

    name: str
    digest: str


class OfCheckpoint(Fields):
    """The checkpoint that was evaluated."""

    which: str = "last"
    step: Count
    total_steps: Count
    digest: str = ""


class OfRun(Fields):
    """The run that was evaluated."""

    digest: str


class Lineage(Fields):
    """What an evaluation was of."""

    run: OfRun
    checkpoint: OfCheckpoint
    store: OfStore
    split: OfSplit
    transfer: bool | None = None
    test_clips_pretrained_on: int | None = None
    device: str = ""


class Result(Fields):
    """One evaluation as `eval` has kept it."""

    name: str
    """Of its file."""
    protocol: str
    settings: dict[str, Any]
    rows: dict[str, Row] = Field(min_length=1)
    class_names: list[str]
    published: Published | None = None
    fused: list[Any] | None = None
    lineage: Lineage

    @model_validator(mode="after")
    def _a_name_for_each_class(self) -> Self:
        if any(row.classes and len(row.classes) != len(self.class_names) for row in self.rows.values()):
            raise ValueError(f"{len(self.class_names)} names of classes, and a row of another number")
        return self

    def labels(self, row: Row) -> list[str]:
        """What the classes of a row are called: id and name."""
        return [f"{label} {name}".rstrip() for label, name in zip(row.classes, self.class_names, strict=True)]


def read_results(run: Run) -> tuple[list[Result], list[str]]:
    """All evaluations that lie with a run, by name, and why others are passed over."""
    found, skipped = [], []
    for path in sorted((run.path / RESULTS_FOLDER).glob("[!.]*.json")):
        try:
            result = read(path)
        except (ValueError, RecursionError, OSError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            skipped.append(one_line(f"{path}: passed over: {said}; evaluate again"))
            continue
        if result.lineage.run.digest != run.digest:
            skipped.append(one_line(f"{path}: passed over: is of another run; evaluate again"))
        else:
            found.append(result)
    return found, skipped


def read(path: Path) -> Result:
    """One evaluation.

    Raises:
        ValueError: it is not JSON, or not what `eval` writes; the text says where.
        OSError: it cannot be read.
    """
    if path.stat().st_size > LARGEST:
        raise ValueError(f"has {path.stat().st_size:,} bytes, expected at most {LARGEST:,}")
    plain = json.loads(path.read_bytes())
    try:
        return Result.model_validate({**plain, "name": path.stem} if isinstance(plain, dict) else plain)
    except ValidationError as error:
        raise ValueError(f"field {explain(error.errors()[:1])}") from error
