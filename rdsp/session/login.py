"""What a greeting is told: how it may greet, and the answers to what it asks (`rdsp.session.greeting` drives it)."""

from __future__ import annotations

import os
from collections.abc import Hashable
from typing import Any

import attrs
import trio

from rdsp.net.tls import ServerTls
from rdsp.net.transport import Transport
from rdsp.pool.backend import Backend
from rdsp.pool.facts import KeyFacts
from rdsp.pool.key import PoolKey
from rdsp.session.bell import Bell
from rdsp.session.context import SessionContext
from rdsp_codecs.api import ClientLogin, Offer
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.questions import Admit, Derive, Introduce, PrivateKey, Secrets, Welcome


def offer_to(context: SessionContext, transport: Transport, tls: ServerTls | None, refusal: Problem | None) -> Offer:
    """How a client is greeted.

    Arguments:
        tls: what it is shown in a handshake; None: it is not offered one.
        refusal: what it is told instead, as soon as it has said that it wants to log in.
    """
    settings, open_to_local = context.settings, context.credentials.open_to_local
    if refusal is None and (known := context.offers.get(transport.local)) is not None:
        settings_then, tls_then, open_then, offer = known
        if settings_then is settings and tls_then is tls and open_then is open_to_local:
            return offer
    offer = Offer(
        tls=tls is not None,
        require_tls=settings.require_tls,
        local=transport.local,
        open_to_local=open_to_local,
        entropy=os.urandom,
        mock_salt_key=context.mock_salt_key,
        auth_methods=settings.auth_methods,
        default_database=settings.target.database or "",
        max_login_bytes=settings.limits.max_login_bytes,
        refusal=refusal,
        end_point=tls.end_point if tls is not None else b"",
        fingerprint=tls.fingerprint if tls is not None else b"",
        compression=settings.compression,
        local_files=settings.local_files,
    )
    if refusal is None:
        context.offers[transport.local] = settings, tls, open_to_local, offer
    return offer


def answer_now(context: SessionContext, transport: Transport, number: int, secret: bytes, question: Any) -> Any:
    """Answer a question of the greeting. Returns None when that has to wait: then `answer_later` does it.

    Arguments:
        number, secret: the connection id and cancel secret that the client will be told.

    The client may have entered its pool: at its end, the caller has it `leave`.
    """
    if isinstance(question, Derive):
        return context.deriver.recall(question.password, question.salt, question.iterations)
    if isinstance(question, Secrets):
        return context.credentials.passwords(question.user)
    if isinstance(question, Admit):
        return _admit_now(context, transport, question.login, number, secret)
    if isinstance(question, Introduce):
        said = context.pool.introductions.latest
        return None if said is None else Welcome(said, number, secret)
    if isinstance(question, PrivateKey):
        return context.private_key.latest
    msg = f"an engine asked {question!r}"
    raise TypeError(msg)


async def answer_later(context: SessionContext, number: int, secret: bytes, question: Any) -> Any:
    """Answer what `answer_now` could not. A cancellation leaves the pool's queue."""
    if isinstance(question, Derive):
        return await context.deriver.derive(question.password, question.salt, question.iterations)
    if isinstance(question, Introduce):
        said = await context.pool.introductions.ask()
        return said if isinstance(said, (Problem, bytes)) else Welcome(said, number, secret)
    if isinstance(question, PrivateKey):
        return await context.private_key.get()
    login = question.login
    assert isinstance(login, ClientLogin)
    key = context.pool.facts(key_of(context, login, number)).key
    refusal = await _first_backend(context, key)
    if refusal is not None:
        return refusal
    parameters = context.pool.facts(key).parameters
    assert parameters is not None
    # Others may have come in while this one waited.
    return _too_many(context, number) or Welcome(parameters, number, secret)


def _admit_now(
    context: SessionContext, transport: Transport, login: Any, number: int, secret: bytes
) -> Welcome | Problem | None:
    assert isinstance(login, ClientLogin)
    refusal = _too_many(context, number)
    if refusal is not None:
        return refusal

    def make() -> KeyFacts:
        startup, shared = dict(context.codec.startup(login)), context.codec.shared()
        return KeyFacts(key, login.user, login.database, startup, shared, own=login.own_backend)

    key = key_of(context, login, number)
    facts = context.pool.enter(transport, key, make)
    return None if facts.parameters is None else Welcome(facts.parameters, number, secret)


def too_fast(context: SessionContext) -> Problem | None:
    """Why nobody may begin a login now. Whoever may is counted."""
    limits = context.settings.limits
    # Not when a client was accepted: others may have come in since then, and the rate's clock goes forward.
    if context.rate.admits(context.board.now, limits.max_connections_per_second, limits.connection_burst):
        return None
    return Problem(ProblemCode.TOO_FAST, str(limits.max_connections_per_second))


def _too_many(context: SessionContext, number: int) -> Problem | None:
    """Why no more clients may come in. One that logs in anew has its place already."""
    limit = context.settings.limits.max_client_connections
    if len(context.registry) < limit or number in context.registry:
        return None
    return Problem(ProblemCode.TOO_MANY_CLIENTS, str(limit))


def key_of(context: SessionContext, login: ClientLogin, number: int) -> Hashable:
    """The key of the pool of a client with the connection id `number`."""
    return PoolKey(context.codec.pool_key(login), number if login.own_backend else 0)


class _FirstBackend:
    """Waits for any backend of a pool, only to have the server introduce itself."""

    __slots__ = ("backend", "bell", "refusal")

    def __init__(self, bell: Bell) -> None:
        self.bell = bell
        self.backend: Backend | None = None
        self.refusal: Problem | bytes | None = None

    def granted(self, backend: Backend) -> None:
        self.backend = backend
        self.bell.ring()

    def failed(self, refusal: Problem | bytes) -> None:
        self.refusal = refusal
        self.bell.ring()


async def _first_backend(context: SessionContext, key: Hashable) -> Problem | bytes | None:
    """Have a first backend opened. Returns the refusal when there is none within the borrow timeout, or `_AT_LEAST`.

    A cancellation leaves the queue.
    """
    waiter = _FirstBackend(Bell())
    context.board.refresh()
    context.pool.wait(key, waiter, _AT_LEAST)
    try:
        with trio.move_on_after(max(context.settings.target_group.connection_borrow_timeout, _AT_LEAST)):
            await waiter.bell.wait()
    finally:
        if waiter.backend is not None:
            context.pool.give_back_unused(waiter.backend)
        elif waiter.refusal is None:
            context.pool.left(waiter, key)
    if waiter.backend is not None:
        return None
    refusal = waiter.refusal or Problem(ProblemCode.BORROW_TIMEOUT)
    return attrs.evolve(refusal, fatal=True) if isinstance(refusal, Problem) else refusal


_AT_LEAST = 1.0
"""Seconds that a login waits for its pool's first database connection also where nobody may wait: with a borrow timeout
of 0, or `max_waiters` 0."""
