"""What an engine says in words of its own: refusals, good-byes, and what the proxy asks servers for itself."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from rdsp_codecs import moves
from rdsp_codecs.api import Codec
from rdsp_codecs.errors import CodecError, LoginRefused
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.testing.duo import play
from rdsp_codecs.testing.lane import Lane
from rdsp_codecs.testing.logins import answerer, how, log_in
from rdsp_codecs.testing.mutate import MUTATIONS, Mutations, mutated
from rdsp_codecs.testing.pool import Backend, Silence, converse
from rdsp_codecs.testing.wire import Wire
from rdsp_codecs.transaction import Transaction

_SUBJECTS = ("", "app", "a\nb", "a\0b", "'; \\ {} %s", "Übergröße", "x" * 300, "\udcff")
_SEEDS = st.integers(0, 1 << 16)


def refusals(codec: Codec, wire: Wire) -> None:
    """Every problem is one error in the engine's words; whose request gets no server is told so, and served later."""
    answer = answerer(wire)
    for code in ProblemCode:
        for fatal in (True, False):
            for subject in _SUBJECTS:
                words = codec.refuse(Problem(code, subject, fatal))
                told = wire.errors(words)
                assert told == 1, f"{code} about {subject!r} is told as {words!r}: {told} errors"
        relay = Lane(codec, wire, lambda data: [data]).relay
        words = codec.refuse(Problem(code))
        told_last = [relay.refusal(Problem(code))]
        try:
            play(codec.login(how(wire, tls="disable")), [words], answer)
        except LoginRefused as refused:
            told_last += [relay.refusal(refused.raw)] if refused.raw else []
        else:
            msg = f"our own login does not take {words!r} for a refusal"
            raise AssertionError(msg)
        for last in told_last:
            assert wire.errors(last) == 1, f"last words about {code} are {last!r}"

    @settings(deadline=None)
    @given(refused=wire.requests, then=st.lists(st.one_of(wire.requests, st.just(wire.begin)), min_size=1, max_size=3))
    def then_served(refused: bytes, then: list[bytes]) -> None:
        _refused_and_served(codec, wire, refused, then)

    then_served()
    _refused_and_served(codec, wire, wire.begin, [*wire.changes, wire.begin, wire.commit])


def _refused_and_served(codec: Codec, wire: Wire, refused: bytes, then: list[bytes]) -> None:
    lane = Lane(codec, wire, lambda data: [data])
    relay = lane.relay
    signals, times, told = relay.from_client(refused), 0, 0
    while signals & (moves.WANT_BACKEND | moves.MORE):
        if signals & moves.MORE:
            signals = relay.go_on()
            continue
        assert not relay.to_server, "bytes for a server, and the session has none"
        signals = relay.abort(Problem(ProblemCode.BORROW_TIMEOUT, fatal=False))
        words = b"".join(relay.to_client)
        relay.to_client.clear()
        told += wire.errors(words)
        times += 1
        assert told >= times, f"a request was refused without an error: {words!r}"
        assert times <= len(refused), f"{refused!r} is refused again and again"
    relay.to_client.clear()  # it may have needed no server
    assert not relay.in_request(), f"behind the refusal of {refused!r} the relay is still in a request"
    direct = wire.own_server()
    if not times:
        direct.feed(refused)  # it was answered as a server would have
    for request in then:
        got, should = lane.feed(request).to_client, direct.feed(request)
        assert got == should, f"behind the refusal of {refused!r}, {request!r} gets {got!r} instead of {should!r}"


def endings(codec: Codec, wire: Wire) -> None:
    """A good-bye is heard however it is cut, behind a request too, and nothing of it reaches a shared server."""
    bye = codec.goodbye()
    if not bye:
        return  # the protocol has none: clients close

    @settings(deadline=None)
    @given(requests=st.lists(wire.requests, max_size=3), at=st.integers(0, len(bye)))
    def holds(requests: list[bytes], at: int) -> None:
        lane = Lane(codec, wire, lambda data: [data])
        for request in requests:
            lane.feed(request)
        lane.pieces = lambda data: [data[:at], data[at:]]
        before = lane.server.at_rest
        told = lane.feed(bye)
        if before and not lane.relay.pins:
            assert lane.signals & moves.BYE, "a good-bye was not heard"
            assert not told.to_server, f"a good-bye went to the server: {told.to_server!r}"
            assert not told.to_client, f"a good-bye was answered: {told.to_client!r}"

    @settings(deadline=None)
    @given(request=wire.requests)
    def held(request: bytes) -> None:
        relay = Lane(codec, wire, lambda data: [data]).relay
        if relay.from_client(request) & moves.WANT_BACKEND:
            relay.from_client(bye)
            assert relay.holds_goodbye(), f"{request!r} waits for a server, the good-bye behind it is not seen"

    holds()
    held()


def _finds_all_as_it_was(codec: Codec, wire: Wire, backend: Backend, before: object) -> None:
    """A reset may leave all of the session there as it was, or nothing: who comes next then finds what is theirs."""
    if backend.server.session == before:
        return
    lane = Lane(codec, wire, lambda data: [data])
    fresh, lane.server, lane.state = lane.server.session, backend.server, backend.state
    lane.feed(wire.begin)
    found = lane.server.session
    assert found == fresh, f"a server was reset, and the next session has {found!r} there, and should have {fresh!r}"


def upkeep(codec: Codec, wire: Wire) -> None:
    """What the proxy asks idle servers itself works, leaves nothing behind, and takes garbage as `CodecError`."""

    def backend() -> Backend:
        _, state, server = log_in(codec, wire)
        return Backend(server, state)

    @settings(deadline=None)
    @given(requests=st.lists(wire.requests, max_size=3), seed=_SEEDS)
    def holds(requests: list[bytes], seed: int) -> None:
        chance, idle = random.Random(seed), backend()  # noqa: S311 - a test's
        for request in requests:
            idle.server.feed(request)
        if not idle.server.at_rest or idle.server.in_transaction:
            return
        before = idle.server.session
        converse(codec.probe(idle.state), idle, chance)
        assert idle.server.session == before, "a probe has changed the session"
        idle.server.feed(wire.begin)
        assert idle.server.in_transaction, f"{wire.begin!r} opens no transaction: see Wire.begin"
        converse(codec.reset(idle.state, Transaction.OPEN), idle, chance)
        assert not idle.server.in_transaction, "a server was reset, and its transaction is still open"
        assert idle.server.at_rest, "a server was reset, and owes something"
        _finds_all_as_it_was(codec, wire, idle, before)

    @settings(deadline=None)
    @given(mutations=MUTATIONS, seed=_SEEDS)
    def spoilt(mutations: Mutations, seed: int) -> None:
        for name in ("probe", "reset", "max_connections", "is_writable"):
            asked = backend()
            asked.spoil = lambda data: mutated(data, mutations)
            if name == "reset":
                asked.server.feed(wire.begin)
            arguments = (Transaction.OPEN,) if name == "reset" else ()
            chance = random.Random(seed)  # noqa: S311 - a test's
            try:
                converse(getattr(codec, name)(asked.state, *arguments), asked, chance)
            except (CodecError, Silence):
                continue

    holds()
    spoilt()
