"""The demo itself: a private database server, the proxy, the load, and then a proxy to try by hand.

`rdsp demo` calls `main`. Whatever happens, short of SIGKILL, nothing is left running and no file is left behind.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import attrs
import trio

from rdsp.app import App, open_app
from rdsp.config.load import from_target
from rdsp.demo.engines import ENGINES, USER, Engine, Server
from rdsp.demo.engines import password as new_password
from rdsp.demo.limits import allow_files, mean_pause
from rdsp.demo.postgres import NotInstalled
from rdsp.demo.show import Moment, Screen, summary
from rdsp.errors import ConfigError, RdspError
from rdsp.observe.events import Observer, SessionEnd
from rdsp_codecs.errors import PluginError

LOAD_SECONDS = 10.0
FAILED, MISSING = 1, 2

_SPARE_CONNECTIONS = 10
"""That the database allows beyond the proxy's: for its own reserve, for counting, and for who wants to look."""
_DRAIN_SECONDS = 5.0
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Troubles(Observer):
    """Keeps what the proxy complained about, for the summary of a demo that failed."""

    def __init__(self) -> None:
        self.texts: dict[str, None] = {}

    def _keep(self, text: str) -> None:
        if len(self.texts) < 10:
            self.texts[text] = None

    def backend_open_failed(self, proxy: str, number: int, text: str, transient: bool) -> None:
        self._keep(f"a database connection could not be opened: {text}")

    def session_ended(self, session: int, end: SessionEnd) -> None:
        if end.blame == "proxy" and end.detail:
            self._keep(f"{end.reason}: {end.detail}")

    def trouble(self, proxy: str, text: str) -> None:
        self._keep(text)


def main(
    duration: float | None,
    clients: int,
    backends: int,
    port: int | None,
    engine: str = "postgres",
    place: str = "",
) -> int:
    """Run the demo.

    Args:
        duration: seconds of load, then end; None: 10 seconds of load, then serve until SIGINT, SIGTERM or SIGHUP.
        clients: client connections, 1..10000.
        backends: database connections at most, 1..1000.
        port: where to listen; None: any free port.
        engine: one of `ENGINES`.
        place: where its server is, see `Engine.server`; "": wherever it usually is.

    Returns the exit status: 0, also after a signal; 1 when any client failed or the demo could not be run; 2 when
    there is no such server to start. A signal during the load ends the load early, and the summary tells so far.
    """
    chosen, password = ENGINES[engine], new_password()
    with _signals_interrupt():
        try:
            server = chosen.server(backends + _SPARE_CONNECTIONS, password, place)
        except NotInstalled as missing:
            _complain(missing)
            return MISSING
        try:
            allow_files()
            print(f"starting {chosen.title}...", flush=True)
            server.start()
            return trio.run(_Demo(engine, chosen, server, password).run, duration, clients, backends, port)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - what is not foreseen is raised again
            return _explain(error)
        finally:
            _ignore_signals()
            server.remove()


def _complain(text: object) -> None:
    print(f"rdsp demo: {text}", file=sys.stderr)


def _explain(error: BaseException) -> int:
    """The exit status for an error, after one line that tells it. What nobody foresaw is raised again."""
    leaves = _leaves(error)
    if all(isinstance(one, KeyboardInterrupt) for one in leaves):
        print("interrupted", flush=True)
        return 0
    if not all(isinstance(one, OSError | RuntimeError | RdspError | ConfigError | PluginError) for one in leaves):
        raise error
    for text in dict.fromkeys(str(one) for one in leaves):
        _complain(text)
    return FAILED


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [error]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Outside the event loop every ending signal is a `KeyboardInterrupt`, so that the server is stopped."""
    before = {number: signal.getsignal(number) for number in _ENDINGS}
    for number in _ENDINGS:
        # Trio minds SIGINT itself, as long as Python's own handler is in place.
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    for number in _ENDINGS:
        signal.signal(number, signal.SIG_IGN)


@attrs.frozen
class _Demo:
    """A server that runs, and who logs in to it.

    Attributes:
        name: of the engine, a key of `ENGINES`.
    """

    name: str
    engine: Engine
    server: Server
    password: str = attrs.field(repr=False)

    async def run(self, duration: float | None, clients: int, backends: int, port: int | None) -> int:
        """The proxy and the load. Returns the exit status."""
        target = f"{self.engine.scheme}://{USER}:{self.password}@127.0.0.1:{self.server.port}/{self.engine.database}"
        config = from_target(target, [f"127.0.0.1:{port or 0}"], backends)
        troubles, hurry = Troubles(), trio.Event()
        with trio.open_signal_receiver(*_ENDINGS) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_heed, signals, hurry, nursery.cancel_scope)
                async with open_app(config, [troubles]) as app:
                    ((_, real_port),) = app.addresses["default"]
                    self._tell(real_port, clients)
                    load = _Load(app, self, real_port, hurry)
                    last = await load.run(clients, duration or LOAD_SECONDS)
                    print(summary(last, self.engine.title), flush=True)
                    status = _verdict(last, backends, troubles)
                    if duration is None and status == 0 and not hurry.is_set():
                        await _serve(app, self.engine.client(real_port, self.password), hurry)
                nursery.cancel_scope.cancel()
                return status
        print("interrupted", flush=True)
        return 0

    def _tell(self, port: int, clients: int) -> None:
        print(
            f"{self.engine.title} on 127.0.0.1:{self.server.port}, the proxy on 127.0.0.1:{port}\n"
            f"{clients} clients; each rests {mean_pause(clients):.2f} s between two transactions, on average",
            flush=True,
        )


async def _heed(signals: AsyncIterator[int], hurry: trio.Event, scope: trio.CancelScope) -> None:
    """The first signal ends what goes on in good order, the second one at once."""
    async for _ in signals:
        if hurry.is_set():
            scope.cancel()
        hurry.set()


def _verdict(load: Mapping[str, Any], backends: int, troubles: Troubles) -> int:
    """The exit status, after lines that tell what went wrong."""
    faults = []
    if not load.get("final"):
        faults.append("the load did not finish")
    if load.get("errors"):
        faults.append(f"first error: {load['first_error']}")
    if load.get("most_backends", 0) > backends:
        faults.append(f"{load['most_backends']} database connections were open; {backends} were allowed")
    if not faults:
        return 0
    for text in [*faults, *(f"the proxy said: {text}" for text in troubles.texts)]:
        print(f"  {text}", flush=True)
    return FAILED


class _Load:
    """The load in a process of its own, and what is shown meanwhile.

    Invariant: the process lives no longer than `run`.
    """

    def __init__(self, app: App, demo: _Demo, port: int, hurry: trio.Event) -> None:
        self._app = app
        self._ports = (str(port), str(demo.server.port))
        self._environment = {
            **os.environ,
            "RDSP_DEMO_ENGINE": demo.name,
            "RDSP_DEMO_USER": USER,
            "RDSP_DEMO_PASSWORD": demo.password,
            "RDSP_DEMO_DATABASE": demo.engine.database,
        }
        self._hurry = hurry

    async def run(self, clients: int, seconds: float) -> Mapping[str, Any]:
        """Returns the last report of the load; `final` is false in it when the process died before its end."""
        command = [sys.executable, "-m", "rdsp.demo.load", *self._ports, str(clients), str(seconds)]
        start = partial(
            trio.run_process,
            command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            check=False,
            # A Ctrl-C is for us: the clients shall end in good order.
            start_new_session=True,
        )
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(start)
            assert process.stdin is not None
            nursery.start_soon(self._hurry_up, process.stdin)
            last = await self._watch(process)
            nursery.cancel_scope.cancel()
        return last

    async def _hurry_up(self, stdin: trio.abc.SendStream) -> None:
        await self._hurry.wait()
        await stdin.aclose()

    async def _watch(self, process: trio.Process) -> Mapping[str, Any]:
        assert process.stdout is not None
        began = then = trio.current_time()
        before, done = self._app.statistics(), 0
        report: dict[str, Any] = {}
        with Screen() as screen:
            async for report in _reports(process.stdout):
                if report["final"]:
                    break
                now, statistics = trio.current_time(), self._app.statistics()
                rate = (report["transactions"] - done) / max(0.001, now - then)
                screen.show(Moment(now - began, statistics.since(before), report, rate))
                then, before, done = now, statistics, report["transactions"]
        await process.wait()
        return report


async def _reports(stream: trio.abc.ReceiveStream) -> AsyncIterator[dict[str, Any]]:
    buffer = b""
    async for chunk in stream:
        buffer += chunk
        *lines, buffer = buffer.split(b"\n")
        for text in lines:
            yield json.loads(text)


async def _serve(app: App, command: str, hurry: trio.Event) -> None:
    print("\nThe proxy keeps serving; Ctrl-C ends it. Try:\n", flush=True)
    print(f"  {command}\n", flush=True)
    await hurry.wait()
    with trio.move_on_after(_DRAIN_SECONDS):
        await app.drain()
