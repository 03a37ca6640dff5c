"""When a training saves its state, and that a run which ends early says where: rank 0 writes, all decide alike."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pipeline.errors import SkelepipeError
from trainer.models.momentum_pair import MomentumPair
from trainer.runs import checkpoint
from trainer.runs.log import RunLog
from trainer.runs.run import Run
from trainer.runtime import distributed
from trainer.runtime.signals import Interrupted


class NotFinite(SkelepipeError):
    """The training's state or its loss became NaN or infinite; the text names the batch's samples."""


class Checkpointer:
    """A training's checkpoints.

    Args:
        run: where they go.
        pair: the model.
        optimiser: and its momenta.
        done: steps that are done already.
        best: the best so far on the held-out clips, if there is one: step, epoch, held_out_knn.
        seconds: between two checkpoints.
    """

    def __init__(
        self,
        run: Run,
        pair: MomentumPair,
        optimiser: torch.optim.Optimizer,
        done: int,
        best: dict[str, Any] | None,
        seconds: float,
    ) -> None:
        self.best = best
        self.log: RunLog | None = None
        """Rank 0's, brought to the disk before each checkpoint: what is gone on from has its whole log."""
        self._run, self._pair, self._optimiser, self._seconds = run, pair, optimiser, seconds
        self._done = self._saved = done
        self._when = time.perf_counter()

    def scored(self, done: int, score: float) -> None:
        """Note the accuracy on the held-out clips after `done` steps; the best is saved with that step."""
        if self.best is None or score > self.best["held_out_knn"]:
            self.best = {"step": done, "epoch": self._epoch(done), "held_out_knn": score}

    def step_done(self, done: int, stop: int, batch: str) -> None:
        """Save if it is time, and obey a signal that came to any rank.

        Args:
            done: steps done.
            stop: the signal that has come to this rank, 0 if none.
            batch: names of the last step's samples.

        Raises:
            Interrupted: a signal came; the checkpoint is written.
            NotFinite: the state holds what is no number; nothing is written.
        """
        self._done = done
        is_time = time.perf_counter() - self._when > self._seconds
        is_best = self.best is not None and self.best["step"] == done
        heard = distributed.all_reduce_max(2 * stop + (is_time or is_best or done == self._run.total_steps))
        if heard:
            if broken := checkpoint.not_finite(self._pair, self._optimiser):
                raise NotFinite(
                    f"{self._run.path}: {broken} is no number any more after step {done - 1}; its batch: {batch}"
                )
            self._save()
            distributed.all_reduce_max(0)  # none leaves while rank 0 writes: torchrun ends them all when one has ended
        if heard > 1 and done < self._run.total_steps:
            raise self.interrupted(heard // 2)

    def interrupted(self, number: int) -> Interrupted:
        """What to say when a signal ends the training."""
        return Interrupted(f"{self._run.path}: stopped by {signal.Signals(number).name} {self._where()}", number)

    @contextmanager
    def last_step_kept(self) -> Iterator[None]:
        """When a rank is lost, which takes its step back, write the checkpoint of the steps done before."""
        try:
            yield
        except distributed.PeerLost as error:
            if distributed.rank() > 0:
                raise
            if self._done > self._saved:
                self._save()
            raise distributed.PeerLost(f"{self._run.path}: {error}; stopped {self._where()}") from error

    def _where(self) -> str:
        return f"at step {self._done} of {self._run.total_steps}; the same command goes on from there"

    def _save(self) -> None:
        if distributed.rank() == 0:
            if self.log:
                self.log.sync()
            meta = {"step": self._done, "epoch": self._epoch(self._done), "run": self._run.digest}
            best = {"best": self.best} if self.best else {}
            checkpoint.save(self._run.checkpoints, self._pair, self._optimiser, meta | best)
        self._saved, self._when = self._done, time.perf_counter()

    def _epoch(self, done: int) -> int:
        """The epoch, from 0, of the last of so many steps."""
        return (done - 1) * self._run.config.epochs // self._run.total_steps
