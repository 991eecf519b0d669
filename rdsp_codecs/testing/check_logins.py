"""Logins: the two sides of the codec against each other, wrong passwords, and strangers at the door."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from rdsp_codecs.api import BackendLogin, CancelAsked, ClientLogin, Codec, Introducing, Offer, Turned
from rdsp_codecs.errors import CodecError, LoginRefused, WireError
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.questions import Introduce
from rdsp_codecs.steps import Conversation, Receive, Send, TlsFacts
from rdsp_codecs.testing.duo import duo, play
from rdsp_codecs.testing.logins import KEY, NUMBER, answerer, behind, how, offer
from rdsp_codecs.testing.mutate import MUTATIONS, Mutations, mutated
from rdsp_codecs.testing.wire import Wire

_SEEDS = st.integers(0, 1 << 16)


def _cuts(seed: int) -> Any:
    chance = random.Random(seed)  # noqa: S311 - a test's
    return lambda: chance.choice([1, chance.randint(1, 9), 1 << 20])


_BOUND: Final[dict[str, Any]] = {"end_point": b"e" * 32}
"""What the two sides of a TLS connection know of its certificate."""


def _meet(codec: Codec, wire: Wire, asked: Offer, wants: BackendLogin, answer: Any, seed: int) -> tuple[Any, Any]:
    facts = TlsFacts("TLSv1.3", alpn=codec.features.alpn, **_BOUND)
    greeting = behind(codec.greet(asked), wire, wire.server())
    read, sent = _Tally(), _Tally()
    found = duo(
        _tallied(greeting, sent, Send), _tallied(codec.login(wants), read, Receive), answer, answer,
        piece=_cuts(seed), facts=facts,
    )  # fmt: skip
    if isinstance(found[0], ClientLogin):
        assert sent.size == read.size, f"of {sent.size} bytes that the server said, our own login has read {read.size}"
    return found


class _Tally:
    """How many bytes one side has sent or read."""

    size = 0


def _tallied(conversation: Conversation[Any], tally: _Tally, kind: type) -> Conversation[Any]:
    step = next(conversation)
    try:
        while True:
            try:
                came = yield step
            except CodecError as error:
                step = conversation.throw(error)
                continue
            if isinstance(step, kind) and not getattr(step, "peek", False):
                tally.size += len(step.data if isinstance(step, Send) else came)
            step = conversation.send(came)
    except StopIteration as stop:
        return stop.value


def _methods(codec: Codec) -> list[tuple[str, ...]]:
    """Each proof that it offers by itself, and its own choice."""
    return [(), *((name,) for name in codec.features.auth_methods)]


def _mistold(server: Any, client: Any) -> str:
    return f"the server's side ended in {server!r}, the client's in {client!r}"


def login(codec: Codec, wire: Wire) -> None:
    """Whoever proves the password gets in, whatever the cuts, by every proof; both sides then know the same."""
    answer = answerer(wire)

    @settings(deadline=None)
    @given(method=st.sampled_from(_methods(codec)), tls=st.sampled_from(["disable", "prefer", "require"]), seed=_SEEDS)
    def holds(method: tuple[str, ...], tls: str, seed: int) -> None:
        asked = how(wire, tls=tls)
        server, client = _meet(codec, wire, offer(auth_methods=method, **_BOUND), asked, answer, seed)
        if tls == "disable" and isinstance(server, Turned) and isinstance(client, LoginRefused):
            return  # a proof that is given on encrypted connections alone
        assert isinstance(server, ClientLogin), _mistold(server, client)
        assert not isinstance(client, Exception), _mistold(server, client)
        assert (server.user, server.database) == (wire.user, wire.database), f"the server's side heard {server!r}"
        assert server.tls == (tls != "disable"), f"tls={tls}, and the server's side says {server.tls}"
        assert (server.leftover, client.leftover) == (b"", b""), "something was left over of the login"
        told = dict(client.server_parameters)
        assert told == dict(wire.parameters), f"the server's parameters came as {told}"

    holds()
    _ends_otherwise(codec, wire)


def _ends_otherwise(codec: Codec, wire: Wire) -> None:
    """No password where none is asked for; and whom the proxy does not admit is told so."""
    answer = answerer(wire)
    for problem in (Problem(code) for code in ProblemCode):
        for asked in (offer(refusal=problem), offer()):
            admitted = None if asked.refusal else problem
            server, client = duo(codec.greet(asked), codec.login(how(wire)), answerer(wire, admitted=admitted), answer)
            assert isinstance(server, Turned), f"{problem.code} lets in: {_mistold(server, client)}"
            assert server.problem == problem, _mistold(server, client)
            assert isinstance(client, LoginRefused), f"refused for {problem.code}: {_mistold(server, client)}"
    server, client = duo(codec.greet(offer(require_tls=True)), codec.login(how(wire, tls="disable")), answer, answer)
    assert isinstance(server, Turned), f"require_tls: {_mistold(server, client)}"
    server, client = duo(codec.greet(offer(tls=False)), codec.login(how(wire, tls="require")), answer, answer)
    assert isinstance(client, LoginRefused), f"a server without TLS, and we require it: {_mistold(server, client)}"
    assert not isinstance(server, ClientLogin), "a password was proved without the TLS that was required"
    state = duo(behind(codec.greet(offer()), wire, wire.server()), codec.login(how(wire)), answer, answer)[1]
    _introduces_itself(codec, wire)
    if codec.features.cancel_on_new_connection:
        asked_for, _ = duo(codec.greet(offer()), codec.cancel(state, how(wire)), answer, answer)
        assert isinstance(asked_for, CancelAsked), f"a cancel was heard as {asked_for!r}"
        assert asked_for.connection_id == NUMBER, f"a cancel names the connection {asked_for.connection_id}"
        assert asked_for.secret, "a cancel has no secret"
        assert KEY.startswith(asked_for.secret), "a cancel has another secret than the login gave"


def _introduces_itself(codec: Codec, wire: Wire) -> None:
    """A server that speaks first tells nobody in particular what `Introduce` is answered with."""
    answer, asked = answerer(wire), []

    def heard(question: Any) -> Any:
        asked.append(type(question))
        return answer(question)

    duo(behind(codec.greet(offer()), wire, wire.server()), codec.login(how(wire)), heard, answer)
    if Introduce in asked:
        assert isinstance(codec, Introducing), "the greeting asks Introduce, and the codec lacks introduce()"
        _, told = duo(codec.greet(offer()), codec.introduce(), answer, answer)
        assert isinstance(told, Mapping), f"introduce() ended in {told!r}"


def proofs(codec: Codec, wire: Wire) -> None:
    """Nobody gets in with a wrong password, an unknown name or none; all of them are told the same."""
    answer = answerer(wire)

    @settings(deadline=None)
    @given(method=st.sampled_from(_methods(codec)), tls=st.sampled_from(["disable", "require"]), seed=_SEEDS)
    def holds(method: tuple[str, ...], tls: str, seed: int) -> None:
        for password in (wire.password + "x", "", wire.password[:-1]):
            told = []
            for user in (wire.user, wire.user[:-1] + "_"):
                asked = how(wire, user=user, password=password, tls=tls)
                server, client = _meet(codec, wire, offer(auth_methods=method, **_BOUND), asked, answer, seed)
                assert isinstance(server, Turned), f"{user!r} got in with {password!r}: {_mistold(server, client)}"
                assert isinstance(client, LoginRefused), _mistold(server, client)
                # Our own client leaves by itself where the proof is one for encrypted connections alone.
                assert server.problem is not None or tls == "disable", "somebody was turned away, and for no reason"
                code = server.problem and server.problem.code
                told.append((code, client.code, client.text.replace(user, wire.user)))
            assert told[0] == told[1], f"who guesses can tell a name that exists: {told}"

    holds()
    for method in _methods(codec):
        for both in ((wire.password, "older"), ("newer", wire.password)):
            server, client = _meet(
                codec, wire, offer(auth_methods=method, **_BOUND), how(wire, tls="require"), answerer(wire, both), 0
            )
            assert isinstance(server, ClientLogin), f"one of two valid passwords, {method}: {_mistold(server, client)}"


def _spoken(codec: Codec, wire: Wire, **more: Any) -> tuple[bytes, bytes]:
    """What the client and the server say in a login without a password."""
    heard: list[bytes] = []
    answer, told = answerer(wire), how(wire, tls="disable")

    def listening(conversation: Any, at: int) -> Conversation[Any]:
        step = next(conversation)
        try:
            while True:
                if type(step).__name__ == "Send":
                    heard[at] += step.data
                step = conversation.send((yield step))
        except StopIteration as stop:
            return stop.value

    heard += [b"", b""]
    greeting = behind(codec.greet(offer(open_to_local=True, tls=False, **more)), wire, wire.server())
    duo(listening(greeting, 1), listening(codec.login(told), 0), answer, answer)
    return heard[0], heard[1]


def strangers(codec: Codec, wire: Wire) -> None:
    """Garbage in a login, from either side, ends in a refusal or one of the codec's errors, and in no other way."""
    answer = answerer(wire)
    clients, servers = _spoken(codec, wire)

    @settings(deadline=None)
    @given(
        data=st.one_of(st.binary(max_size=300), MUTATIONS.map(lambda found: mutated(clients, found))),
        cut=st.integers(1, 60),
        open_to_local=st.booleans(),
    )
    def at_the_door(data: bytes, cut: int, open_to_local: bool) -> None:
        chunks = [data[at : at + cut] for at in range(0, len(data), cut)]
        # What was heard of another login proves nothing in this one.
        other = random.Random(3).randbytes  # noqa: S311 - a test's
        try:
            result, _ = play(codec.greet(offer(open_to_local=open_to_local, entropy=other)), chunks, answer)
        except WireError:
            return
        allowed = (Turned, CancelAsked, ClientLogin) if open_to_local else (Turned, CancelAsked)
        assert isinstance(result, allowed), f"{data!r} was greeted as {result!r}"

    @settings(deadline=None)
    @given(mutations=MUTATIONS, data=st.none() | st.binary(max_size=300), cut=st.integers(1, 60))
    def at_a_server(mutations: Mutations, data: bytes | None, cut: int) -> None:
        told = mutated(servers, mutations) if data is None else data
        chunks = [told[at : at + cut] for at in range(0, len(told), cut)]
        try:
            play(codec.login(how(wire, tls="disable")), chunks, answer)
        except CodecError:
            return

    at_the_door()
    at_a_server()
