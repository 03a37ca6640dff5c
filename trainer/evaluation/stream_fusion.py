"""Fuse several runs (such as joint, motion and bone): evaluate the weighted sum of their class scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.artifacts import manifest
from pipeline.errors import ArtifactError, ConfigError
from trainer.evaluation.metrics import spread, summarise
from trainer.evaluation.results import read_scores, result_path, write_result
from trainer.runs.classifier import SHORT_DIGEST, short_name
from trainer.runs.run import Run

STREAM_WEIGHTS = {"joint": 0.6, "bone": 0.6, "motion": 0.4}
"""AimCLR's weights (ensemble_ntu_cs.py in Levigty/AimCLR); SkeleMixCLR gives none."""
MIN_WEIGHT, MAX_WEIGHT = 1e-6, 1e6
"""Limits of a run's weight: beyond them sums overflow, or lose all but one run to rounding."""


def choose_weights(runs: Sequence[Run], weights: Sequence[float] = ()) -> list[float]:
    """The weight of each run: the given weights, else by stream if all streams differ, else equal weights.

    Raises:
        ConfigError: fewer than two runs, another number of weights, or weights beyond MIN_WEIGHT and MAX_WEIGHT.
    """
    if len(runs) < 2:
        raise ConfigError("--fuse adds the scores of several runs; name at least two")
    if weights:
        if len(weights) != len(runs) or not all(MIN_WEIGHT <= weight <= MAX_WEIGHT for weight in weights):
            found = ", ".join(f"{weight:g}" for weight in weights)
            raise ConfigError(
                f"--weights: expected {len(runs)} numbers from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}, one for each run, "
                f"found {found}"
            )
        return list(weights)
    streams = [run.config.stream for run in runs]
    return [STREAM_WEIGHTS[stream] if len(set(streams)) == len(streams) else 1.0 for stream in streams]


def fuse_runs(
    runs: Sequence[Run], evaluations: Sequence[Mapping[str, Mapping[str, Any]]], weights: Sequence[float]
) -> dict[str, dict[str, Any]]:
    """Fuse the results of several runs and write them into the folder of the first run.

    Scores are added without normalisation (logits of linear layers, votes of neighbours), as in AimCLR.

    Args:
        runs: the runs.
        evaluations: the return value of `evaluate` for each run.
        weights: the weight of each run.

    Raises:
        ArtifactError: the runs were not evaluated on the same clips.
    """
    return {key: _fuse(runs, [results[key] for results in evaluations], weights) for key in evaluations[0]}


def _fuse(runs: Sequence[Run], results: Sequence[Mapping[str, Any]], weights: Sequence[float]) -> dict[str, Any]:
    scores = [read_scores(Path(result["written"])) for result in results]
    first, first_scores = results[0], scores[0]
    for run, arrays in zip(runs[1:], scores[1:], strict=True):
        for key in ("rows", "classes", "labels"):
            if not np.array_equal(arrays[key], first_scores[key]):
                raise ArtifactError(f"{run.path}: was evaluated on other clips than {runs[0].path}; name one --store")
    for run, result in zip(runs[1:], results[1:], strict=True):
        for key in ("store", "split"):
            if result["lineage"][key]["digest"] != first["lineage"][key]["digest"]:
                raise ArtifactError(f"{run.path}: was evaluated on another {key} than {runs[0].path}")
    labels, classes = first_scores["labels"], first_scores["classes"].tolist()
    summaries: dict[str, Any] = {}
    for name in [name for name in first_scores if name.partition("/")[0] in first["rows"]]:
        total = sum(weight * arrays[name].astype(np.float64) for weight, arrays in zip(weights, scores, strict=True))
        summaries[name] = summarise(np.asarray(total), labels, classes)
    fused_rows = {name.partition("/")[0] for name in summaries}
    rows = {name: _row(name, summaries) for name in first["rows"] if name in fused_rows}
    fused = {
        "protocol": first["protocol"],
        "settings": {**first["settings"], "weights": list(weights), "added": "scores as they are"},
        "rows": rows,
        "class_names": first["class_names"],
        "published": None,
        "notes": [*first.get("notes", []), *_different_settings(results)],
        "fused": [
            {
                "run": result["lineage"]["run"],
                "stream": run.config.stream,
                "checkpoint": result["lineage"]["checkpoint"],
            }
            for run, result in zip(runs, results, strict=True)
        ],
        "lineage": first["lineage"],
    }
    identity = {"results": [result["settings_digest"] for result in results], "weights": list(weights), "rows": [*rows]}
    digest = manifest.json_digest(identity)
    own_name = short_name(Path(first["written"]).stem, first["settings_digest"])
    name = f"{own_name}-with-{'+'.join(run.path.name for run in runs[1:])}-{digest[:SHORT_DIGEST]}"
    written = write_result(runs[0], name, {**fused, "settings_digest": digest})
    return {**written, "written": result_path(runs[0], name).as_posix(), "reused": False}


def _different_settings(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line with the settings that differ between the runs, with the value of each run; none: no line."""
    keys = dict.fromkeys(key for result in results for key in result["settings"])
    values = {key: [result["settings"].get(key) for result in results] for key in keys}
    differences = [
        f"{key} {', '.join(map(str, found))}" for key, found in values.items() if any(v != found[0] for v in found)
    ]
    if not differences:
        return []
    return [
        f"{results[0]['protocol']}: the fused runs were evaluated with different settings, because their presets "
        f"differ: {'; '.join(differences)}; use --set for equal ones"
    ]


def _row(name: str, summaries: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of a row, or of all its label draws, which are called `name/seed`."""
    if name in summaries:
        row: dict[str, Any] = summaries[name]
        return row
    seeds = {key.partition("/")[2]: summaries[key] for key in sorted(summaries) if key.startswith(f"{name}/")}
    return {**spread([row["top1"] for row in seeds.values()]), "seeds": seeds}
