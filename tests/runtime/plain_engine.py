"""A small engine in plain Python, as somebody else would write one: PostgreSQL's logins, and a relay of its own.

Its relay is derived from `rdsp_codecs.relaying.Relay` and knows simple queries only. It is never compiled.
"""

from __future__ import annotations

from typing import Any

from rdsp_codecs import moves
from rdsp_codecs.api import ClientLogin, RelayPolicy
from rdsp_codecs.errors import WireError
from rdsp_codecs.postgres import PostgresCodec
from rdsp_codecs.postgres import messages as m
from rdsp_codecs.problems import Problem
from rdsp_codecs.relaying import Relay

_HEADER = 5


def _whole(data: bytes) -> int:
    """How many bytes of it are whole messages."""
    at = 0
    while len(data) - at >= _HEADER and len(data) - at > m.integer(data, at + 1):
        at += 1 + m.integer(data, at + 1)
    return at


class PlainRelay(Relay):
    """Hands on whole messages; a request is a Query, and its end the ReadyForQuery."""

    def __init__(self, codec: PlainCodec) -> None:
        super().__init__()
        self._codec = codec
        self._attached = False
        self._from_client = self._from_server = b""
        self._owed = 0

    @property
    def fit(self) -> object:
        return None

    def from_client(self, data: bytes) -> int:
        self._from_client += data
        return self._forward() if self._attached else self._wants()

    def _wants(self) -> int:
        whole = _whole(self._from_client)
        if not whole:
            return moves.NOTHING
        return moves.BYE if self._from_client[:1] == b"X" else moves.WANT_BACKEND

    def _forward(self) -> int:
        whole = _whole(self._from_client)
        data, self._from_client = self._from_client[:whole], self._from_client[whole:]
        at = 0
        while at < whole:
            tag = data[at : at + 1]
            if tag == b"X":
                self._from_client = b""
                return moves.BYE
            if tag != b"Q":
                raise WireError("this engine knows queries only")
            size = 1 + m.integer(data, at + 1)
            self.to_server.append(data[at : at + size])
            self._owed += 1
            at += size
        return moves.NOTHING

    def attached(self, state: Any) -> int:
        self._attached = True
        return self._forward()

    def from_server(self, data: bytes) -> int:
        self._codec.chunks += 1
        self._from_server += data
        whole = _whole(self._from_server)
        data, self._from_server = self._from_server[:whole], self._from_server[whole:]
        at = 0
        while at < whole:
            if data[at : at + 1] == b"Z":
                self._owed -= 1
                self.transaction = m.TRANSACTIONS[data[at + _HEADER]]
            at += 1 + m.integer(data, at + 1)
        if data:
            self.to_client.append(data)
        return moves.NOTHING if self._owed or not whole or self._from_server else moves.OVER

    def broke_off(self) -> int:
        return moves.NOTHING

    def detached(self) -> None:
        self._attached = False

    def in_request(self) -> bool:
        return bool(self._owed or self._from_server)

    def owes(self) -> bool:
        return bool(self._owed)

    def holds_goodbye(self) -> bool:
        return b"X\0\0\0\4" in self._from_client

    def may_speak(self) -> bool:
        return True

    def cut_short(self) -> bool:
        return False

    def cancellable(self) -> bool:
        return bool(self._owed)

    @property
    def holds_too_much(self) -> bool:
        return len(self._from_client) > 1 << 20

    def in_doubt(self) -> bool:
        return False

    def refusal(self, problem: Problem | bytes) -> bytes:
        return problem if isinstance(problem, bytes) else self._codec.refuse(problem)

    def abort(self, problem: Problem | bytes) -> int:
        words = self.refusal(problem)
        size = 1 + m.integer(self._from_client, 1)
        self._from_client = self._from_client[size:]
        self.to_client += [words, m.message(b"Z", b"I")]
        return self._wants()


class PlainCodec(PostgresCodec):
    """The engine. `chunks`: how many its relays have had of servers."""

    name = "plain"

    def __init__(self) -> None:
        self.chunks = 0

    def shared(self) -> Any:
        return None

    def relay(self, who: ClientLogin, policy: RelayPolicy, shared: Any) -> Relay:
        return PlainRelay(self)
