"""Signals that ask a training to stop: noted when they come, obeyed after the step in hand."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.errors import SkelepipeError

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C, a batch scheduler's end of time, and its warning before that."""


class Interrupted(SkelepipeError):
    """A signal stopped the run; a checkpoint was written and the same command goes on from it."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class StopFlag:
    """The signal that has come, if any."""

    def __init__(self) -> None:
        self.number: int | None = None


@contextmanager
def catch_stop_signals() -> Iterator[StopFlag]:
    """Collect stopping signals in a flag instead of dying of them; the former handlers come back at the end."""
    flag = StopFlag()

    def note(number: int, _: FrameType | None) -> None:
        flag.number = number

    former = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    try:
        yield flag
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
