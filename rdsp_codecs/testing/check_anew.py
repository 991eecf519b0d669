"""Another user on a connection that is in already: a login in mid-session (`moves.ANEW`, `Relay.greet_anew`)."""

from __future__ import annotations

import random
import unittest
from collections.abc import Callable
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from rdsp_codecs import moves
from rdsp_codecs.api import BackendLogin, ClientLogin, Codec, RelayPolicy, Turned
from rdsp_codecs.errors import CodecError, LoginRefused
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.questions import Secrets
from rdsp_codecs.relaying import Relay
from rdsp_codecs.steps import RECEIVE, Conversation, Send
from rdsp_codecs.testing.duo import duo, play
from rdsp_codecs.testing.lane import Lane
from rdsp_codecs.testing.logins import answerer, behind, how, log_in, offer
from rdsp_codecs.testing.wire import Wire

_SECRETS: Final = ("another's", "older")
"""Both are valid."""
_SEEDS: Final = st.integers(0, 1 << 16)


class NotShown(unittest.SkipTest):
    """A check has nothing to look at: the engine lacks what it is for. Test runners tell it as skipped."""


def anew(codec: Codec, wire: Wire) -> None:
    """Whoever becomes another user in mid-session proves it as at a login, and is another session in another pool.

    Raises `NotShown` where neither the relay nor the wire knows of such a thing.
    """
    kind = type(codec.relay(log_in(codec, wire)[0], RelayPolicy(), codec.shared()))
    written = any("greet_anew" in vars(each) for each in kind.__mro__[: kind.__mro__.index(Relay)])
    said = type(wire).anew is not Wire.anew
    if not written and not said:
        msg = f"the engine {codec.name!r} has no other user in mid-session"
        raise NotShown(msg)
    assert said, "the relay has greet_anew(), and Wire.anew does not say how a client asks for it"
    assert written, "Wire.anew says how a client becomes another user, and the relay has no greet_anew()"
    _proves(codec, wire)
    _ends_otherwise(codec, wire)
    for pieces in (lambda data: [data], lambda data: [data[at : at + 1] for at in range(len(data))]):
        _waits_for_answers(codec, wire, pieces)


def _other(wire: Wire) -> str:
    return wire.user + "2"


def _answerer(wire: Wire, admitted: Any = None) -> Callable[[Any], Any]:
    usual = answerer(wire, admitted=admitted)

    def answer(question: Any) -> Any:
        if isinstance(question, Secrets) and question.user == _other(wire):
            return _SECRETS
        return usual(question)

    return answer


def _logged_in(codec: Codec, wire: Wire, tls: str) -> tuple[ClientLogin, Any]:
    answer = answerer(wire)
    greeting = behind(codec.greet(offer(open_to_local=True)), wire, wire.server())
    who, state = duo(greeting, codec.login(how(wire, tls=tls)), answer, answer)
    assert isinstance(who, ClientLogin), f"the login before ended in {who!r}"
    return wire.client(who), state


def _changes(
    codec: Codec, wire: Wire, wanted: BackendLogin, tls: str, answer: Any = None, seed: int | None = None, **more: Any
) -> tuple[ClientLogin, Any, Any]:
    """Who it was, and what both sides come to."""
    who, state = _logged_in(codec, wire, tls)
    relay = codec.relay(who, RelayPolicy(), codec.shared())
    chance = random.Random(seed)  # noqa: S311 - a test's

    def until_it_asks() -> Conversation[Any]:
        """The relay reads what the client says, and the runtime then drives what it makes."""
        signals = moves.NOTHING
        while not signals:
            signals = relay.from_client((yield RECEIVE))
        assert signals == moves.ANEW, f"a wish to be another user is told as {signals}"
        assert not relay.in_request(), "ANEW was told, and in_request() says that a request goes on"
        assert not relay.owes(), "ANEW was told, and something is owed"
        return (yield from relay.greet_anew(offer(**more)))

    server, client = duo(
        until_it_asks(), wire.anew(state, wanted), answer or _answerer(wire), answer or _answerer(wire),
        piece=(lambda: 1 << 20) if seed is None else lambda: chance.choice([1, chance.randint(1, 90)]),
    )  # fmt: skip
    if isinstance(server, AssertionError):
        raise server
    return who, server, client


def _proves(codec: Codec, wire: Wire) -> None:
    methods = [(), *((name,) for name in codec.features.auth_methods)]
    user = _other(wire)

    @settings(deadline=None)
    @given(
        method=st.sampled_from(methods),
        tls=st.sampled_from(["disable", "require"]),
        password=st.sampled_from(_SECRETS),
        seed=_SEEDS,
    )
    def who_knows_it(method: tuple[str, ...], tls: str, password: str, seed: int) -> None:
        wanted = how(wire, user=user, password=password)
        who, server, client = _changes(codec, wire, wanted, tls, seed=seed, auth_methods=method)
        if tls == "disable" and isinstance(server, Turned) and isinstance(client, LoginRefused):
            return  # a proof that is given on encrypted connections alone
        assert isinstance(server, ClientLogin), f"who knows a password: {server!r}, {client!r}"
        assert not isinstance(client, Exception), f"who knows a password: {server!r}, {client!r}"
        assert (server.user, server.database) == (user, wire.database), f"it was heard as {server!r}"
        assert server.tls == who.tls, "the connection was encrypted, and is no more" if who.tls else "it never was"
        assert server.leftover == b"", f"something was left over: {server.leftover!r}"
        assert codec.pool_key(server) != codec.pool_key(who), "another user is lent the connections of the one before"
        relay = codec.relay(server, RelayPolicy(), codec.shared())
        signals = relay.from_client(wire.begin)
        assert signals & moves.WANT_BACKEND, f"the session behind it does not go on: {signals}"

    @settings(deadline=None)
    @given(method=st.sampled_from(methods), tls=st.sampled_from(["disable", "require"]))
    def who_does_not(method: tuple[str, ...], tls: str) -> None:
        for password in ("wrong", "", wire.password):
            told = []
            for name in (user, wire.user[:-1] + "_"):
                wanted = how(wire, user=name, password=password)
                _, server, client = _changes(codec, wire, wanted, tls, auth_methods=method)
                assert isinstance(server, Turned), f"{name!r} got in with {password!r}: {server!r}"
                assert isinstance(client, LoginRefused), f"{name!r} with {password!r} was told {client!r}"
                told.append((server.problem and server.problem.code, client.code, client.text.replace(name, user)))
            assert told[0] == told[1], f"who guesses can tell a name that exists: {told}"

    who_knows_it()
    who_does_not()


def _ends_otherwise(codec: Codec, wire: Wire) -> None:
    """Whom the proxy does not admit, who leaves, and who says something else than a proof."""
    wanted = how(wire, user=_other(wire), password=_SECRETS[0])
    for problem in (Problem(code) for code in ProblemCode):
        cases: list[tuple[dict[str, Any], Any]] = [({"refusal": problem}, None), ({}, problem)]
        for more, admitted in cases:
            _, server, client = _changes(codec, wire, wanted, "require", _answerer(wire, admitted), **more)
            assert isinstance(server, Turned), f"{problem.code} lets in: {server!r}"
            assert server.problem == problem, f"{problem.code} is told as {server.problem!r}"
            assert isinstance(client, LoginRefused), f"refused for {problem.code}, and told {client!r}"
    _, server, client = _changes(codec, wire, wanted, "disable", require_tls=True)
    assert isinstance(server, Turned), f"require_tls: {server!r}, {client!r}"

    @settings(deadline=None)
    @given(st.lists(st.binary(max_size=60), max_size=3))
    def says(what: list[bytes]) -> None:
        who, state = _logged_in(codec, wire, "disable")
        relay = codec.relay(who, RelayPolicy(), codec.shared())
        assert relay.from_client(_first_words(wire, state, wanted)) == moves.ANEW
        try:
            found, _ = play(relay.greet_anew(offer()), what, _answerer(wire))
        except CodecError:
            return
        assert isinstance(found, Turned), f"{what!r} is taken for a proof: {found!r}"

    says()


def _first_words(wire: Wire, state: Any, wanted: BackendLogin) -> bytes:
    """What a client says before it waits."""
    conversation = wire.anew(state, wanted)
    words, step = b"", next(conversation)
    while isinstance(step, Send):
        words += step.data
        step = conversation.send(None)
    conversation.close()
    return words


class _Watched(Lane):
    """Looks where `ANEW` is told."""

    def _heed(self, signals: int) -> None:
        if signals & moves.ANEW:
            assert not self._coming, "ANEW was told before the request in front of it was answered"
            assert not self.relay.to_server, "ANEW was told, and something is on its way to the server"
            assert not self.relay.in_request(), "ANEW was told in the middle of a request"
        super()._heed(signals)


def _waits_for_answers(codec: Codec, wire: Wire, pieces: Callable[[bytes], list[bytes]]) -> None:
    """It comes behind requests: they are answered first. What comes behind it is no request of this session's."""
    wanted = how(wire, user=_other(wire), password=_SECRETS[0])
    for before in (wire.begin, wire.begin + wire.commit, *(wire.begin + each for each in wire.changes)):
        lane, alone = _Watched(codec, wire, pieces), Lane(codec, wire, pieces)
        _, state = _logged_in(codec, wire, "disable")
        told = lane.feed(before + _first_words(wire, state, wanted))
        assert lane.signals & moves.ANEW, f"behind {before!r} the wish to be another user is not heard"
        usual = alone.feed(before).to_client
        assert told.to_client == usual, f"{before!r} was answered {told.to_client!r}, and should be {usual!r}"
        lane.feed(wire.begin)
        assert not lane.signals, f"behind ANEW the relay went on: {lane.signals}"
