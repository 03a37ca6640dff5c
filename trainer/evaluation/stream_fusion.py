"""Several runs as one: the weighted sum of their scores, row by row, as joint, motion and bone are fused."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ArtifactError, ConfigError
from trainer.evaluation.metrics import spread, summarise
from trainer.runs.run import SCORES_SUFFIX, Run, write_result

BY_STREAM = {"joint": 0.6, "bone": 0.6, "motion": 0.4}
"""AimCLR's weights (ensemble_ntu_cs.py in Levigty/AimCLR); SkeleMixCLR names none."""


def parse_weights(opened: Sequence[Run], weights: Sequence[float] = ()) -> list[float]:
    """The weight of each run: what is given, else by stream when no stream comes twice, else alike.

    Raises:
        ConfigError: fewer than two runs, another number of weights, or weights that are not above zero.
    """
    if len(opened) < 2:
        raise ConfigError("--fuse adds up the scores of several runs; name at least two")
    if weights:
        if len(weights) != len(opened) or not all(0 < weight < float("inf") for weight in weights):
            raise ConfigError(f"--weights: expected {len(opened)} numbers above 0, one for each run, found {weights}")
        return list(weights)
    streams = [run.config.stream for run in opened]
    return [BY_STREAM[stream] if len(set(streams)) == len(streams) else 1.0 for stream in streams]


def fuse_runs(
    opened: Sequence[Run], found: Sequence[Mapping[str, Mapping[str, Any]]], weights: Sequence[float]
) -> dict[str, dict[str, Any]]:
    """Fuse the results that evaluations of several runs have just written; keep them with the first run.

    Scores are added as they are (logits of linear layers, votes of neighbours), as AimCLR does.

    Args:
        opened: the runs.
        found: what `evaluate` gave for each.
        weights: of each.

    Raises:
        ArtifactError: the runs were not evaluated on the same clips.
    """
    return {key: _one(opened, [results[key] for results in found], weights) for key in found[0]}


def _one(opened: Sequence[Run], results: Sequence[Mapping[str, Any]], weights: Sequence[float]) -> dict[str, Any]:
    kept = [_scores(Path(result["written"])) for result in results]
    for run, arrays in zip(opened[1:], kept[1:], strict=True):
        for what in ("rows", "classes", "labels"):
            if not np.array_equal(arrays[what], kept[0][what]):
                raise ArtifactError(f"{run.path}: was evaluated on other clips than {opened[0].path}; name one --store")
    for run, result in zip(opened[1:], results[1:], strict=True):
        for what in ("store", "split"):
            if result["lineage"][what]["digest"] != results[0]["lineage"][what]["digest"]:
                raise ArtifactError(f"{run.path}: was evaluated on another {what} than {opened[0].path}")
    labels, classes = kept[0]["labels"], kept[0]["classes"].tolist()
    rows: dict[str, Any] = {}
    for name in kept[0].keys() - {"rows", "classes", "labels"}:
        summed = sum(weight * arrays[name].astype(np.float64) for weight, arrays in zip(weights, kept, strict=True))
        rows[name] = summarise(np.asarray(summed), labels, classes)
    first = results[0]
    rows = {name: _together(name, rows) for name in first["rows"] if name in {row.partition("/")[0] for row in rows}}
    fused = {
        "protocol": first["protocol"],
        "settings": {**first["settings"], "weights": list(weights), "added": "scores as they are"},
        "rows": rows,
        "class_names": first["class_names"],
        "published": None,
        "fused": [
            {
                "run": result["lineage"]["run"],
                "stream": run.config.stream,
                "checkpoint": result["lineage"]["checkpoint"],
            }
            for run, result in zip(opened, results, strict=True)
        ],
        "lineage": first["lineage"],
    }
    name = f"{Path(first['written']).stem}-with-{'+'.join(run.path.name for run in opened[1:])}"
    fused["written"] = write_result(opened[0], name, fused).as_posix()
    return fused


def _together(name: str, rows: Mapping[str, Any]) -> dict[str, Any]:
    """A row, or all draws of a row."""
    if name in rows:
        row: dict[str, Any] = rows[name]
        return row
    seeds = {row.partition("/")[2]: rows[row] for row in sorted(rows) if row.startswith(f"{name}/")}
    return {**spread([row["top1"] for row in seeds.values()]), "seeds": seeds}


def _scores(result: Path) -> dict[str, NDArray[Any]]:
    with np.load(result.with_name(result.stem + SCORES_SUFFIX), allow_pickle=False) as arrays:  # noqa: TID251 (allow_pickle=False)
        return {name: arrays[name] for name in arrays.files}
