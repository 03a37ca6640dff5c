"""Prefetch: run a generator in a background thread."""

import threading
from collections.abc import Generator
from contextlib import closing
from queue import Empty, Full, Queue
from typing import Any, TypeVar

Item = TypeVar("Item")
_END = object()
_POLL_SECONDS = 0.05
"""Interval at which the thread checks whether the consumer has stopped while the queue is full."""


def prefetch(items: Generator[Item, None, None], depth: int) -> Generator[Item, None, None]:
    """Yield the same items in the same order, producing up to `depth` of them in advance.

    Exceptions of `items` are raised in the consumer. Closing the iterator ends the thread and closes `items`.
    """
    queue: Queue[Any] = Queue(depth)
    stopped = threading.Event()

    def put(item: Any) -> bool:
        while not stopped.is_set():
            try:
                queue.put(item, timeout=_POLL_SECONDS)
            except Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            with closing(items):
                for item in items:
                    if not put((item, None)):
                        return
            put(_END)
        except BaseException as error:
            put((None, error))

    thread = threading.Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    try:
        while (entry := queue.get()) is not _END:
            item, error = entry
            if error is not None:
                raise error
            yield item
    finally:
        stopped.set()
        while not queue.empty():
            try:
                queue.get_nowait()
            except Empty:
                break
        thread.join()
