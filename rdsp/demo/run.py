"""The demo itself: embedded PostgreSQL, proxy, load, and then a proxy to try by hand."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

import trio

from rdsp.app import App, open_app
from rdsp.config.load import from_target
from rdsp.demo.postgres import NotInstalled, Postgres, embedded
from rdsp.demo.show import Moment, Screen, summary
from rdsp.observe.statistics import Statistics

USER, DATABASE = "demo", "postgres"
LOAD_SECONDS = 8.0


def main(duration: float | None, clients: int, backends: int, port: int | None) -> int:
    """Run the demo.

    Arguments:
        duration: seconds of load, then end; None: 8 seconds of load, then serve until Ctrl-C.
        clients: client connections, 1..10000.
        backends: database connections at most, 1..200.
        port: where to listen; None: any free port.

    Returns the exit status: 0, or 1 when any client failed, or 2 when there is no PostgreSQL to start.
    """
    try:
        server = Postgres(
            embedded(), settings={"max_connections": str(backends + 10)}, superuser=(USER, secrets.token_hex(8))
        )
    except NotInstalled as missing:
        print(f"rdsp demo: {missing}", file=sys.stderr)
        return 2
    status = 0
    try:
        print("starting PostgreSQL...", flush=True)
        server.start()
        status = trio.run(_demo, server, duration, clients, backends, port)
    except* KeyboardInterrupt:
        print("interrupted", flush=True)
    finally:
        server.remove()
    return status


async def _demo(server: Postgres, duration: float | None, clients: int, backends: int, port: int | None) -> int:
    user, password = server.superuser
    target = f"postgresql://{user}:{password}@127.0.0.1:{server.port}/{DATABASE}"
    config = from_target(target, [f"127.0.0.1:{port or 0}"], backends)
    async with open_app(config) as app:
        ((_, real_port),) = app.addresses["default"]
        print(
            f"PostgreSQL on 127.0.0.1:{server.port}, the proxy on 127.0.0.1:{real_port}; {clients} clients", flush=True
        )
        last, most = await _load(app, real_port, clients, duration or LOAD_SECONDS, password)
        print(summary(last, most), flush=True)
        if last.load.get("errors") or not last.load.get("final"):
            print(f"  first error: {last.load.get('first_error') or 'the load did not finish'}", flush=True)
            return 1
        if duration is None:
            await _serve(real_port, password)
            await app.drain()
    return 0


async def _load(app: App, port: int, clients: int, seconds: float, password: str) -> tuple[Moment, int]:
    """Run the load in a process of its own; show what happens. Returns the last moment and the most backends seen."""
    environment = {
        **os.environ,
        "RDSP_DEMO_USER": USER,
        "RDSP_DEMO_PASSWORD": password,
        "RDSP_DEMO_DATABASE": DATABASE,
    }
    command = [sys.executable, "-m", "rdsp.demo.load", str(port), str(clients), str(seconds)]
    last, most = Moment(0.0, Statistics(), {}, 0.0), 0
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(trio.run_process, command, env=environment, stdout=subprocess.PIPE, check=False)
        )
        assert process.stdout is not None
        with Screen() as screen:
            async for report in _reports(process.stdout):
                statistics = app.statistics()
                most = max(most, statistics.backends)
                last = _moment(trio.current_time() - began, statistics, report, last)
                screen.show(last)
    return last, most


async def _reports(stream: trio.abc.ReceiveStream) -> AsyncIterator[dict[str, Any]]:
    buffer = b""
    async for chunk in stream:
        buffer += chunk
        *lines, buffer = buffer.split(b"\n")
        for text in lines:
            yield json.loads(text)


def _moment(seconds: float, statistics: Statistics, report: Mapping[str, Any], last: Moment) -> Moment:
    if report["final"]:
        # The clients have gone: what the proxy shows now is an empty house.
        return Moment(seconds, last.proxy, report, last.rate)
    done = report["transactions"] - last.load.get("transactions", 0)
    return Moment(seconds, statistics, report, done / max(0.001, seconds - last.seconds))


async def _serve(port: int, password: str) -> None:
    print("\nThe proxy keeps serving; Ctrl-C ends it. Try:\n", flush=True)
    print(f"  PGPASSWORD={password} psql -h 127.0.0.1 -p {port} -U {USER} {DATABASE}\n", flush=True)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            return
