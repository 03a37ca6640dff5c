"""Evaluation results: written with a checksum, read back, and skipped with a reason when damaged."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.artifacts import manifest
from tests.support.result_files import result_file
from trainer.evaluation import results
from trainer.runs.run import Run, load_run


@pytest.fixture
def copied_run(evaluated_run: Run, tmp_path: Path) -> Run:
    shutil.copytree(evaluated_run.path, tmp_path / "run")
    return load_run(tmp_path / "run")


def test_results_are_read_back(evaluated_run: Run) -> None:
    found, skipped = results.read_results(evaluated_run)
    assert skipped == []
    assert [result.short_name for result in found] == ["knn", "linear"]
    for result in found:
        document = json.loads((evaluated_run.path / "eval" / f"{result.name}.json").read_text())
        for name, row in result.rows.items():
            assert row.top1 == document["rows"][name]["top1"]
            assert row.counts().tolist() == document["rows"][name]["confusion"]
            assert row.counts().sum() == row.clips
        assert result.labels(row)[0] == f"A{row.classes[0] + 1:03d} {result.class_names[0]}"


def test_the_digest_is_the_last_key_and_covers_all_others(evaluated_run: Run) -> None:
    document = json.loads(result_file(evaluated_run.path, "linear.json").read_text())
    assert list(document)[-1] == "digest"
    digest = document.pop("digest")
    assert digest == manifest.json_digest(document)


@pytest.mark.parametrize("change", [(b'"top1": ', b'"top1":  '), (b'"protocol": "knn"', b'"protocol": "kNN"')])
def test_a_changed_byte_is_detected(copied_run: Run, change: tuple[bytes, bytes]) -> None:
    path = result_file(copied_run.path, "knn.json")
    path.write_bytes(path.read_bytes().replace(*change))
    found, skipped = results.read_results(copied_run)
    assert [result.short_name for result in found] == ["linear"]
    assert skipped == [
        f"{path}: skipped: its content does not match its checksum: it was changed or damaged; evaluate again"
    ]


def test_results_of_older_versions_without_a_checksum_are_read(copied_run: Run) -> None:
    path = result_file(copied_run.path, "knn.json")
    document = json.loads(path.read_text())
    del document["digest"]
    path.write_text(json.dumps(document))
    assert [result.short_name for result in results.read_results(copied_run)[0]] == ["knn", "linear"]


def test_fields_that_could_not_be_read_are_not_written(copied_run: Run) -> None:
    document = json.loads(result_file(copied_run.path, "knn.json").read_text())
    with pytest.raises(ValidationError, match="top1"):
        results.write_result(copied_run, "knn", {**document, "rows": {"pre-trained": {"top1": 101}}})


def set_value(document: Any, keys: str, value: Any) -> None:
    *parents, last = keys.split("/")
    for key in parents:
        document = document[key]
    document[last] = value


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        ("rows", {}, "field rows"),
        ("rows", [], "field rows"),
        ("rows/pre-trained/top1", float("nan"), "field rows.pre-trained.top1"),
        ("rows/pre-trained/top1", 1e9, "field rows.pre-trained.top1"),
        ("rows/pre-trained/top1", "90", ""),  # converted to a number
        ("rows/pre-trained/confusion", [[1, 2]], "for 3 classes"),
        ("rows/pre-trained/confusion", [[1], [2], [3]], "not square"),
        ("rows/pre-trained/confusion", [[-1, 0, 0]] * 3, "rows.pre-trained.confusion"),
        ("rows/pre-trained/confusion", [[2**70, 0, 0]] * 3, "rows.pre-trained.confusion"),
        ("rows/pre-trained/classes", [], "for 0 classes"),
        ("rows/pre-trained/test_top1_by_epoch", {"x": 1}, "test_top1_by_epoch"),
        ("rows/pre-trained/test_top1_by_epoch", {"9" * 5000: 1}, "test_top1_by_epoch"),
        ("class_names", ["a"], "1 class names"),
        ("lineage/run/digest", "0" * 64, "is a result of another run"),
        ("lineage", None, "field lineage"),
    ],
)
def test_a_damaged_result_without_checksum_is_skipped_with_the_field(
    copied_run: Run, keys: str, value: Any, reason: str
) -> None:
    path = result_file(copied_run.path, "knn.json")
    document = json.loads(path.read_text())
    del document["digest"]
    set_value(document, keys, value)
    path.write_text(json.dumps(document))
    found, skipped = results.read_results(copied_run)
    assert [result.short_name for result in found] == (["linear"] if reason else ["knn", "linear"])
    assert len(skipped) == bool(reason)
    if reason:
        assert skipped[0].startswith(f"{path}: skipped: ")
        assert reason in skipped[0]
        assert skipped[0].isprintable()


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"3", b"\xff", b"[" * 100_000, b'{"rows": ' * 10_000, b"{}", b'{"digest": 1}', b'{"digest": NaN}'],
)
def test_a_file_that_is_not_a_result_is_skipped(copied_run: Run, content: bytes) -> None:
    (copied_run.path / "eval" / "odd.json").write_bytes(content)
    found, skipped = results.read_results(copied_run)
    assert len(found) == 2
    assert len(skipped) == 1
    assert "odd.json: skipped: " in skipped[0]


def test_a_file_that_is_too_large_is_not_read(evaluated_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "MAX_BYTES", 100)
    found, skipped = results.read_results(evaluated_run)
    assert found == []
    assert "expected at most 100" in skipped[0]
