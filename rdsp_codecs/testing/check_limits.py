"""Memory: what one session may make the proxy hold."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from rdsp_codecs import moves
from rdsp_codecs.api import Codec, RelayPolicy
from rdsp_codecs.errors import CodecError, FrameTooBig, WireError
from rdsp_codecs.steps import Ask, HasUnread, Receive, StartTls
from rdsp_codecs.testing.logins import answerer, how, log_in, offer
from rdsp_codecs.testing.pool import ANSWERS, STUCK, Pool, Step
from rdsp_codecs.testing.wire import Wire

_HELD: Final = 32 << 10
_POLICY: Final = RelayPolicy(max_held=_HELD, max_owed=64)
_CHUNK: Final = 16 << 10
_FED: Final = 3 << 20
_MOST: Final = 512 << 10
"""A session may hold `max_held` and a chunk or two; a login or a server's line as much as there is need of."""
_FILLERS: Final = (b"a", b"\0", b"\1", b"\xff", b"\n", b" ")


def memory(codec: Codec, wire: Wire) -> None:
    """Whatever is said to it, and however much, a session holds little: over a limit it stops reading, or raises."""
    for data in (wire.begin, wire.long_request(200), wire.long_request(_FED), *(each * _CHUNK for each in _FILLERS)):
        for lent in (True, False):
            _stays_small(
                _client_says(codec, wire, data, lent=lent), f"a client that says {data[:40]!r} again and again"
            )
    for filler in _FILLERS:
        _stays_small(_server_says(codec, wire, filler * _CHUNK), f"a server that says {filler!r} again and again")
        taken = _door(codec, wire, filler)
        assert taken <= _MOST, f"before a login {taken} bytes of {filler!r} were taken"

    @settings(deadline=None)
    @given(
        parts=st.lists(
            st.tuples(
                st.sampled_from("AB"),
                st.one_of(st.sampled_from([1, 900, 5000, 12000]).map(wire.long_request), wire.requests),
                st.booleans(),
            ),
            min_size=1,
            max_size=6,
        ),
        seed=st.integers(0, 1 << 16),
        max_held=st.sampled_from([100, 1000, 4000, 20000]),
    )
    def long_ones_pass(parts: list[tuple[str, bytes, bool]], seed: int, max_held: int) -> None:
        pool = Pool(codec, wire, seed, (ANSWERS, STUCK), policy=RelayPolicy(max_held=max_held))
        try:
            pool.runs([Step(*part) for part in parts])
        except FrameTooBig:
            return

    long_ones_pass()


def _stays_small(feed: Callable[[], int], who: str) -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        fed = feed()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown <= _MOST, f"{who} made the session hold {grown} bytes; {fed} were taken"


def _client_says(codec: Codec, wire: Wire, data: bytes, *, lent: bool) -> Callable[[], int]:
    """A client that waits for nothing, and a server that is silent, or not there."""
    who, state, _ = log_in(codec, wire)
    relay = codec.relay(who, _POLICY, codec.shared())
    chunk = data * (_CHUNK // len(data)) if len(data) < _CHUNK else data[:_CHUNK]
    has = [not lent]

    def feed() -> int:
        fed = 0
        try:
            while fed < _FED and not relay.holds_too_much:
                signals = relay.from_client(chunk)
                fed += len(chunk)
                while signals & moves.MORE or (signals & moves.WANT_BACKEND and not has[0]):
                    if signals & moves.MORE:
                        signals = signals & moves.WANT_BACKEND | relay.go_on()
                    else:
                        has[0] = True
                        signals = relay.attached(state)
                    relay.to_server.clear()
                relay.to_server.clear()
                relay.to_client.clear()
                if signals & (moves.BYE | moves.FATAL):
                    break
        except WireError:
            pass
        return fed

    feed.relay = relay  # type: ignore[attr-defined]  # it lives as long as what is measured
    return feed


def _server_says(codec: Codec, wire: Wire, chunk: bytes) -> Callable[[], int]:
    """A server that answers a request without an end."""
    who, state, _ = log_in(codec, wire)
    relay = codec.relay(who, _POLICY, codec.shared())
    if relay.from_client(wire.begin) & moves.WANT_BACKEND:
        relay.attached(state)

    def feed() -> int:
        fed = 0
        try:
            while fed < _FED:
                signals = relay.from_server(chunk)
                fed += len(chunk)
                while signals & moves.MORE:
                    signals = relay.go_on()
                relay.to_server.clear()
                relay.to_client.clear()
                if signals & moves.FATAL:
                    break
        except WireError:
            pass
        return fed

    feed.relay = relay  # type: ignore[attr-defined]
    return feed


def _door(codec: Codec, wire: Wire, filler: bytes) -> int:
    """How much is read of a stranger, and of a server, that never come to the point."""
    answer, most = answerer(wire), 0
    for conversation in (codec.greet(offer()), codec.login(how(wire, tls="disable"))):
        given: Any = None
        taken = 0
        try:
            for _ in range(_FED):
                if taken >= _FED:
                    break
                step = conversation.send(given)
                given = None
                if isinstance(step, Receive):
                    given = filler * (step.limit or _CHUNK)
                    taken += 0 if step.peek else len(given)
                elif isinstance(step, Ask):
                    given = answer(step.question)
                elif isinstance(step, HasUnread):
                    given = True
                elif isinstance(step, StartTls):
                    break
        except (StopIteration, CodecError):
            pass
        most = max(most, taken)
    return most
