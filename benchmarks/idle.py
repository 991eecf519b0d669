"""Memory per idle client: many logged-in connections that have asked once and now do nothing.

Measured with a target that was started for it alone: one that has served many clients before takes the memory from
what it kept of them, and nothing is seen.
"""

from __future__ import annotations

import contextlib
import time

import attrs

from benchmarks.cells import Idle
from benchmarks.machine import cpu_seconds, family, memory_kib
from benchmarks.targets import DATABASE, PASSWORD, USER, Target
from benchmarks.wire import connect, query

_SETTLE_SECONDS = 1.0
_SHARED = 50
"""The first clients pay for what all share: backends, caches, buffers."""


@attrs.frozen
class IdleFigures:
    """What was found.

    Attributes:
        kib: memory of the target per client, in KiB.
        login_cpu: CPU of the target per login, in milliseconds.
    """

    kib: float
    login_cpu: float


def measure_idle(target: Target, work: Idle) -> IdleFigures:
    """Log in so many clients, let each ask once, and compare the target's memory with before. Raises `OSError`."""
    with contextlib.ExitStack() as stack:

        def one_more() -> None:
            sock = stack.enter_context(connect(target.port, USER, PASSWORD, DATABASE, tls=work.tls))
            query(sock, "SELECT 1")

        for _ in range(_SHARED):
            one_more()
        pids = family(target.pid)
        cpu, memory = cpu_seconds(pids), memory_kib(pids)
        for _ in range(work.clients):
            one_more()
        time.sleep(_SETTLE_SECONDS)
        return IdleFigures(
            kib=(memory_kib(pids) - memory) / work.clients,
            login_cpu=(cpu_seconds(pids) - cpu) * 1000 / work.clients,
        )
