"""The files of one evaluation: find the rows that are stored, add rows, and write the result and its scores.

The digest in the file names covers everything that determines the numbers of a row, but not which rows were requested.
So results of other settings are never replaced, and rows of the same settings are not computed twice.
"""

import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.artifacts import manifest
from pipeline.errors import one_line
from trainer.evaluation.results import Result, read_document, read_scores, result_path, write_result
from trainer.runs.classifier import RECALIBRATED_SUFFIX, SHORT_DIGEST, find_classifier_damage
from trainer.runs.run import Run


class ResultFiles:
    """Result, scores and classifiers of one protocol with certain settings."""

    def __init__(
        self,
        run: Run,
        short_name: str,
        identity: Mapping[str, Any],
        requested: Sequence[str],
        axes: Mapping[str, NDArray[Any]],
    ) -> None:
        """Describe the files without reading anything.

        Args:
            run: the evaluated run.
            short_name: the name without the digest, such as `linear`.
            identity: JSON of everything that determines the numbers of a row.
            requested: the rows that were requested, in their order.
            axes: the arrays that describe the scores: `rows` (N,), `classes` (C,), `labels` (N,).
        """
        self.run, self.short_name, self.requested = run, short_name, tuple(requested)
        self.digest = manifest.json_digest(identity)
        self._axes = dict(axes)
        self._rows: dict[str, Any] = {}
        self._scores: dict[str, NDArray[np.float32]] = {}
        self._document: dict[str, Any] = {}
        self._is_changed = self._is_written = False

    @property
    def name(self) -> str:
        """The name of the result: short name and digest."""
        return self.classifier_name()

    @property
    def missing(self) -> list[str]:
        """The requested rows that are not there yet."""
        return [name for name in self.requested if name not in self._rows]

    def classifier_name(self, *, recalibrated: bool = False) -> str:
        """The name of a classifier of this evaluation."""
        return f"{self.short_name}{RECALIBRATED_SUFFIX if recalibrated else ''}-{self.digest[:SHORT_DIGEST]}"

    def find(self, classifiers: Mapping[str, str], report: Callable[[str], None]) -> None:
        """Load the stored rows. What is damaged is reported and left out, so that it is computed again.

        Args:
            classifiers: the name of the classifier of each row that has one.
            report: called with a message for everything that is damaged.
        """
        path = result_path(self.run, self.name)
        try:
            document = read_document(path)
            Result.model_validate({**document, "name": path.stem})
            if document.get("settings_digest") != self.digest:
                return  # digests with the same beginning: only then is a result of other settings replaced
            scores = read_scores(path)
            axes = {name: scores.pop(name) for name in self._axes}
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, EOFError, RecursionError, OSError, zipfile.BadZipFile) as error:
            report(one_line(f"{path}: cannot be used: {error}; evaluating again"))
            return
        if not all(np.array_equal(axes[name], axis) for name, axis in self._axes.items()):
            report(f"{path}: its scores belong to other clips; evaluating again")
            return
        self._document, self._rows, self._scores = document, dict(document["rows"]), scores
        for row in self._rows.keys() & classifiers.keys():
            if damage := find_classifier_damage(self.run, classifiers[row]):
                report(one_line(f"classifier {classifiers[row]}: {damage}; evaluating {row} again"))
                del self._rows[row]

    def add(self, row: str, numbers: Mapping[str, Any], scores: Mapping[str, Tensor]) -> None:
        """Add the numbers of a row, and its scores (N, C): one array named as the row, or `ROW/SEED` for each draw."""
        self._rows[row] = dict(numbers)
        self._scores |= {name: array.numpy().astype(np.float32) for name, array in scores.items()}
        self._is_changed = True

    def result(self, fields: Mapping[str, Any], order: Iterable[str], *, renew: bool = False) -> dict[str, Any]:
        """Write the result if rows were added, and return it with the requested rows only.

        Args:
            fields: all other fields of the result.
            order: the order of the rows in the file.
            renew: see `write_result`.

        Raises:
            OutputLocked, OutputFailed: see `sole_evaluation`.
        """
        path = result_path(self.run, self.name)
        if self._is_changed and not self._is_written:
            rows = {row: self._rows[row] for row in order if row in self._rows}
            document = {**fields, "rows": rows, "settings_digest": self.digest}
            self._document = write_result(self.run, self.name, document, {**self._axes, **self._scores}, renew=renew)
            self._is_written = True
        return {
            **self._document,
            "published": fields["published"],
            "lineage": {**self._document["lineage"], **{key: fields["lineage"][key] for key in ("run", "checkpoint")}},
            "rows": {row: self._rows[row] for row in self.requested},
            "written": path.as_posix(),
            "reused": not self._is_changed,
        }
