"""Memory per idle client: many logged-in connections that do nothing."""

from __future__ import annotations

import trio

from benchmarks.machines import DATABASE, PASSWORD, USER, Target, memory_kib
from rdsp.demo.load import LOGINS_AT_ONCE, Tally, log_in


async def per_client(target: Target, clients: int) -> float:
    """KiB of the target's process per idle, logged-in client without TLS. Raises what a login raises."""
    transports = []
    tally = Tally()

    async def one(gate: trio.CapacityLimiter) -> None:
        async with gate:
            transports.append(await log_in(target.port, USER, PASSWORD, DATABASE, tally))

    gate = trio.CapacityLimiter(LOGINS_AT_ONCE)
    transports.append(await log_in(target.port, USER, PASSWORD, DATABASE, tally))
    before = memory_kib(target.pid)
    async with trio.open_nursery() as nursery:
        for _ in range(clients):
            nursery.start_soon(one, gate)
    await trio.sleep(1)
    after = memory_kib(target.pid)
    for transport in transports:
        transport.close()
    return (after - before) / clients
