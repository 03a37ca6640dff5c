import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import cli
from pipeline.errors import ArtifactError, ConfigError
from pipeline.store.splits import find_split
from pipeline.store.store import Store
from pipeline.store.verify import verify
from trainer.config.presets import compose_pretrain, load_preset
from trainer.data.holdout import HoldoutSplit, split_holdout
from trainer.data.loader import load_clips
from trainer.data.streams import derive_stream
from trainer.evaluation import features
from trainer.evaluation.knn import weighted_knn
from trainer.pretrain import pretrain as pretrain_module
from trainer.pretrain.pretrain import PretrainRequest, pretrain
from trainer.pretrain.step import train_step
from trainer.pretrain.validation import HoldoutValidation
from trainer.runs import checkpoint
from trainer.runs.log import read_log
from trainer.runs.run import LOG_FILE, Run, load_encoder, named_checkpoint

Requests = Callable[..., PretrainRequest]
WATCH = ("validate_every=1", "epochs=4", "learning_rate=0.3")


@pytest.fixture(scope="module")
def watched(train_request: Requests, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return pretrain(train_request(tmp_path_factory.mktemp("watched") / "run", *WATCH)).run


def scores(path: Path) -> dict[int, float]:
    lines = read_log(path / LOG_FILE)
    return {line["step"] + 1: line["held_out_knn"] for line in lines if "held_out_knn" in line}


def test_about_a_fifth_of_the_training_subjects_is_held_out(shared_store: Store) -> None:
    split = find_split(shared_store, "xsub")
    found = split_holdout(shared_store, split, compose_pretrain(load_preset("quick"), None, ["validate_every=5"]))
    subjects = shared_store.columns["subject"]
    kept, held = set(subjects[found.train_rows]), set(subjects[found.held_out_rows])
    assert found.column == "subject"
    assert not kept & held
    assert held == set(found.values)
    assert len(held) == max(1, round(0.2 * len(kept | held)))
    np.testing.assert_array_equal(np.sort(np.concatenate([found.train_rows, found.held_out_rows])), split.train)
    other = split_holdout(
        shared_store, split, compose_pretrain(load_preset("quick"), None, ["validate_every=5", "seed=9"])
    )
    assert other.values == found.values


def test_held_out_groups_can_be_named_and_unknown_ones_are_rejected(shared_store: Store) -> None:
    split = find_split(shared_store, "xview")

    def divided(*settings: str) -> HoldoutSplit:
        return split_holdout(
            shared_store, split, compose_pretrain(load_preset("quick"), None, ["validate_every=1", *settings])
        )

    assert (divided("held_out=[3]").column, divided("held_out=[3]").values) == ("camera", [3])
    with pytest.raises(ConfigError, match="has no effect with validate_every=0"):
        divided("validate_every=0", "held_out=[3]")
    for wrong in ("held_out=[1]", "held_out=[2, 3]", 'held_out=["3", 9]'):
        with pytest.raises(ConfigError, match=r"must be some, not all, of the camera values 2, 3"):
            divided(wrong)


def test_nothing_is_held_out_by_default(shared_run: Run, shared_store: Store) -> None:
    split = find_split(shared_store, "xsub")
    assert split_holdout(shared_store, split, shared_run.config).train_rows is split.train
    assert "held_out" not in shared_run.lineage["split"]
    with pytest.raises(ArtifactError, match="was trained with validate_every=0"):
        named_checkpoint(shared_run, "best")


def test_held_out_clips_are_not_trained_on(
    train_request: Requests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()
    step = train_step

    def noted(*arguments: object) -> object:
        seen.update(arguments[3].tolist())  # type: ignore[attr-defined]
        return step(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pretrain_module, "train_step", noted)
    request = train_request(tmp_path / "run", "validate_every=2", "epochs=6", "batch_size=6")
    run = pretrain(request).run
    found = split_holdout(request.store, request.split, run.config)
    assert seen <= set(found.train_rows.tolist())
    assert run.lineage["split"]["held_out"] == found.to_json()
    assert run.total_steps == 6 * (len(found.train_rows) // 6)


def test_the_score_is_the_knn_accuracy_of_held_out_clips(watched: Run, shared_store: Store) -> None:
    found = split_holdout(shared_store, find_split(shared_store, "xsub"), watched.config)
    encoder, _ = load_encoder(watched, torch.device("cpu"))
    bank, queries = (
        features.extract(
            encoder, derive_stream(load_clips(shared_store, rows, 16, watched.config.bodies), "joint", watched.layout)
        )
        for rows in (found.train_rows, found.held_out_rows)
    )
    labels = torch.from_numpy(shared_store.columns["label"].astype(np.int64))
    said = weighted_knn(bank, labels[found.train_rows], queries, int(labels.max()) + 1).argmax(1)
    expected = 100 * float((said == labels[found.held_out_rows]).double().mean())
    encoder.train()
    assert HoldoutValidation(shared_store, found, watched.config).score(encoder) == pytest.approx(expected, abs=1e-3)
    assert encoder.training
    assert scores(watched.path)[watched.total_steps] == pytest.approx(expected, abs=1e-3)


def test_the_best_checkpoint_is_kept_in_addition_to_the_last_two(watched: Run) -> None:
    found = scores(watched.path)
    assert len(found) == 4
    best = max(found, key=lambda step: (found[step], -step))
    path, meta, _ = named_checkpoint(watched, "best")
    assert path.name == f"step-{best:08d}"
    assert meta["best"] == {"step": best, "epoch": meta["epoch"], "held_out_knn": found[best]}
    assert verify(watched.path).findings == []


def test_validation_only_changes_the_training_rows(train_request: Requests, tmp_path: Path) -> None:
    for name, every in (("often", 1), ("seldom", 4)):
        pretrain(train_request(tmp_path / name, *WATCH, f"validate_every={every}"))
    states = [
        checkpoint.newest_intact(tmp_path / name / "checkpoints")[0] / checkpoint.MODEL for name in ("often", "seldom")
    ]
    assert states[0].read_bytes() == states[1].read_bytes()


def test_eval_and_embed_can_use_the_best_checkpoint(watched: Run, shared_store: Store, tmp_path: Path) -> None:
    run = shutil.copytree(watched.path, tmp_path / "run")
    step = named_checkpoint(watched, "best")[1]["step"]
    shared = ["--store", str(shared_store.path), "--checkpoint", "best", "--device", "cpu", "--json"]
    done = CliRunner().invoke(cli.main, ["embed", str(run), "--out", str(tmp_path / "f.npz"), *shared])
    assert json.loads(done.stdout)["checkpoint"]["step"] == step, done.output
    done = CliRunner().invoke(cli.main, ["eval", str(run), "--protocol", "knn", *shared])
    lineage = json.loads(done.stdout)["knn"]["lineage"]
    assert (lineage["checkpoint"]["which"], lineage["checkpoint"]["step"]) == ("best", step)
    assert lineage["checkpoint"]["held_out_knn"] == scores(watched.path)[step]
    assert [path.name[:9] for path in (run / "eval").glob("*.json")] == ["knn-best-"]
