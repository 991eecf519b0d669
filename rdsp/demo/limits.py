"""How much the demo asks of this machine. Demo and load both look here, so that one tells what the other does."""

from __future__ import annotations

import resource
from typing import Final

RATE: Final = 1500
"""Transactions per second that all clients together ask for: what two busy cores can do, so that most of what the demo
shows is how connections are shared and not how a full queue behaves."""


def allow_files() -> None:
    """Raise this process's limit on open files as far as it may be: every connection needs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def mean_pause(clients: int) -> float:
    """Seconds that each of so many clients rests between two transactions, on average."""
    return clients / RATE
