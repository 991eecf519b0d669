"""The application: builds everything from a configuration, runs it, reloads it and stops it.

The command line and the demo call it; nothing below it knows it.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Final

import attrs
import trio

from rdsp.auth.credentials import Credentials
from rdsp.auth.derive import KeyDeriver
from rdsp.config.addresses import Address
from rdsp.config.diff import Change, compare
from rdsp.config.model import Config, Proxy
from rdsp.endpoint.listener import Endpoint, open_listeners
from rdsp.errors import ConfigError
from rdsp.net.switchboard import Switchboard
from rdsp.net.tls import LOOK_EVERY, Certificates
from rdsp.observe.counters import Counters
from rdsp.observe.dispatch import Observers
from rdsp.observe.logs import LogObserver
from rdsp.observe.statistics import Statistics
from rdsp.pool.book import Book
from rdsp.pool.limits import book_limits
from rdsp.pool.opening import Opener, client_context
from rdsp.pool.pool import Pool
from rdsp.pool.servers import Servers
from rdsp.session.context import SessionContext
from rdsp.session.registry import Registry
from rdsp_codecs.api import Codec, RelayPolicy
from rdsp_codecs.questions import Derive
from rdsp_codecs.registry import find

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LOGINS_FINISH: Final = 2.0
"""Seconds that a drain waits for logins, when no session is left."""
_LOOK: Final = 0.05


@attrs.define(eq=False)
class RunningProxy:
    """One proxy of the configuration, in service."""

    context: SessionContext
    endpoint: Endpoint
    pool: Pool
    servers: Servers


class App:
    """All proxies of one process.

    Invariant: everything runs inside `open_app`'s nursery; when that is left, every socket is closed.
    """

    def __init__(self, config: Config, observers: Observers) -> None:
        self.config = config
        self.observers = observers
        self.proxies: dict[str, RunningProxy] = {}

    @property
    def addresses(self) -> dict[str, list[tuple[str, int]]]:
        """Where each proxy listens, by its name."""
        return {name: proxy.endpoint.addresses for name, proxy in self.proxies.items()}

    def statistics(self) -> Statistics:
        """A snapshot over all proxies."""
        total = Statistics()
        for proxy in self.proxies.values():
            total += proxy.context.counters.snapshot(
                clients=len(proxy.context.registry), book=proxy.pool.book.statistics()
            )
        return total

    async def drain(self) -> None:
        """Let nobody new in, end idle sessions in the engine's own words, and wait for the others within the limit.

        Returns when all sessions have ended or the longest `drain_timeout` is over.
        """
        limit = max((p.context.settings.limits.drain_timeout for p in self.proxies.values()), default=0.0)
        with trio.move_on_after(limit):
            async with trio.open_nursery() as nursery:
                for proxy in self.proxies.values():
                    nursery.start_soon(self._drain_one, proxy)

    async def cancel_the_rest(self) -> None:
        """Have the servers cancel what still runs behind a drain: nobody will read what it comes to.

        A server does not look for its client before it has something to say. Returns within seconds; raises nothing.
        """
        async with trio.open_nursery() as nursery:
            for proxy in self.proxies.values():
                nursery.start_soon(proxy.pool.cancel_the_rest)

    async def _drain_one(self, proxy: RunningProxy) -> None:
        self.observers.draining(proxy.context.settings.name)
        proxy.endpoint.stop_accepting()
        # Who is in the middle of its login comes in first, and is then told like the others; but who has not even said
        # its name, and may never do so, cannot be told from that.
        patience = trio.current_time() + _LOGINS_FINISH
        registry, counters = proxy.context.registry, proxy.context.counters
        while len(registry) or (counters.logins and trio.current_time() < patience):
            for session in registry:
                session.stop()
            await trio.sleep(_LOOK)
        proxy.pool.drain()

    def reload(self, config: Config) -> list[Change]:
        """Take over what can be taken over from a new configuration. Returns every difference with its reload class.

        Raises `OSError` for a certificate that cannot be used; then nothing is taken over.
        """
        changes = compare(self.config, config)
        by_name = {proxy.name: proxy for proxy in config.proxies}
        going_on = [(running, by_name[name]) for name, running in self.proxies.items() if name in by_name]
        # Files that cannot be used leave everything as it was.
        ready = [running.context.certificates.prepare(settings.tls) for running, settings in going_on]
        for (running, settings), tls in zip(going_on, ready, strict=True):
            running.context.certificates.use(tls)
            self._reload_one(running, settings)
        self.config = config
        self.observers.reloaded(changes)
        return changes

    def _reload_one(self, running: RunningProxy, settings: Proxy) -> None:
        context = running.context
        context.settings = attrs.evolve(
            settings, listen=context.settings.listen, engine=context.settings.engine, target=context.settings.target
        )
        context.policy = relay_policy(settings)
        context.credentials.update(settings)
        running.servers.tcp = settings.target_tcp
        running.pool.reconfigure(settings.target_group)
        for session in context.registry:
            session.settings_changed()


def relay_policy(settings: Proxy) -> RelayPolicy:
    """What relays need of the configuration."""
    return RelayPolicy(
        max_frame=settings.limits.max_frame_bytes,
        max_held=settings.limits.max_held_bytes,
        max_prepared_statements=settings.target_group.max_prepared_statements,
        max_session_statements=settings.limits.max_session_statements,
        strict=settings.target_group.strict_session_state,
        pin_sequences=settings.target_group.pin_sequences,
        init_query=settings.target_group.init_query,
        debug_text=settings.debug_logging,
        pinning_filters=frozenset(settings.target_group.session_pinning_filters),
    )


def _opener(settings: Proxy, codec: Codec, credentials: Credentials, deriver: KeyDeriver, servers: Servers) -> Opener:
    target = settings.target

    async def answer(question: object) -> bytes:
        assert isinstance(question, Derive)
        return await deriver.derive(question.password, question.salt, question.iterations)

    return Opener(
        codec=codec,
        places=servers,
        tls=target.tls,
        context=client_context(target, codec.features.alpn),
        passwords_of=credentials.passwords,
        answer=answer,
        init_query=settings.target_group.init_query,
        direct_tls=target.tls_negotiation == "direct",
        channel_binding=target.channel_binding,
        max_protocol_version=target.max_protocol_version,
        compression="" if target.compression == "off" else target.compression,
        writable=target.target_session_attrs == "read-write",
    )


def _build(
    settings: Proxy, board: Switchboard, observers: Observers, deriver: KeyDeriver
) -> tuple[SessionContext, Servers]:
    """Everything of one proxy but its listeners. Raises `ConfigError` for what the files it names cannot give."""
    codec = find(settings.engine)
    credentials = Credentials(settings, report=partial(observers.trouble, settings.name))
    counters = Counters()
    servers = Servers(settings.target, codec.default_port, codec.features.socket_file, settings.target_tcp)
    try:
        certificates = Certificates(
            settings.tls,
            codec.features.alpn,
            renewed=partial(observers.certificate_renewed, settings.name),
            report=partial(observers.trouble, settings.name),
        )
        opener = _opener(settings, codec, credentials, deriver, servers)
    except OSError as error:
        raise ConfigError([f"proxies[{settings.name}].tls: {error}"]) from error
    pool = Pool(
        settings.name,
        settings.target_group,
        Book(book_limits(settings.target_group, None)),
        opener,
        board,
        observers,
        counters,
        connect_timeout=settings.target.connect_timeout,
        abandon_timeout=settings.limits.abandoned_query_timeout,
    )
    context = SessionContext(
        settings=settings,
        codec=codec,
        pool=pool,
        board=board,
        observers=observers,
        counters=counters,
        registry=Registry(),
        credentials=credentials,
        deriver=deriver,
        certificates=certificates,
        mock_salt_key=os.urandom(32),
        policy=relay_policy(settings),
    )
    return context, servers


async def _follow(certificates: Certificates) -> None:
    while True:
        await trio.sleep(LOOK_EVERY)
        certificates.look()


@asynccontextmanager
async def open_app(config: Config, observers: Sequence[object] = ()) -> AsyncIterator[App]:
    """Run all proxies of a configuration inside the `async with` block.

    Raises `ConfigError`, `PluginError`, `OSError` (an address that cannot be listened on) before anything serves.
    Leaving the block ends every session at once; call `App.drain` first to end them gently.
    """
    app = App(config, Observers(observers))
    board = Switchboard()
    deriver = KeyDeriver()
    built = [_build(settings, board, app.observers, deriver) for settings in config.proxies]
    try:
        async with trio.open_nursery() as nursery:
            for context, servers in built:
                endpoint = Endpoint(context, await open_listeners(context.settings, context.codec.features.socket_file))
                app.proxies[context.settings.name] = RunningProxy(context, endpoint, context.pool, servers)
            nursery.start_soon(board.run)
            for proxy in app.proxies.values():
                await nursery.start(proxy.pool.run)
                context = proxy.context
                nursery.start_soon(context.ears.run)
                await nursery.start(context.errands.run)
                nursery.start_soon(context.credentials.work_ahead, context.deriver.derive, context.mock_salt_key)
                nursery.start_soon(_follow, context.certificates)
                nursery.start_soon(proxy.endpoint.run)
                for host, port in proxy.endpoint.addresses:
                    app.observers.ready(
                        context.settings.name,
                        str(Address(host, port)),
                        context.codec.name,
                        context.settings.target.shown,
                    )
            yield app
            nursery.cancel_scope.cancel()
    finally:
        for proxy in app.proxies.values():
            proxy.endpoint.close()
        board.close()


async def main(
    config: Config,
    *,
    reload: Callable[[], Config] | None = None,
    observers: Sequence[object] = (),
) -> int:
    """Serve until SIGTERM or SIGINT, then drain; SIGHUP reloads. Returns the exit status: 0.

    A second SIGTERM or SIGINT ends the drain. Further ones change nothing, also after the return: the process is to
    end with its exit status. Raises what `open_app` raises.
    """
    with _ignored_at_last(*_SIGNALS), trio.open_signal_receiver(*_SIGNALS) as signals:
        async with open_app(config, [LogObserver(config.logging), *observers]) as app:
            gc.collect()
            gc.freeze()
            async for number in signals:
                if number == signal.SIGHUP:
                    _reload(app, reload)
                    continue
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(partial(_cut_short, signals, nursery.cancel_scope))
                    await app.drain()
                    nursery.cancel_scope.cancel()
                await app.cancel_the_rest()
                break
    return 0


@contextmanager
def _ignored_at_last(*numbers: signal.Signals) -> Iterator[None]:
    """A signal that comes when the block is left, or after it, is ignored; not when it is left by an exception."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    except BaseException:
        for number, handler in before.items():
            signal.signal(number, handler)
        raise


async def _cut_short(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for number in signals:
        if number != signal.SIGHUP:
            scope.cancel()


def _reload(app: App, reload: Callable[[], Config] | None) -> None:
    if reload is None:
        app.observers.reload_failed("there is no configuration file to read again")
        return
    try:
        app.reload(reload())
    except (ConfigError, OSError) as error:
        app.observers.reload_failed(str(error))
