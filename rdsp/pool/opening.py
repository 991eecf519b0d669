"""Open a database connection: find a server that serves, connect, TLS, login, `init_query`.

The pool calls it under its own deadline. It never touches the book.
"""

from __future__ import annotations

import math
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import attrs
import trio

from rdsp.config.model import Target
from rdsp.converse import converse, send_all
from rdsp.net.transport import Transport
from rdsp.pool.facts import KeyFacts
from rdsp.pool.member import OpenFailure
from rdsp.pool.servers import Way
from rdsp_codecs.api import BackendLogin, Codec, Introducing
from rdsp_codecs.errors import CodecError, LoginRefused, PeerClosed

_T = TypeVar("_T")


def client_context(target: Target, alpn: str) -> ssl.SSLContext | None:
    """The TLS context for the target's `tls` mode, None for "disable". Raises `OSError` for an unreadable `tls_ca`."""
    if target.tls == "disable":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if alpn:
        context.set_alpn_protocols([alpn])
    context.check_hostname = target.tls == "verify-full"
    if target.tls in ("verify-ca", "verify-full"):
        context.verify_mode = ssl.CERT_REQUIRED
        if target.tls_ca is not None:
            context.load_verify_locations(cafile=target.tls_ca)
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Places(Protocol):
    """Where servers are: see `rdsp.pool.servers.Servers`."""

    async def ways(self) -> Sequence[Way]:
        """Best first, at least one."""

    def failed(self, way: Way, /) -> None:
        """It did not serve."""

    def served(self, way: Way, /) -> None:
        """It did."""

    def failed_lately(self, way: Way, /) -> bool:
        """Whether it did not serve a while ago, and has not since."""


@attrs.frozen
class Opened:
    """A logged-in database connection.

    Attributes:
        state: the codec's `BackendState`.
        way: leads to the same server again.
    """

    transport: Transport
    state: Any
    way: Way


class _NotWritable(Exception):
    """The server takes no writes, and one that does is wanted."""


@attrs.frozen
class Opener:
    """Everything needed to open backends of one target.

    Attributes:
        codec: the target's engine.
        places: where servers are.
        tls: the target's mode; `context` goes with it.
        passwords_of: with which a database user may log in to the server, those to be tried first first.
        answer: answers the conversations' questions (`Derive`).
        init_query: run once on every new backend; "" for none.
        direct_tls, channel_binding, max_protocol_version, compression: see `BackendLogin`.
        writable: take only servers that let clients write.
    """

    codec: Codec
    places: Places
    tls: str
    context: ssl.SSLContext | None
    passwords_of: Callable[[str], tuple[str, ...]]
    answer: Callable[[Any], Awaitable[Any]]
    init_query: str = ""
    direct_tls: bool = False
    channel_binding: str = "prefer"
    max_protocol_version: str = ""
    compression: str = ""
    writable: bool = False
    _right: dict[str, str] = attrs.field(factory=dict, repr=False, init=False)
    """Users to the passwords that a server has taken after it had refused the first."""

    async def open(self, facts: KeyFacts) -> Opened:
        """Log in at the first server that serves, each within its share of the time that is left.

        Raises `OSError` (not reachable), `LoginRefused`, `WireError`, `PeerClosed`. On an error or a cancellation
        the socket is closed. A refusal for a reason that another server need not have is kept to the end.
        """
        return await self._at_the_first(partial(self._open, facts=facts))

    async def _at_the_first(self, of: Callable[[Way], Awaitable[_T]]) -> _T:
        """What is got of the first server that gives it. Raises what `open` does."""
        ways = await self.places.ways()
        troubles: list[str] = []
        refused: LoginRefused | None = None
        for position, way in enumerate(ways):
            left = trio.current_effective_deadline() - trio.current_time()
            # The last one has all that is left, and whoever set the deadline says that it is over.
            share = left / (len(ways) - position) if position < len(ways) - 1 else math.inf
            try:
                with trio.fail_after(share):
                    got = await of(way)
            except trio.TooSlowError:
                troubles.append(f"{way.name}: it took too long")
            except _NotWritable:
                troubles.append(f"{way.name}: it lets nobody write")
            except LoginRefused as error:
                if not error.elsewhere or len(ways) == 1:
                    raise
                refused = error
            except (OSError, PeerClosed) as error:
                if len(ways) == 1:
                    raise
                troubles.append(f"{way.name}: {error}")
            else:
                self.places.served(way)
                return got
            self.places.failed(way)
        if refused is not None:
            raise refused
        raise ConnectionError("; ".join(troubles))

    async def _open(self, way: Way, facts: KeyFacts) -> Opened:
        first, *others = self._passwords(facts.user)
        try:
            return await self._open_with(first, way, facts)
        except LoginRefused as error:
            if not error.password or not others:
                raise
            refused = error
        # While a password is being changed, it is not known which of two the server has by now.
        try:
            opened = await self._open_with(others[0], way, facts)
        except LoginRefused as error:
            raise (refused if error.password else error) from None
        assert others[0] is not None
        self._right[facts.user] = others[0]
        return opened

    def _passwords(self, user: str) -> list[str | None]:
        """At most two, the one to be tried first first; None: there is none, and the server must not ask for one."""
        known: list[str | None] = list(self.passwords_of(user))
        right = self._right.get(user)
        if right in known:
            known.remove(right)
            known.insert(0, right)
        elif right is not None:
            del self._right[user]
        return known[:2] or [None]

    async def _open_with(self, password: str | None, way: Way, facts: KeyFacts) -> Opened:
        transport = await way.connect()
        try:
            state = await self.run(self.codec.login(self._how(way, facts, password)), transport, way)
            if self.writable and not await self.run(self.codec.is_writable(state), transport):
                await self._part(transport)
                raise _NotWritable
            if self.init_query and not facts.own:
                await self.run(self.codec.prepare(state, self.init_query), transport)
        except BaseException:
            transport.close()
            raise
        return Opened(transport, state, way)

    def _how(self, way: Way, facts: KeyFacts, password: str | None) -> BackendLogin:
        return BackendLogin(
            user=facts.user,
            password=password,
            database=facts.database,
            parameters=facts.startup,
            tls=self.tls if way.may_use_tls else "disable",
            entropy=os.urandom,
            direct_tls=self.direct_tls and way.may_use_tls,
            local=not way.may_use_tls,
            channel_binding=self.channel_binding,
            max_protocol_version=self.max_protocol_version,
            compression=self.compression,
        )

    async def introduce(self) -> Mapping[str, str]:
        """What the first server that serves says of itself to somebody whom it does not know.

        Each has its share of the time that is left. Raises what `open` does, and `TypeError` for an engine that is no
        `Introducing`.
        """
        codec = self.codec
        if not isinstance(codec, Introducing):
            msg = f'the engine "{codec.name}" asks how its servers introduce themselves, and has no introduce()'
            raise TypeError(msg)
        return await self._at_the_first(partial(self._introduce, codec))

    async def _introduce(self, codec: Introducing, way: Way) -> Mapping[str, str]:
        transport = await way.connect()
        try:
            said: Mapping[str, str] = await self.run(codec.introduce(), transport)
        finally:
            transport.close()
        return said

    async def _part(self, transport: Transport) -> None:
        try:
            await send_all(transport, self.codec.goodbye())
        except (CodecError, OSError):
            return  # it is closed in any case

    async def run(self, conversation: Any, transport: Transport, way: Way | None = None) -> Any:
        """Drive one conversation on a server's transport; one that may begin TLS needs the `way`."""
        return await converse(
            conversation,
            transport,
            answer=self.answer,
            client_context=self.context,
            hostname=way.hostname if way is not None else None,
        )

    async def cancel(self, state: Any, way: Way, facts: KeyFacts) -> None:
        """Over a connection of its own, cancel what the backend of `state` runs; returns when that is dealt with.

        Arguments:
            way, facts: the backend's own.

        Raises `OSError`, `CodecError`.
        """
        transport = await way.connect()
        try:
            await self.run(
                self.codec.cancel(state, self._how(way, facts, self._passwords(facts.user)[0])), transport, way
            )
        finally:
            transport.close()


def kind_of(refused: LoginRefused) -> OpenFailure:
    """What a server's refusal means for others who wait."""
    if not refused.transient:
        return OpenFailure.DENIED
    return OpenFailure.REFUSED_KEY if refused.own_limit else OpenFailure.REFUSED_BUSY
