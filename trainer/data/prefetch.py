"""Work that runs ahead of whoever takes it: an iterator drained by a thread of its own."""

import threading
from collections.abc import Generator
from contextlib import closing
from queue import Empty, Full, Queue
from typing import Any, TypeVar

Item = TypeVar("Item")
_END = object()
_POLL = 0.05
"""Seconds after which a thread that waits for room looks whether it is still wanted."""


def prefetch(items: Generator[Item, None, None], depth: int) -> Generator[Item, None, None]:
    """The same items in the same order, up to `depth` of them made before they are asked for.

    What the items raise is raised where they are taken. Closing the iterator ends the thread, and closes `items`.
    """
    made: Queue[Any] = Queue(depth)
    unwanted = threading.Event()

    def put(item: Any) -> bool:
        while not unwanted.is_set():
            try:
                made.put(item, timeout=_POLL)
            except Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            with closing(items):
                for item in items:
                    if not put((item, None)):
                        return
            put(_END)
        except BaseException as error:
            put((None, error))

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while (got := made.get()) is not _END:
            item, error = got
            if error is not None:
                raise error
            yield item
    finally:
        unwanted.set()
        while not made.empty():
            try:
                made.get_nowait()
            except Empty:
                break
        thread.join()
