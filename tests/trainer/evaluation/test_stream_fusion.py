import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ArtifactError, ConfigError
from tests.support.result_files import result_file
from trainer.evaluation.results import write_result
from trainer.evaluation.stream_fusion import choose_weights, fuse_runs
from trainer.runs.run import Run


def of_stream(run: Run, stream: str, path: Path) -> Run:
    """Return a run of another stream, with a copy of the shared run's folder."""
    shutil.copytree(run.path, path / stream, ignore=shutil.ignore_patterns("eval"))
    return replace(run, path=path / stream, config=run.config.model_copy(update={"stream": stream}))


def evaluated(run: Run, scores: dict[str, Any], split: str = "s", labels: tuple[int, ...] = (0, 1)) -> dict[str, Any]:
    """What an evaluation would have left."""
    arrays = {name: np.array(array, np.float32) for name, array in scores.items()}
    about = {"rows": np.array([4, 7]), "classes": np.array([3, 5]), "labels": np.array(labels)}
    result = {
        "protocol": "linear",
        "settings": {},
        "rows": {name.partition("/")[0]: {"top1": 0} for name in scores} | {"raw coordinates": {"top1": 0}},
        "class_names": ["a", "b"],
        "lineage": {
            "run": {"path": str(run.path), "digest": run.digest},
            "checkpoint": {"step": 1, "total_steps": 1},
            "store": {"digest": "d"},
            "split": {"digest": split, "train": 2, "test": 2},
        },
    }
    result["settings_digest"] = "0" * 64
    written = write_result(run, "linear-00000000", result, {**about, **arrays})
    return {"linear": {**written, "written": str(run.path / "eval" / "linear-00000000.json")}}


def test_scores_are_added_with_their_weights(shared_run: Run, tmp_path: Path) -> None:
    opened = [of_stream(shared_run, stream, tmp_path) for stream in ("joint", "motion")]
    found = [
        evaluated(opened[0], {"pre-trained": [[1, 0], [1, 0]]}),
        evaluated(opened[1], {"pre-trained": [[0, 1], [0, 2]]}),
    ]
    for weights, top1 in (([1.0, 0.9], 100.0), ([1.0, 0.4], 50.0), ([1.0, 2.0], 50.0)):
        fused = fuse_runs(opened, found, weights)["linear"]
        assert fused["rows"]["pre-trained"]["top1"] == top1
        assert list(fused["rows"]) == ["pre-trained"]
        assert fused["settings"]["weights"] == weights
        assert Path(fused["written"]) == result_file(opened[0].path, "linear-with-motion.json")
        assert json.loads(Path(fused["written"]).read_text())["rows"] == fused["rows"]


def test_equal_draws_are_fused(shared_run: Run, tmp_path: Path) -> None:
    opened = [of_stream(shared_run, stream, tmp_path) for stream in ("joint", "bone")]
    right, wrong, sure = [[1, 0], [0, 1]], [[0, 1], [1, 0]], [[3, 0], [0, 3]]
    found = [
        evaluated(opened[0], {"pre-trained/0": right, "pre-trained/1": wrong}),
        evaluated(opened[1], {"pre-trained/0": wrong, "pre-trained/1": sure}),
    ]
    row = fuse_runs(opened, found, [1.0, 0.5])["linear"]["rows"]["pre-trained"]
    assert {seed: summary["top1"] for seed, summary in row["seeds"].items()} == {"0": 100.0, "1": 100.0}
    assert (row["top1"], row["deviation"]) == (100.0, 0.0)


def test_default_weights_are_by_stream_when_streams_differ(shared_run: Run, tmp_path: Path) -> None:
    joint, motion, bone = (of_stream(shared_run, stream, tmp_path) for stream in ("joint", "motion", "bone"))
    assert choose_weights([joint, motion, bone]) == [0.6, 0.4, 0.6]
    assert choose_weights([joint, joint]) == [1.0, 1.0]
    assert choose_weights([joint, bone], [2, 3]) == [2, 3]
    for opened, weights in (([joint], ()), ([joint, bone], (1.0,)), ([joint, bone], (1.0, 0.0))):
        with pytest.raises(ConfigError):
            choose_weights(opened, weights)


@pytest.mark.parametrize("weight", [1e308, 1e-320, float("nan"), float("inf")])
def test_weights_whose_sums_would_overflow_or_vanish_are_rejected(shared_run: Run, weight: float) -> None:
    with pytest.raises(ConfigError, match=r"expected 2 numbers from 1e-06 to 1e\+06, one for each run, found 1, "):
        choose_weights([shared_run, shared_run], [1.0, weight])


def test_runs_that_were_evaluated_with_different_settings_are_named(shared_run: Run, tmp_path: Path) -> None:
    opened = [of_stream(shared_run, stream, tmp_path) for stream in ("joint", "bone")]
    found = [evaluated(run, {"pre-trained": [[1, 0], [0, 1]]}) for run in opened]
    assert fuse_runs(opened, found, [1.0, 1.0])["linear"]["notes"] == []
    for results, rate in zip(found, (0.3, 3.0), strict=True):
        results["linear"]["settings"] = {"epochs": 150, "learning_rate": rate}
    notes = fuse_runs(opened, found, [1.0, 1.0])["linear"]["notes"]
    assert [note.partition(": ")[0] for note in notes] == ["linear"]
    assert "presets differ: learning_rate 0.3, 3.0; use --set" in notes[0]


def test_other_clips_or_another_split_are_rejected(shared_run: Run, tmp_path: Path) -> None:
    opened = [of_stream(shared_run, stream, tmp_path) for stream in ("joint", "bone")]
    first = evaluated(opened[0], {"pre-trained": [[1, 0], [1, 0]]})
    for other in ({"split": "t"}, {"labels": (1, 1)}):
        second = evaluated(opened[1], {"pre-trained": [[1, 0], [1, 0]]}, **other)  # type: ignore[arg-type]
        with pytest.raises(ArtifactError, match="was evaluated on"):
            fuse_runs(opened, [first, second], [1.0, 1.0])
