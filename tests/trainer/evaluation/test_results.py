import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from trainer.evaluation import results
from trainer.runs.run import Run, load_run


def test_what_eval_has_written_reads_back(evaluated_run: Run) -> None:
    found, skipped = results.read_results(evaluated_run)
    assert skipped == []
    assert [result.name for result in found] == ["knn", "linear"]
    for result in found:
        written = json.loads((evaluated_run.path / "eval" / f"{result.name}.json").read_text())
        for name, row in result.rows.items():
            assert row.top1 == written["rows"][name]["top1"]
            assert row.counts().tolist() == written["rows"][name]["confusion"]
            assert row.counts().sum() == row.clips
        assert result.labels(row)[0].split(" ", 1) == [str(row.classes[0]), result.class_names[0]]


def damaged(plain: Any, keys: str, value: Any) -> str:
    at = plain
    *way, last = keys.split("/")
    for key in way:
        at = at[key]
    at[last] = value
    return json.dumps(plain)


@pytest.mark.parametrize(
    ("keys", "value", "says"),
    [
        ("rows", {}, "field rows"),
        ("rows", [], "field rows"),
        ("rows/pre-trained/top1", float("nan"), "field rows.pre-trained.top1"),
        ("rows/pre-trained/top1", 1e9, "field rows.pre-trained.top1"),
        ("rows/pre-trained/top1", "90", ""),  # a number all the same
        ("rows/pre-trained/confusion", [[1, 2]], "for 3 classes"),
        ("rows/pre-trained/confusion", [[1], [2], [3]], "not square"),
        ("rows/pre-trained/confusion", [[-1, 0, 0]] * 3, "rows.pre-trained.confusion"),
        ("rows/pre-trained/confusion", [[2**70, 0, 0]] * 3, "rows.pre-trained.confusion"),
        ("rows/pre-trained/classes", [], "for 0 classes"),
        ("rows/pre-trained/test_top1_by_epoch", {"x": 1}, "an epoch is no number"),
        ("rows/pre-trained/test_top1_by_epoch", {"9" * 5000: 1}, "an epoch is no number"),
        ("class_names", ["a"], "1 names of classes"),
        ("lineage/run/digest", "0" * 64, "is of another run"),
        ("lineage", None, "field lineage"),
    ],
)
def test_a_damaged_evaluation_is_passed_over_by_name(
    evaluated_run: Run, tmp_path: Path, keys: str, value: Any, says: str
) -> None:
    shutil.copytree(evaluated_run.path, tmp_path / "run")
    path = tmp_path / "run" / "eval" / "knn.json"
    path.write_text(damaged(json.loads(path.read_text()), keys, value))
    found, skipped = results.read_results(load_run(tmp_path / "run"))
    assert [result.name for result in found] == (["linear"] if says else ["knn", "linear"])
    assert len(skipped) == bool(says)
    if says:
        assert skipped[0].startswith(f"{path}: passed over: ")
        assert says in skipped[0]
        assert skipped[0].isprintable()


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"\xff", b"[" * 100_000, b'{"rows": ' * 10_000, b"{}"])
def test_what_is_no_evaluation_is_passed_over(evaluated_run: Run, tmp_path: Path, content: bytes) -> None:
    shutil.copytree(evaluated_run.path, tmp_path / "run")
    (tmp_path / "run" / "eval" / "odd.json").write_bytes(content)
    found, skipped = results.read_results(load_run(tmp_path / "run"))
    assert len(found) == 2
    assert len(skipped) == 1
    assert "odd.json: passed over: " in skipped[0]


def test_a_file_that_is_too_large_is_not_read(evaluated_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "LARGEST", 100)
    found, skipped = results.read_results(evaluated_run)
    assert found == []
    assert "expected at most 100" in skipped[0]
