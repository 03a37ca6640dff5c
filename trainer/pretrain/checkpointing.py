"""Decide after each step whether to save a checkpoint or stop, in agreement among all ranks; rank 0 writes."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pipeline.errors import NotFinite
from trainer.models.momentum_pair import MomentumPair
from trainer.runs import checkpoint
from trainer.runs.folder_watch import FolderWatch
from trainer.runs.log import RunLog
from trainer.runs.run import Run
from trainer.runtime import distributed
from trainer.runtime.signals import Interrupted


class Checkpointer:
    """Saves the checkpoints of a training.

    Args:
        run: the run that is trained.
        pair: the model.
        optimiser: its momenta are saved with the model.
        done: steps that are already done.
        best: the best validation result so far, if any: step, epoch, held_out_knn.
        seconds: time between two checkpoints.
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
        """Rank 0's log, flushed to the disk before each checkpoint: a resumed run has the log of all its steps."""
        self.watch: FolderWatch | None = None
        """Rank 0's check that the run folder is still there, made after each step and before each checkpoint."""
        self._run, self._pair, self._optimiser, self._seconds = run, pair, optimiser, seconds
        self._done = self._saved = done
        self._saved_at = time.perf_counter()

    def record_score(self, done: int, score: float) -> None:
        """Record the validation accuracy after `done` steps; if it is the best one, `after_step` saves a checkpoint."""
        if self.best is None or score > self.best["held_out_knn"]:
            self.best = {"step": done, "epoch": self._epoch(done), "held_out_knn": score}

    def after_step(self, done: int, stop_signal: int, batch: Callable[[], str]) -> None:
        """Save a checkpoint if one is due on any rank, and stop if any rank received a signal.

        Args:
            done: steps done.
            stop_signal: number of the signal that this rank received, 0 if none.
            batch: returns the names of the last step's samples, for the message of an error.

        Raises:
            OutputFailed: the run folder was removed, moved or replaced, or the disk reports an error.
            Interrupted: a rank received a signal; the checkpoint is written.
            NotFinite: the state has NaN or infinite values; nothing is written.
        """
        self._done = done
        if self.watch:
            self.watch.require_unchanged()
        is_time = time.perf_counter() - self._saved_at > self._seconds
        is_best = self.best is not None and self.best["step"] == done
        is_last = done == self._run.total_steps
        is_due, stop_signal = _agree(is_time or is_best or is_last, stop_signal)
        if is_due:
            if tensor := checkpoint.find_not_finite(self._pair, self._optimiser):
                raise NotFinite(
                    f"{self._run.path}: {tensor} is not finite after step {done - 1}; samples of its batch: {batch()}"
                )
            self._save()
            distributed.all_reduce_max(0)  # wait for rank 0: torchrun kills all processes as soon as one exits
        if stop_signal and not is_last:
            raise self.interrupted(stop_signal)

    def interrupted(self, number: int) -> Interrupted:
        """The error to raise when a signal ends the training."""
        return Interrupted(f"{self._run.path}: stopped by {signal.Signals(number).name} {self._position()}", number)

    @contextmanager
    def save_if_peer_lost(self) -> Iterator[None]:
        """If another rank is lost, save a checkpoint of the last complete step; the step itself has been undone."""
        try:
            yield
        except distributed.PeerLost as error:
            if distributed.rank() > 0:
                raise
            if self._done > self._saved:
                self._save()
            raise distributed.PeerLost(f"{self._run.path}: {error}; stopped {self._position()}") from error

    def _position(self) -> str:
        return f"at step {self._done} of {self._run.total_steps}; run the same command again to resume"

    def _save(self) -> None:
        if distributed.rank() == 0:
            if self.watch:
                self.watch.require_unchanged()
            if self.log:
                self.log.sync()
            meta = {"step": self._done, "epoch": self._epoch(self._done), "run": self._run.digest}
            best = {"best": self.best} if self.best else {}
            checkpoint.save(self._run.checkpoints, self._pair, self._optimiser, meta | best)
        self._saved, self._saved_at = self._done, time.perf_counter()

    def _epoch(self, done: int) -> int:
        """The epoch, from 0, of the last one of `done` steps."""
        return (done - 1) * self._run.config.epochs // self._run.total_steps


def _agree(is_due: bool, stop_signal: int) -> tuple[bool, int]:
    """Agree among all ranks on whether a checkpoint is due and on the signal to obey (0 if none).

    One all-reduce transfers both, as the number 2 * signal + due. A signal on any rank makes a checkpoint due.
    """
    maximum = distributed.all_reduce_max(2 * stop_signal + is_due)
    return maximum > 0, maximum // 2
