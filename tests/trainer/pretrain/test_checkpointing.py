"""When a training of 12 steps in 3 epochs is saved: by the clock, after the best, before it ends early, at its end."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.skeleton.layout import KINECT_V2
from trainer.config.presets import compose_pretrain, load_preset
from trainer.pretrain.checkpointing import Checkpointer, NotFinite
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
    """A training's saving after so many steps."""

    def make(done: int = 0, best: dict[str, float] | None = None) -> Checkpointer:
        pair = nn.Linear(2, 1)
        return Checkpointer(run, pair, torch.optim.SGD(pair.parameters(), 0.1), done, best, SECONDS)  # type: ignore[arg-type]

    return make


def saved(run: Run) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in checkpoint.listed(run.checkpoints)]


def test_a_checkpoint_is_written_when_more_than_the_seconds_have_passed_and_after_the_last_step(
    begin: Begin, run: Run, clock: Clock
) -> None:
    saving, when = begin(), {1: 10.0, 2: 10.5, 3: 20.5, 4: 20.6, 5: 20.7, 12: 20.8}
    found = {}
    for step, clock.now in when.items():
        saving.step_done(step, 0, "")
        found[step] = saved(run)
    assert found == {1: [], 2: [2], 3: [2], 4: [2, 4], 5: [2, 4], 12: [4, 12]}
    meta = checkpoint.read_meta(checkpoint.listed(run.checkpoints)[0])
    assert (meta["step"], meta["run"]) == (4, "its run")


def test_the_epoch_of_a_checkpoint_is_that_of_its_last_step(begin: Begin, run: Run, clock: Clock) -> None:
    """Steps 1 to 4 are epoch 0, 5 to 8 are 1, 9 to 12 are 2."""
    saving, epochs = begin(), {}
    for step in range(1, 13):
        clock.now += 11
        saving.step_done(step, 0, "")
        epochs[step] = checkpoint.read_meta(checkpoint.listed(run.checkpoints)[-1])["epoch"]
    assert epochs == {step: (0, 1, 2)[(step - 1) // 4] for step in range(1, 13)}


def test_the_first_of_the_best_is_saved_with_its_step(begin: Begin, run: Run) -> None:
    saving = begin()
    for step, score in ((4, 0.5), (5, 0.5), (8, 0.75), (9, 0.6)):
        saving.scored(step, score)
        saving.step_done(step, 0, "")
        assert saving.best == {
            **({"step": 4, "epoch": 0, "held_out_knn": 0.5} if step < 8 else {}),
            **({"step": 8, "epoch": 1, "held_out_knn": 0.75} if step >= 8 else {}),
        }
    assert saved(run) == [4, 8]
    assert [checkpoint.read_meta(path)["best"]["step"] for path in checkpoint.listed(run.checkpoints)] == [4, 8]


def test_a_best_from_before_is_beaten_by_what_is_better_only(begin: Begin, run: Run) -> None:
    best = {"step": 4, "epoch": 0, "held_out_knn": 0.5}
    saving = begin(done=5, best=best)
    saving.step_done(6, 0, "")
    assert saved(run) == []
    saving.scored(7, 0.4)
    saving.step_done(7, 0, "")
    assert (saving.best, saved(run)) == (best, [])


def test_without_held_out_clips_a_checkpoint_knows_of_no_best(begin: Begin, run: Run) -> None:
    begin().step_done(12, 0, "")
    assert "best" not in checkpoint.read_meta(checkpoint.listed(run.checkpoints)[0])


@pytest.mark.parametrize("seconds", [0.0, 11.0])
def test_a_signal_ends_the_training_once_its_checkpoint_is_written(
    begin: Begin, run: Run, clock: Clock, seconds: float
) -> None:
    """Also when it is time for a checkpoint anyway."""
    saving, clock.now = begin(), seconds
    with pytest.raises(Interrupted) as stopped:
        saving.step_done(11, signal.SIGTERM, "")
    assert str(stopped.value) == (
        f"{run.path}: stopped by SIGTERM at step 11 of 12; the same command goes on from there"
    )
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert saved(run) == [11]


def test_a_signal_after_the_last_step_changes_nothing(begin: Begin, run: Run) -> None:
    begin().step_done(12, signal.SIGINT, "")
    assert saved(run) == [12]


def test_a_signal_that_came_to_another_rank_is_obeyed(begin: Begin, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What rank 1 says is the greatest: twice the signal's number, and one more if it is time to save."""
    monkeypatch.setattr(distributed, "all_reduce_max", lambda said: max(said, 2 * signal.SIGUSR1 + 1))
    with pytest.raises(Interrupted, match="stopped by SIGUSR1 at step 3 of 12"):
        begin().step_done(3, 0, "")
    assert saved(run) == [3]


def test_when_it_is_time_for_another_rank_this_one_saves_and_goes_on(
    begin: Begin, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "all_reduce_max", lambda said: max(said, 1))
    begin().step_done(3, 0, "")
    assert saved(run) == [3]


def test_only_rank_0_writes_and_the_others_wait_for_it(begin: Begin, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[int] = []
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "all_reduce_max", lambda number: said.append(number) or number)
    saving = begin()
    saving.step_done(11, 0, "")
    saving.step_done(12, 0, "")
    assert said == [False, True, 0]  # nothing to do; the end; the wait until it is written
    assert saved(run) == []


def test_the_log_is_on_the_disk_before_the_checkpoint_is(begin: Begin, run: Run) -> None:
    there: list[list[int]] = []

    class Log:
        def sync(self) -> None:
            there.append(saved(run))

    saving = begin()
    saving.log = Log()  # type: ignore[assignment]
    saving.step_done(12, 0, "")
    assert there == [[]]
    assert saved(run) == [12]


def test_a_state_that_is_no_number_is_not_saved_and_names_step_and_batch(begin: Begin, run: Run) -> None:
    saving = begin()
    saving._pair.weight.data[0, 1] = torch.inf
    saving.step_done(3, 0, "of step 2")  # nothing to save, so nobody looks
    with pytest.raises(NotFinite) as told:
        saving.step_done(12, 0, "A, B")
    assert str(told.value) == f"{run.path}: weight is no number any more after step 11; its batch: A, B"
    assert saved(run) == []


def lose(saving: Checkpointer) -> str:
    with pytest.raises(distributed.PeerLost) as told, saving.last_step_kept():
        raise distributed.PeerLost("rank 1 is gone")
    return str(told.value)


def test_when_a_rank_is_lost_the_steps_done_are_kept(begin: Begin, run: Run) -> None:
    saving = begin(done=4)
    saving.step_done(5, 0, "")
    assert lose(saving) == (f"{run.path}: rank 1 is gone; stopped at step 5 of 12; the same command goes on from there")
    assert saved(run) == [5]


def test_when_a_rank_is_lost_nothing_is_written_that_is_there_already(
    begin: Begin, run: Run, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed, later = begin(done=4), begin(done=4)
    clock.now = 11
    later.step_done(5, 0, "")
    monkeypatch.setattr(checkpoint, "save", lambda *_: pytest.fail("it is saved already"))
    lose(resumed)
    lose(later)


def test_when_a_rank_is_lost_the_others_leave_it_to_rank_0(
    begin: Begin, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    saving = begin()
    saving.step_done(5, 0, "")
    monkeypatch.setattr(checkpoint, "save", lambda *_: pytest.fail("rank 0 does that"))
    assert lose(saving) == "rank 1 is gone"
    assert saving._saved == 0
