"""Waiting for what must come true: for a condition, never for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 60.0
"""Seconds until something counts as never: for a machine that is busy with much else. Only a failure takes so long."""


def eventually(claim: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until a claim holds; fails when it does not in time."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


@contextmanager
def asked_again(ask: Callable[[], object], pause: float = 0.1) -> Iterator[None]:
    """Ask, first after `pause` seconds and then again and again, until what is done meanwhile is through.

    For cancel requests: one that overtakes its query does nothing.
    """
    over = threading.Event()
    failed: list[Exception] = []

    def asking() -> None:
        try:
            while not over.wait(pause):
                ask()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=asking)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not failed, failed[0]
