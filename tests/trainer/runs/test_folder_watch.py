"""A training notices that its run folder was removed, moved or replaced, and recreates no part of it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import OutputFailed
from trainer.pretrain import pretrain as pretrain_module
from trainer.pretrain.pretrain import PretrainProgress, PretrainRequest, pretrain
from trainer.runs.folder_watch import watch_folder
from trainer.runs.run import RESULTS_FOLDER, RUN_FILE, Run, load_run, sole_evaluation


@pytest.fixture
def run(shared_run: Run, tmp_path: Path) -> Run:
    """Return a run that the test may change."""
    shutil.copytree(shared_run.path, tmp_path / "run")
    return load_run(tmp_path / "run")


def replace_by_copy(path: Path) -> None:
    path.rename(path.with_name("moved"))
    shutil.copytree(path.with_name("moved"), path)


def replace_run_file(path: Path) -> None:
    (path / RUN_FILE).write_text("{}")


REMOVALS = [
    shutil.rmtree,
    lambda path: path.rename(path.with_name("moved")),
    lambda path: (path / RUN_FILE).unlink(),
    replace_by_copy,
    replace_run_file,
]


@pytest.mark.parametrize(
    "remove", REMOVALS, ids=["removed", "moved", "without run.json", "replaced", "another run.json"]
)
def test_a_folder_that_was_removed_moved_or_replaced_is_noticed(run: Run, remove: Callable[[Path], None]) -> None:
    with watch_folder(run) as watch:
        watch.require_unchanged()
        remove(run.path)
        with pytest.raises(OutputFailed, match="during the training"):
            watch.require_unchanged()


def test_a_run_json_with_the_same_content_is_the_same_run(run: Run) -> None:
    with watch_folder(run) as watch:
        content = (run.path / RUN_FILE).read_bytes()
        (run.path / RUN_FILE).unlink()
        (run.path / RUN_FILE).write_bytes(content)
        watch.require_unchanged()


def test_a_folder_that_is_gone_before_the_training_is_an_error(run: Run) -> None:
    shutil.rmtree(run.path)
    with pytest.raises(OutputFailed, match="was removed or moved"), watch_folder(run):
        pass


@pytest.mark.parametrize("seconds", [0.0, 120.0], ids=["with checkpoints", "without checkpoints"])
def test_a_training_whose_folder_is_removed_stops_and_recreates_nothing(
    train_request: Callable[..., PretrainRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(pretrain_module, "CHECKPOINT_SECONDS", seconds)
    seen = []

    def remove(state: PretrainProgress) -> None:
        seen.append(state.step)
        if state.step == 2:
            shutil.rmtree(tmp_path / "run")

    with pytest.raises(OutputFailed) as caught:
        pretrain(train_request(tmp_path / "run"), remove)
    assert (seen, caught.value.exit_code) == ([1, 2], 5)
    assert not (tmp_path / "run").exists()


def test_a_log_that_was_removed_stops_the_training_at_the_next_checkpoint(
    train_request: Callable[..., PretrainRequest], tmp_path: Path
) -> None:
    def remove(state: PretrainProgress) -> None:
        (tmp_path / "run" / "log.jsonl").unlink(missing_ok=True)

    with pytest.raises(OutputFailed, match=r"log\.jsonl: was removed or replaced"):
        pretrain(train_request(tmp_path / "run"), remove)


def test_results_of_a_run_that_was_removed_are_not_saved(run: Run) -> None:
    shutil.rmtree(run.path)
    with pytest.raises(OutputFailed, match="its results were not saved"), sole_evaluation(run):
        pass
    assert not (run.path / RESULTS_FOLDER).exists()
