"""Stop signals (Ctrl-C, SIGTERM, SIGUSR1): recorded when they arrive, handled after the current training step."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.errors import SkelepipeError

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C, the end of a batch job's time limit, and the scheduler's warning before it."""


class Interrupted(SkelepipeError):
    """A signal stopped the training. A checkpoint was written; the same command resumes from it."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class StopFlag:
    """The number of the signal that has arrived, or None."""

    def __init__(self) -> None:
        self.number: int | None = None


@contextmanager
def catch_stop_signals() -> Iterator[StopFlag]:
    """Record stop signals in a flag instead of being killed by them; restore the previous handlers at the end.

    The first Ctrl-C is acknowledged on stderr, a second one raises KeyboardInterrupt.

    Only the main thread can receive signals: in any other thread the flag stays empty.
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def record(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and flag.number == number:
            raise KeyboardInterrupt
        flag.number = number
        if number == signal.SIGINT:
            # Not print: the signal may have interrupted one.
            os.write(2, b"\nstopping after this step; press Ctrl-C again to stop at once\n")

    previous = {number: signal.signal(number, record) for number in STOP_SIGNALS}
    try:
        yield flag
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
