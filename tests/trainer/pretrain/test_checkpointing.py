"""When a training of 12 steps in 3 epochs is saved: by the clock, after the best, before it ends early, at its end."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.errors import NotFinite
from pipeline.skeleton.layout import KINECT_V2
from trainer.config.presets import compose_pretrain, load_preset
from trainer.pretrain.checkpointing import Checkpointer
from trainer.runs import checkpoint
from trainer.runs.run import Run
from trainer.runtime import distributed
from trainer.runtime.signals import Interrupted

SECONDS = 10.0
Begin = Callable[..., Checkpointer]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("trainer.pretrain.checkpointing.time.perf_counter", made)
    return made


@pytest.fixture
def run(tmp_path: Path) -> Run:
    config = compose_pretrain(load_preset("quick"), None, ["epochs=3"])
    return Run(
        path=tmp_path, preset="quick", config=config, layout=KINECT_V2, lineage={}, total_steps=12, digest="its run"
    )


@pytest.fixture
def begin(run: Run, clock: Clock) -> Begin:
    """A training's checkpointer after so many steps."""

    def make(done: int = 0, best: dict[str, float] | None = None) -> Checkpointer:
        pair = nn.Linear(2, 1)
        return Checkpointer(run, pair, torch.optim.SGD(pair.parameters(), 0.1), done, best, SECONDS)  # type: ignore[arg-type]

    return make


def saved(run: Run) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in checkpoint.list_checkpoints(run.checkpoints)]


def test_a_checkpoint_is_written_after_the_interval_and_after_the_last_step(
    begin: Begin, run: Run, clock: Clock
) -> None:
    checkpointer, when = begin(), {1: 10.0, 2: 10.5, 3: 20.5, 4: 20.6, 5: 20.7, 12: 20.8}
    found = {}
    for step, clock.now in when.items():
        checkpointer.after_step(step, 0, str)
        found[step] = saved(run)
    assert found == {1: [], 2: [2], 3: [2], 4: [2, 4], 5: [2, 4], 12: [4, 12]}
    meta = checkpoint.read_meta(checkpoint.list_checkpoints(run.checkpoints)[0])
    assert (meta["step"], meta["run"]) == (4, "its run")


def test_the_epoch_of_a_checkpoint_is_that_of_its_last_step(begin: Begin, run: Run, clock: Clock) -> None:
    """Steps 1 to 4 are epoch 0, 5 to 8 are 1, 9 to 12 are 2."""
    checkpointer, epochs = begin(), {}
    for step in range(1, 13):
        clock.now += 11
        checkpointer.after_step(step, 0, str)
        epochs[step] = checkpoint.read_meta(checkpoint.list_checkpoints(run.checkpoints)[-1])["epoch"]
    assert epochs == {step: (0, 1, 2)[(step - 1) // 4] for step in range(1, 13)}


def test_a_new_best_is_saved_with_its_step(begin: Begin, run: Run) -> None:
    checkpointer = begin()
    for step, score in ((4, 0.5), (5, 0.5), (8, 0.75), (9, 0.6)):
        checkpointer.record_score(step, score)
        checkpointer.after_step(step, 0, str)
        assert checkpointer.best == {
            **({"step": 4, "epoch": 0, "held_out_knn": 0.5} if step < 8 else {}),
            **({"step": 8, "epoch": 1, "held_out_knn": 0.75} if step >= 8 else {}),
        }
    assert saved(run) == [4, 8]
    assert [checkpoint.read_meta(path)["best"]["step"] for path in checkpoint.list_checkpoints(run.checkpoints)] == [
        4,
        8,
    ]


def test_a_resumed_best_is_replaced_only_by_a_better_score(begin: Begin, run: Run) -> None:
    best = {"step": 4, "epoch": 0, "held_out_knn": 0.5}
    checkpointer = begin(done=5, best=best)
    checkpointer.after_step(6, 0, str)
    assert saved(run) == []
    checkpointer.record_score(7, 0.4)
    checkpointer.after_step(7, 0, str)
    assert (checkpointer.best, saved(run)) == (best, [])


def test_without_validation_no_best_is_recorded(begin: Begin, run: Run) -> None:
    begin().after_step(12, 0, str)
    assert "best" not in checkpoint.read_meta(checkpoint.list_checkpoints(run.checkpoints)[0])


@pytest.mark.parametrize("seconds", [0.0, 11.0])
def test_a_signal_stops_the_training_after_writing_a_checkpoint(
    begin: Begin, run: Run, clock: Clock, seconds: float
) -> None:
    """Also when it is time for a checkpoint anyway."""
    checkpointer, clock.now = begin(), seconds
    with pytest.raises(Interrupted) as stopped:
        checkpointer.after_step(11, signal.SIGTERM, str)
    assert str(stopped.value) == (
        f"{run.path}: stopped by SIGTERM at step 11 of 12; run the same command again to resume"
    )
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert saved(run) == [11]


def test_a_signal_after_the_last_step_is_ignored(begin: Begin, run: Run) -> None:
    begin().after_step(12, signal.SIGINT, str)
    assert saved(run) == [12]


def test_a_signal_on_another_rank_stops_this_one(begin: Begin, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What rank 1 says is the greatest: twice the signal's number, and one more if it is time to save."""
    monkeypatch.setattr(distributed, "all_reduce_max", lambda said: max(said, 2 * signal.SIGUSR1 + 1))
    with pytest.raises(Interrupted, match="stopped by SIGUSR1 at step 3 of 12"):
        begin().after_step(3, 0, str)
    assert saved(run) == [3]


def test_a_checkpoint_due_on_another_rank_is_saved(begin: Begin, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "all_reduce_max", lambda said: max(said, 1))
    begin().after_step(3, 0, str)
    assert saved(run) == [3]


def test_only_rank_0_writes_and_the_others_wait(begin: Begin, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[int] = []
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "all_reduce_max", lambda number: said.append(number) or number)
    checkpointer = begin()
    checkpointer.after_step(11, 0, str)
    checkpointer.after_step(12, 0, str)
    assert said == [False, True, 0]  # nothing to do; the end; the wait until it is written
    assert saved(run) == []


def test_the_log_is_flushed_before_the_checkpoint(begin: Begin, run: Run) -> None:
    there: list[list[int]] = []

    class Log:
        def sync(self) -> None:
            there.append(saved(run))

    checkpointer = begin()
    checkpointer.log = Log()  # type: ignore[assignment]
    checkpointer.after_step(12, 0, str)
    assert there == [[]]
    assert saved(run) == [12]


def test_a_state_that_is_not_finite_is_not_saved(begin: Begin, run: Run) -> None:
    checkpointer = begin()
    checkpointer._pair.weight.data[0, 1] = torch.inf
    checkpointer.after_step(3, 0, lambda: "of step 2")  # nothing to save, so nobody looks
    with pytest.raises(NotFinite) as told:
        checkpointer.after_step(12, 0, lambda: "A, B")
    assert str(told.value) == f"{run.path}: weight is not finite after step 11; samples of its batch: A, B"
    assert saved(run) == []


def lose(checkpointer: Checkpointer) -> str:
    with pytest.raises(distributed.PeerLost) as told, checkpointer.save_if_peer_lost():
        raise distributed.PeerLost("rank 1 is gone")
    return str(told.value)


def test_if_a_rank_is_lost_the_completed_steps_are_saved(begin: Begin, run: Run) -> None:
    checkpointer = begin(done=4)
    checkpointer.after_step(5, 0, str)
    assert lose(checkpointer) == (
        f"{run.path}: rank 1 is gone; stopped at step 5 of 12; run the same command again to resume"
    )
    assert saved(run) == [5]


def test_if_a_rank_is_lost_an_existing_checkpoint_is_not_rewritten(
    begin: Begin, run: Run, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed, later = begin(done=4), begin(done=4)
    clock.now = 11
    later.after_step(5, 0, str)
    monkeypatch.setattr(checkpoint, "save", lambda *_: pytest.fail("it is saved already"))
    lose(resumed)
    lose(later)


def test_if_a_rank_is_lost_only_rank_0_saves(begin: Begin, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    checkpointer = begin()
    checkpointer.after_step(5, 0, str)
    monkeypatch.setattr(checkpoint, "save", lambda *_: pytest.fail("rank 0 does that"))
    assert lose(checkpointer) == "rank 1 is gone"
    assert checkpointer._saved == 0
