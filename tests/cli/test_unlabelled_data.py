"""Recordings without labels, from ingest to embed; clips without label are never a class."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from pipeline.store.splits import find_split
from pipeline.store.store import Store
from tests.conftest import TINY
from trainer.config.presets import compose_pretrain, load_preset
from trainer.data.holdout import split_holdout
from trainer.pretrain.validation import HoldoutValidation

Skelepipe = Callable[..., Result]


def edit_manifest(change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    """Write a synthetic folder data set, with its rows changed."""
    path = Path("own/manifest.csv")
    rows = [change(row) for row in csv.DictReader(path.read_text().splitlines())]
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def succeed(skelepipe: Skelepipe, command: str) -> str:
    done = skelepipe(*command.split())
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def own(skelepipe: Skelepipe) -> Path:
    succeed(skelepipe, "synth folder own --clips 32")
    return Path("own")


def test_recordings_without_labels_and_splits_are_pre_trained_on_and_embedded(skelepipe: Skelepipe, own: Path) -> None:
    edit_manifest(lambda row: {key: value for key, value in row.items() if key != "label"})
    text = (own / "skeleton.toml").read_text()
    (own / "skeleton.toml").write_text(text[: text.index("[classes]")])
    ingested = succeed(skelepipe, "ingest folder own")
    assert "32 of 32 clips have no label: pretrain and embed use them, eval leaves them out" in ingested
    assert json.loads(succeed(skelepipe, "ingest folder own --json"))["unlabelled"] == 32
    assert "all of own, 32 train, 0 test" in succeed(skelepipe, "build-splits")
    succeed(skelepipe, f"pretrain --preset quick --out runs/own --set {' '.join(x.replace(' ', '') for x in TINY)}")
    succeed(skelepipe, "embed runs/own --store processed/own.zarr --out features.npz")
    with np.load("features.npz") as arrays:
        assert arrays["labels"].tolist() == [-1] * 32
    for command in ("inspect", "report processed/own.zarr", "view processed/own.zarr", "verify runs/own"):
        succeed(skelepipe, command)
    done = skelepipe("eval", "runs/own")
    assert done.exit_code == 1
    assert "the split all has no test clips, so nothing can be evaluated" in done.output
    done = skelepipe("build-splits", "--label-fraction", "0.5")
    assert done.exit_code == 1
    assert "no training clip of all has a label" in done.output


def test_an_evaluation_leaves_out_the_clips_without_label(skelepipe: Skelepipe, own: Path) -> None:
    changed = iter(range(100))
    edit_manifest(lambda row: row | {"label": row["label"] if next(changed) % 3 else ""})
    store = json.loads(succeed(skelepipe, "ingest folder own --json"))
    succeed(skelepipe, "build-splits --split xsub --label-fraction 0.5")
    succeed(
        skelepipe,
        f"pretrain --preset quick --split xsub --out runs/own --set {' '.join(x.replace(' ', '') for x in TINY)}",
    )
    shown = succeed(skelepipe, "eval runs/own --protocol knn")
    result = json.loads(succeed(skelepipe, "eval runs/own --protocol knn --json"))["knn"]
    evaluated = result["rows"]["raw coordinates"]
    assert -1 not in evaluated["classes"]
    assert sum(map(sum, evaluated["confusion"])) == evaluated["clips"] == result["lineage"]["split"]["test"]
    split = find_split(Store(Path("processed/own.zarr")), "xsub")
    left_out = len(split.train) + len(split.test) - sum(result["lineage"]["split"][key] for key in ("train", "test"))
    assert left_out == store["unlabelled"] > 0
    assert "test clips have no label and are left out" in shown
    labels = Store(Path("processed/own.zarr")).columns["label"]
    subset = next(Path("processed/splits/own").glob("xsub*0.5*"))
    assert (labels[json.loads(subset.read_text())["rows"]] >= 0).all()


def test_a_column_that_is_nearly_called_label_is_an_error(skelepipe: Skelepipe, own: Path) -> None:
    edit_manifest(lambda row: {"labels" if key == "label" else key: value for key, value in row.items()})
    done = skelepipe("ingest", "folder", "own")
    assert done.exit_code == 2
    assert "manifest.csv: has no column label (did you mean labels?); rename that column" in done.output


def test_validation_uses_labelled_clips_only(shared_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    split = find_split(shared_store, "xsub")
    config = compose_pretrain(load_preset("quick"), None, [*TINY, "validate_every=1"])
    labels = shared_store.columns["label"].copy()
    holdout = split_holdout(shared_store, split, config)
    labels[[holdout.train_rows[0], holdout.held_out_rows[0]]] = -1
    monkeypatch.setitem(shared_store.columns, "label", labels)
    validation = HoldoutValidation(shared_store, split_holdout(shared_store, split, config), config)
    sizes = [len(rows) for rows in validation._sides]
    assert sizes == [len(holdout.train_rows) - 1, len(holdout.held_out_rows) - 1]
    assert validation._classes == len(np.unique(labels[labels >= 0]))
