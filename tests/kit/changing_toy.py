"""The toy engine with one thing more, another user in mid-session, as `USER <user> <database>`; and its faults."""

from __future__ import annotations

from typing import Any

from rdsp_toy import login
from rdsp_toy.codec import ToyCodec
from rdsp_toy.kit import ToyWire
from rdsp_toy.lines import line, proof_of
from rdsp_toy.relay import ToyRelay

from rdsp_codecs import moves
from rdsp_codecs.api import BackendLogin, ClientLogin, Greeting, Offer, RelayPolicy, Turned
from rdsp_codecs.errors import LoginRefused, PeerClosed, WireError
from rdsp_codecs.problems import Problem
from rdsp_codecs.questions import Admit
from rdsp_codecs.steps import Ask, Conversation, Send


class ChangingWire(ToyWire):
    """See `Wire`."""

    def anew(self, state: Any, how: BackendLogin) -> Conversation[None]:
        yield Send(line("USER", how.user, how.database))
        words = yield from login.read_line()
        if words[0] == "PROVE":
            yield Send(line("PROOF", proof_of(how.password or "", bytes.fromhex(words[1]))))
            words = yield from login.read_line()
        while words[0] == "INFO":
            words = yield from login.read_line()
        if words[0] != "WELCOME":
            raise LoginRefused("", words[-1], raw=line(*words))


class ChangingRelay(ToyRelay):
    """See `Relay`."""

    def __init__(self, who: ClientLogin, policy: RelayPolicy) -> None:
        super().__init__(who, policy)
        self.who = who
        self.changes = False

    def _next(self) -> int:
        if self.changes:
            return moves.NOTHING
        if self._running is None and self._lines and self._lines[0].startswith(b"USER "):
            self.changes = True
            return moves.ANEW
        return super()._next()

    def greet_anew(self, offer: Offer) -> Conversation[Greeting]:
        words = self._take().decode().split()
        try:
            if len(words) != 3:
                raise WireError("USER has a user and a database")
            return (yield from self.proves(offer, words[1], words[2]))
        except PeerClosed:
            return Turned(None)

    def proves(self, offer: Offer, user: str, database: str) -> Conversation[Greeting]:
        return (yield from login._admit(offer, user, database, self.who.tls))


def codec_of(relay: type[ToyRelay]) -> ToyCodec:
    """The engine with such relays."""
    made = type("Changing", (ToyCodec,), {"relay": lambda _, who, policy, __: relay(who, policy)})
    found: ToyCodec = made()
    return found


class Trusts(ChangingRelay):
    """Who is in already needs no password."""

    def proves(self, offer: Offer, user: str, database: str) -> Conversation[Greeting]:
        found = ClientLogin(user, database, {}, 1, self.who.tls)
        found.welcome = yield Ask(Admit(found))
        if isinstance(found.welcome, Problem):
            return (yield from login.turn_away(found.welcome, user))
        yield Send(login._welcome(found.welcome))
        return found


class ForgetsTls(ChangingRelay):
    """The new session does not know that its connection is encrypted."""

    def proves(self, offer: Offer, user: str, database: str) -> Conversation[Greeting]:
        found: Greeting = yield from super().proves(offer, user, database)
        if isinstance(found, ClientLogin):
            found.tls = False
        return found


class StaysWhoItWas(ChangingRelay):
    """The new session is lent the connections of the one before."""

    def proves(self, offer: Offer, user: str, database: str) -> Conversation[Greeting]:
        found: Greeting = yield from super().proves(offer, user, database)
        if isinstance(found, ClientLogin):
            found.user = self.who.user
        return found


class InAHurry(ChangingRelay):
    """The requests in front of it are not answered any more."""

    def _next(self) -> int:
        if not self.changes and any(each.startswith(b"USER ") for each in self._lines):
            self.changes = True
            return moves.ANEW
        return super()._next()


class GoesOn(ChangingRelay):
    """What the client says behind it is a request of the session before."""

    def _next(self) -> int:
        before, self.changes = self.changes, False
        return super()._next() if not before else ToyRelay._next(self) if self._lines[1:] else moves.NOTHING


FAULTS = (Trusts, ForgetsTls, StaysWhoItWas, InAHurry, GoesOn)
