"""Trainings of two processes: who writes, how they stop together, and what is left when one is lost."""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.files.locks import sole_writer
from pipeline.store.store import Store
from pipeline.store.verify import verify
from tests.conftest import TINY
from tests.support import rank_processes
from trainer.data import residency
from trainer.data.loader import load_clips
from trainer.pretrain.pretrain import PretrainProgress, PretrainRequest, pretrain
from trainer.runs import checkpoint
from trainer.runs.log import read_log
from trainer.runtime.signals import Interrupted

pytestmark = pytest.mark.slow
Ended = list[tuple[int, str, str]]


def command(store: Store, output: Path, event: str, *settings: str) -> list[object]:
    return [rank_processes.ROOT / "tests" / "support" / "rank_fit.py", store.path, output, event, *TINY, *settings]


def fitted(store: Store, output: Path, event: str, *settings: str, count: int = 2) -> Ended:
    with rank_processes.started(count, command(store, output, event, *settings)) as processes:
        return rank_processes.ended(processes, 100)


@pytest.fixture(scope="module", autouse=True)
def in_double() -> Iterator[None]:
    """Let the trainings of this process be in float64 too, as those of `rank_fit.py` are."""
    load = load_clips
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(residency, "load_clips", lambda *arguments: load(*arguments).double())
        torch.set_default_dtype(torch.float64)
        yield
        torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def alone(train_request: Callable[..., PretrainRequest], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process that was never stopped."""
    return pretrain(train_request(tmp_path_factory.mktemp("alone") / "run")).run.path


@pytest.fixture(scope="module")
def stopped(shared_store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """The run of two processes of which one got a signal in its fourth step, and what they said."""
    output = tmp_path_factory.mktemp("stopped") / "run"
    return output, fitted(shared_store, output, "SIGTERM@3")


def tensors(run: Path) -> dict[str, torch.Tensor]:
    newest, _ = checkpoint.newest_intact(run / "checkpoints")
    return load_file(newest / checkpoint.MODEL) | load_file(newest / checkpoint.OPTIMISER)


def assert_close(found: Path, expected: Path) -> None:
    """Two trainings differ by no more than the order of their sums."""
    ours, theirs = tensors(found), tensors(expected)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-6, atol=1e-8, msg=lambda text, n=name: f"{n}: {text}")
    logs = [[line["total"] for line in read_log(run / "log.jsonl")] for run in (found, expected)]
    assert logs[0] == pytest.approx(logs[1], rel=1e-6)


@pytest.mark.slow
def test_two_processes_give_the_same_run_as_one_and_only_rank_0_writes(
    shared_store: Store, alone: Path, tmp_path: Path
) -> None:
    (code, said, errors), (other, nothing, silence) = fitted(shared_store, tmp_path / "run", "none")
    assert (code, other) == (0, 0), errors + silence
    assert said.split()[-7:] == ["1", "2", "3", "4", "5", "6", "trained"]
    assert nothing.split()[-1:] == ["trained"]
    assert verify(tmp_path / "run").findings == []
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoints", "log.jsonl", "run.json"]
    assert_close(tmp_path / "run", alone)


def test_a_signal_to_one_process_stops_all_and_one_process_can_resume(
    stopped: tuple[Path, Ended], alone: Path, train_request: Callable[..., PretrainRequest], tmp_path: Path
) -> None:
    output, ((code, _, errors), (other, _, silence)) = stopped
    assert (code, other) == (143, 143), errors + silence
    assert "stopped by SIGTERM at step 4 of 6; run the same command again to resume" in errors
    assert not [line for line in silence.splitlines() if line.startswith("Error")]
    shutil.copytree(output, tmp_path / "run")
    report = pretrain(train_request(tmp_path / "run"))
    assert (report.outcome, report.steps) == ("resumed", 2)
    assert_close(tmp_path / "run", alone)


@pytest.mark.thorough
def test_two_processes_resume_a_run_of_one(
    shared_store: Store, alone: Path, train_request: Callable[..., PretrainRequest], tmp_path: Path
) -> None:
    def stop(tick: PretrainProgress) -> None:
        if tick.step == 2:
            signal.raise_signal(signal.SIGUSR1)

    with pytest.raises(Interrupted):
        pretrain(train_request(tmp_path / "run"), stop)
    (code, said, errors), (other, _, _) = fitted(shared_store, tmp_path / "run", "none")
    assert (code, other) == (0, 0), errors
    assert said.split()[-5:] == ["3", "4", "5", "6", "resumed"]
    assert_close(tmp_path / "run", alone)


@pytest.mark.parametrize("event", ["SIGKILL@4", pytest.param("stuck@4", marks=pytest.mark.thorough)])
@pytest.mark.slow
def test_a_lost_process_stops_the_others_and_the_last_complete_step_is_saved(
    event: str, shared_store: Store, stopped: tuple[Path, Ended], tmp_path: Path
) -> None:
    with rank_processes.started(2, command(shared_store, tmp_path / "run", event)) as processes:
        _, errors = processes[0].communicate(timeout=120)
        assert processes[0].returncode == 1, errors
    lines = [line for line in errors.splitlines() if line.startswith("Error")]
    assert len(lines) == 1
    assert "rank 0: another process has died or does not answer (" in lines[0]
    assert "stopped at step 4 of 6; run the same command again to resume" in lines[0]
    assert [path.name for path in checkpoint.list_checkpoints(tmp_path / "run" / "checkpoints")] == ["step-00000004"]
    # What the lost step had moved (the key encoder, batch-norm statistics) is taken back.
    found, expected = tensors(tmp_path / "run"), tensors(stopped[0])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert read_log(tmp_path / "run" / "log.jsonl")[-1]["step"] == 3


@pytest.mark.thorough
def test_a_loss_that_is_not_finite_stops_all_processes(shared_store: Store, tmp_path: Path) -> None:
    (code, _, errors), (other, _, silence) = fitted(shared_store, tmp_path / "run", "none", "learning_rate=1e30")
    assert (code, other) == (1, 1)
    assert "; samples of its batch: S" in errors
    assert not [line for line in silence.splitlines() if line.startswith("Error")]


@pytest.mark.slow
def test_what_rank_0_refuses_ends_the_others_without_a_word(shared_store: Store, tmp_path: Path) -> None:
    with sole_writer(tmp_path / "run"):
        (code, _, errors), (other, _, silence) = fitted(shared_store, tmp_path / "run", "none")
    assert (code, other) == (6, 6), errors
    assert "another process is writing it" in errors
    assert not [line for line in silence.splitlines() if line.startswith("Error")]
