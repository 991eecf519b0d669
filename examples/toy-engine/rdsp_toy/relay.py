"""One session between its client and whatever server connection it has borrowed."""

from __future__ import annotations

from typing import Any

from rdsp_codecs import moves
from rdsp_codecs.api import ClientLogin, RelayPolicy
from rdsp_codecs.errors import WireError
from rdsp_codecs.problems import Problem
from rdsp_codecs.relaying import Relay
from rdsp_codecs.transaction import Transaction
from rdsp_toy.lines import LONGEST, cut
from rdsp_toy.login import ToyState, refuse

STATUS = {b"I": Transaction.NONE, b"T": Transaction.OPEN}
QUIT = b"QUIT\n"
OURS = b""
"""In the place of a request: one of the proxy's own, whose answer the client must not see."""


class ToyRelay(Relay):
    """Hands on one request at a time. What the client says meanwhile is held; the proxy then reads no more of it."""

    # [begin]
    def __init__(self, who: ClientLogin, policy: RelayPolicy) -> None:
        super().__init__()
        self._fit: object = who.welcome.parameters.get("lang", "en")
        self._lang = str(self._fit).encode()
        """The session's setting, whatever connection it has."""
        self._most_held = policy.max_held
        self._longest = min(LONGEST, policy.max_frame, policy.max_held)
        self._state: ToyState | None = None
        """The borrowed connection's."""
        self._lines: list[bytes] = []
        """The client's whole lines that were not handed on."""
        self._held = 0
        """Their bytes."""
        self._half = b""
        """The beginning of its next line."""
        self._running: bytes | None = None
        """The request that the server has not answered; OURS: one of the proxy's own."""
        self._answer = b""
        """The beginning of the server's next line."""

    # [begin]

    # [client]
    def from_client(self, data: bytes) -> int:
        lines, self._half = cut(self._half + data, self._longest)
        self._lines += lines
        self._held += sum(map(len, lines))
        return self._next()

    def _next(self) -> int:
        """Hand on the next request, if its turn has come and there is a connection for it."""
        if self._running is not None or not self._lines:
            return moves.NOTHING
        if self._lines[0] == QUIT:
            self._lines.clear()
            self._held = 0
            return moves.BYE
        if self._state is None:
            return moves.WANT_BACKEND
        if self._state.lang != self._lang:
            # Before the client's request, and the answer is waited for: it may not run with another's setting.
            self._running = OURS
            self.to_server.append(b"SET lang " + self._lang + b"\n")
        else:
            self._running = self._take()
            self.to_server.append(self._running)
        return moves.NOTHING

    def _take(self) -> bytes:
        request = self._lines.pop(0)
        self._held -= len(request)
        return request

    def attached(self, state: Any) -> int:
        self._state = state
        return self._next()

    def detached(self) -> None:
        self._state, self._running, self._answer = None, None, b""

    # [client]

    # [server]
    def from_server(self, data: bytes) -> int:
        lines, self._answer = cut(self._answer + data)
        signals = moves.NOTHING
        for answer in lines:
            signals |= self._heed(answer)
        return signals

    def _heed(self, answer: bytes) -> int:
        kind, _, rest = answer.partition(b" ")
        request, state = self._running, self._state
        if request is None or state is None:
            if kind != b"ERROR":
                raise WireError("an answer that nobody has asked for")
            self.to_client.append(answer)  # the server closes, and says why
            return moves.FATAL
        if kind == b"ROW" and request != OURS:
            self.to_client.append(answer)
            return moves.NOTHING
        if kind not in (b"OK", b"ERROR") or rest[:1] not in STATUS or rest[1:2] != b" ":
            raise WireError("an answer of no known kind")
        if request == OURS:
            if kind == b"ERROR":
                self._running = None
                self.refused, self.unharmed = answer, True
                return moves.UNFIT
            state.lang = self._lang
        else:
            self.to_client.append(answer)
            self.transaction = STATUS[rest[:1]]
            if kind == b"OK" and request.startswith(b"SET lang "):
                state.lang = self._lang = request[len(b"SET lang ") : -1]
                self._fit = object()
        return self._answered(ours=request == OURS)

    def _answered(self, *, ours: bool) -> int:
        self._running = None
        if ours or self.transaction is not Transaction.NONE:
            # The connection stays: go on with it.
            return self._next() | (moves.NOTHING if ours or self._running is not None else moves.OVER)
        if self._lines and self._lines[0] == QUIT:
            return moves.OVER | self._next()
        return moves.OVER | (moves.AGAIN if self._lines else moves.NOTHING)

    # [server]

    # [facts]
    @property
    def fit(self) -> object:
        return self._fit

    def in_request(self) -> bool:
        return self._running is not None or bool(self._answer)

    def owes(self) -> bool:
        return self._running is not None

    def cancellable(self) -> bool:
        return bool(self._running)

    def holds_goodbye(self) -> bool:
        return QUIT in self._lines

    def may_speak(self) -> bool:
        return True  # to the client, too, only whole lines go

    def cut_short(self) -> bool:
        return False  # to the server only whole lines go

    def in_doubt(self) -> bool:
        return False  # the only thing that a session can leave behind is the setting, and that is known

    @property
    def holds_too_much(self) -> bool:
        return self._held + len(self._half) > self._most_held

    # [facts]

    # [refused]
    def refusal(self, problem: Problem | bytes) -> bytes:
        return problem if isinstance(problem, bytes) else refuse(problem)

    def abort(self, problem: Problem | bytes) -> int:
        self.to_client.append(self.refusal(problem))
        self._take()
        return self._next()

    def broke_off(self) -> int:
        """Before an answer to a request of ours nothing of the client's has gone out: another connection may do."""
        if self._running != OURS:
            return moves.NOTHING
        self._running = None
        self.refused, self.unharmed = b"", False
        return moves.UNFIT

    # [refused]
