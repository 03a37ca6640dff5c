"""Suggestions for unknown words and missing paths."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ArtifactNotFound
from pipeline.suggest import MAX_CHARACTERS, MAX_SUGGESTIONS, close_words, did_you_mean, did_you_mean_path
from trainer.config.keys import keys_of_model
from trainer.config.pretrain import PretrainConfig

RECIPES = ["agcn", "clean", "crosclr", "ctrgcn", "ctrgcn-ntu120", "none", "pyskl", "skelemixclr", "stgcn"]


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("quik", ["quick", "ntu60-xsub"], ["quick"]),
        ("cleen", RECIPES, ["clean"]),
        ("CLEAN", RECIPES, ["clean"]),
        ("ctrgnc", RECIPES, ["ctrgcn"]),
        ("npy", ["npz", "ctrgcn", "pyskl"], ["npz"]),
        ("skeleton", RECIPES, []),
        ("clean", RECIPES, []),  # a known word is not a typo
        ("", RECIPES, []),
        ("build", ["ingest", "build-splits"], ["build-splits"]),
        ("build_splits", ["ingest", "build-splits"], ["build-splits"]),
        ("left hand", ["left_hand", "right_hand", "head"], ["left_hand"]),
        ("queue_size", ["epochs", "pair.queue_size"], ["pair.queue_size"]),
        ("pair.que_size", ["pair.queue_size", "pair.start"], ["pair.queue_size"]),
        ("lr", ["epochs", "learning_rate"], ["learning_rate"]),
        ("batch", ["batch_size", "micro_batch"], ["batch_size"]),
        ("learning_rte", ["a.learning_rate", "b.learning_rate"], ["a.learning_rate", "b.learning_rate"]),
        ("pretrian", ["pretrain", "predict"], ["pretrain"]),
        ("train", ["ingest", "pretrain", "predict"], ["pretrain"]),
        ("center", ["centre", "spine"], ["centre"]),
    ],
)  # fmt: skip
def test_close_words_are_found(word: str, known: list[str], expected: list[str]) -> None:
    assert close_words(word, known) == expected


@given(st.text(max_size=80), st.lists(st.text(max_size=80), max_size=20))
def test_suggestions_are_few_and_known(word: str, known: list[str]) -> None:
    found = close_words(word, known)
    assert len(found) <= MAX_SUGGESTIONS
    assert set(found) <= set(known)
    assert word not in found


@given(st.sampled_from(sorted(keys_of_model(PretrainConfig))), st.data())
def test_a_configuration_key_without_one_letter_is_found(path: str, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(path) - 1))
    typed = path[:index] + path[index + 1 :]
    found = close_words(typed, keys_of_model(PretrainConfig))
    assert typed in keys_of_model(PretrainConfig) or path in found or len(path) < 6


def test_long_untrusted_words_are_not_compared() -> None:
    assert close_words("x" * (MAX_CHARACTERS + 1), ["x" * MAX_CHARACTERS]) == []
    assert close_words("x" * MAX_CHARACTERS, [f"{'x' * MAX_CHARACTERS}{n}" for n in range(100_000)]) == []


def test_suggestions_are_formatted_in_brackets() -> None:
    assert did_you_mean("quik", ["quick"]) == " (did you mean quick?)"
    assert did_you_mean("tst", ["test", "tset"]) == " (did you mean tset or test?)"
    assert did_you_mean("xyz", ["quick"]) == ""


def test_missing_parts_of_a_path_are_corrected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "processed" / "ntu60.zarr").mkdir(parents=True)
    (tmp_path / "runs" / "ntu60-xsub-quick").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for typed, expected in (
        ("processed/ntu6.zarr", "processed/ntu60.zarr"),
        ("proccesed/ntu60.zar", "processed/ntu60.zarr"),
        ("ntu60.zarr", "processed/ntu60.zarr"),
        ("ntu60", "processed/ntu60.zarr or runs/ntu60-xsub-quick"),
        ("ntu60-xsub-quik", "runs/ntu60-xsub-quick"),
        ("run", "runs"),
        (str(tmp_path / "run" / "ntu60-xsub-quick"), str(tmp_path / "runs" / "ntu60-xsub-quick")),
    ):
        assert did_you_mean_path(Path(typed)) == f" (did you mean {expected}?)", typed
    for typed in ("nowhere", "nowhere/x", "processed/pku1.zarr", "/"):
        assert did_you_mean_path(Path(typed)) == "", typed
    message = str(ArtifactNotFound(Path("runs/ntu60-xsub-quikc"), "make one"))
    assert message == "runs/ntu60-xsub-quikc: no such file or folder (did you mean runs/ntu60-xsub-quick?); make one"
