"""The toy engine with one fault each. Every fault names the check that must find it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rdsp_toy import login
from rdsp_toy.codec import ToyCodec
from rdsp_toy.lines import cut, error
from rdsp_toy.relay import OURS, QUIT, ToyRelay

from rdsp_codecs import moves
from rdsp_codecs.api import Codec, RelayPolicy
from rdsp_codecs.errors import PeerClosed
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.questions import Admit, Secrets
from rdsp_codecs.steps import Ask, Receive, Send, StartTls
from rdsp_codecs.transaction import Transaction

MUTANTS: Final[dict[str, tuple[str, Callable[[], Codec]]]] = {}
"""What is wrong: the check's name, and the codec."""


def finds(check: str, fault: str) -> Callable[[type], type]:
    """Of a relay or of a codec."""

    def register(found: type) -> type:
        if issubclass(found, ToyCodec):
            MUTANTS[fault] = check, found
        else:
            MUTANTS[fault] = (
                check,
                type("Mutant", (ToyCodec,), {"relay": lambda _, who, policy, __: found(who, policy)}),
            )
        return found

    return register


# -- cutting ----------------------------------------------------------------------------------------------------------


@finds("splits", "loses a byte of the client's at a cut")
class LosesByte(ToyRelay):
    def from_client(self, data: bytes) -> int:
        return super().from_client(data[1:] if self._half else data)


@finds("splits", "forgets the half line of a server at a cut")
class ForgetsHalf(ToyRelay):
    def from_server(self, data: bytes) -> int:
        signals = super().from_server(data)
        self._answer = b""
        return signals


@finds("splits", "hands on half a line, with an end of its own")
class HandsOnHalf(ToyRelay):
    def from_client(self, data: bytes) -> int:
        return super().from_client(data if data.endswith(b"\n") or len(data) < 9 else data + b"\n")


# -- answers ----------------------------------------------------------------------------------------------------------


@finds("answers", "doubles a reply")
class DoublesReply(ToyRelay):
    def from_server(self, data: bytes) -> int:
        signals = super().from_server(data)
        if any(each.startswith(b"OK I pong") for each in self.to_client):
            self.to_client.append(b"OK I pong\n")
        return signals


@finds("answers", "loses a row")
class LosesRow(ToyRelay):
    def _heed(self, answer: bytes) -> int:
        return moves.NOTHING if answer == b"ROW 3\n" else super()._heed(answer)


@finds("answers", "does a request twice, and says so once")
class DoesTwice(ToyRelay):
    again = False

    def _next(self) -> int:
        found = super()._next()
        if self._running and self._running.startswith(b"PUT ") and not self.again:
            self.again = True
            self.to_server.append(self._running)
        return found

    def _heed(self, answer: bytes) -> int:
        if self.again and self._running and self._running.startswith(b"PUT "):
            self.again = False
            return moves.NOTHING
        return super()._heed(answer)


@finds("answers", "shows the client the answer to a request of the proxy's own")
class ShowsOwn(ToyRelay):
    def _heed(self, answer: bytes) -> int:
        if self._running == OURS:
            self.to_client.append(answer)
        return super()._heed(answer)


@finds("answers", "never reads on behind much that it holds")
class Deaf(ToyRelay):
    @property
    def holds_too_much(self) -> bool:
        return self._state is not None and self._running is None


# -- boundaries -------------------------------------------------------------------------------------------------------


@finds("boundaries", "tells the end of a request at its first row")
class TooEarly(ToyRelay):
    def _heed(self, answer: bytes) -> int:
        return super()._heed(answer) | (moves.OVER if answer.startswith(b"ROW ") else 0)


@finds("boundaries", "never tells the end of a request that failed")
class NeverOver(ToyRelay):
    def _heed(self, answer: bytes) -> int:
        return super()._heed(answer) & ~moves.OVER


@finds("boundaries", "makes bytes for a server that it has not")
class Hasty(ToyRelay):
    def _next(self) -> int:
        if self._state is None and self._lines and self._lines[0] == b"PING\n":
            self.to_server.append(b"PING\n")
        return super()._next()


# -- transactions -----------------------------------------------------------------------------------------------------


@finds("transactions", "gives its server back in a transaction")
class Careless(ToyRelay):
    def _heed(self, answer: bytes) -> int:
        return super()._heed(answer.replace(b" T ", b" I ", 1))


@finds("transactions", "keeps its server behind a transaction that has ended")
class Clinging(ToyRelay):
    def _answered(self, *, ours: bool) -> int:
        if self._running == b"COMMIT\n":
            self.transaction = Transaction.OPEN
        return super()._answered(ours=ours)


# -- sessions ---------------------------------------------------------------------------------------------------------


@finds("sessions", "forgets the setting on another server")
class Forgets(ToyRelay):
    def attached(self, state: Any) -> int:
        state.lang = self._lang
        return super().attached(state)


@finds("sessions", "leaves its setting to the next session")
class Leaves(ToyRelay):
    def detached(self) -> None:
        if self._state is not None:
            self._state.lang = b"en"
        super().detached()


@finds("sessions", "makes a server equal, and to the wrong value")
class WrongValue(ToyRelay):
    def _next(self) -> int:
        found = super()._next()
        if self._running == OURS:
            self.to_server[-1] = self.to_server[-1].replace(b"fr", b"de")
        return found


# -- losses -----------------------------------------------------------------------------------------------------------


@finds("losses", "says again to another server what a lost one may have done")
class SaysAgain(ToyRelay):
    def broke_off(self) -> int:
        if self._running and self._running != OURS and self.transaction is Transaction.NONE:
            self._lines.insert(0, self._running)
            self._running = None
            return moves.UNFIT
        return super().broke_off()


@finds("losses", "forgets a request when a server is replaced")
class ForgetsRequest(ToyRelay):
    def broke_off(self) -> int:
        if self._running == OURS:
            del self._lines[0]
        return super().broke_off()


# -- garbage ----------------------------------------------------------------------------------------------------------


@finds("garbage", "falls over an answer without a status")
class Falls(ToyRelay):
    def _heed(self, answer: bytes) -> int:
        answer.split(b" ")[1]
        return super()._heed(answer)


@finds("garbage", "falls over a client's bytes that are no UTF-8")
class FallsToo(ToyRelay):
    def from_client(self, data: bytes) -> int:
        data.decode()
        return super().from_client(data)


# -- refusals ---------------------------------------------------------------------------------------------------------


@finds("refusals", "refuses a request without an error")
class Silent(ToyRelay):
    def abort(self, problem: Problem | bytes) -> int:
        return super().abort(b"OK I never mind\n")


@finds("refusals", "drops more than was refused")
class Drops(ToyRelay):
    def abort(self, problem: Problem | bytes) -> int:
        signals = super().abort(problem)
        self._running = b"PING\n"
        return signals


@finds("refusals", "does what it has refused")
class DoesItAnyway(ToyRelay):
    def abort(self, problem: Problem | bytes) -> int:
        line = self._lines[0]
        signals = super().abort(problem)
        self._lines.append(line)
        return signals


@finds("refusals", "has no words for one of the problems")
class Wordless(ToyCodec):
    def refuse(self, problem: Problem) -> bytes:
        return b"" if problem.code is ProblemCode.SYNC_FAILED else super().refuse(problem)


@finds("refusals", "tells two errors where a subject has a line feed")
class Injected(ToyCodec):
    def refuse(self, problem: Problem) -> bytes:
        return b"ERROR I " + problem.subject.replace("\n", "\nERROR I ").encode("utf-8", "replace") + b"\n"


# -- endings, upkeep, members -----------------------------------------------------------------------------------------


@finds("endings", "hands a good-bye on to a server that others will have")
class SharesGoodbye(ToyRelay):
    def _next(self) -> int:
        if self._lines and self._lines[0] == QUIT:
            self._lines[0] = b"quit\n"
        return super()._next()


@finds("endings", "does not see a good-bye behind a request that waits")
class Overlooks(ToyRelay):
    def holds_goodbye(self) -> bool:
        return False


@finds("upkeep", "resets nothing")
class ResetsNothing(ToyCodec):
    def reset(self, state: Any, transaction: Transaction) -> Any:
        yield from login.ask("PING")


@finds("upkeep", "probes by changing the session")
class ProbesBySetting(ToyCodec):
    def probe(self, state: Any) -> Any:
        yield from login.ask("SET lang xx")


@finds("upkeep", "falls over what a server answers to a question")
class Believes(ToyCodec):
    def max_connections(self, state: Any) -> Any:
        return int((yield from login.ask("SHOW max_connections")))


@finds("members", "has no probe")
class Lacks(ToyCodec):
    probe = None


@finds("members", "takes too little")
class TakesLess(ToyCodec):
    def cancel(self, state: Any) -> Any:
        return login.cancel(state, "disable")


# -- logins -----------------------------------------------------------------------------------------------------------


def answering(conversation: Any, answer: Callable[[Any], Any]) -> Any:
    """The conversation, with questions answered by somebody else; None: as ever."""
    try:
        step = next(conversation)
        while True:
            own = answer(step.question) if isinstance(step, Ask) else None
            try:
                result = own if own is not None else (yield step)
            except PeerClosed as closed:
                step = conversation.throw(closed)
            else:
                step = conversation.send(result)
    except StopIteration as stop:
        return stop.value


@finds("proofs", "lets in who gives no password")
class Trusting(ToyCodec):
    def greet(self, offer: Any) -> Any:
        return answering(super().greet(offer), lambda asked: ("secret", "") if isinstance(asked, Secrets) else None)


@finds("proofs", "tells who guesses that the name is unknown")
class Tells(ToyCodec):
    def greet(self, offer: Any) -> Any:
        conversation, known = super().greet(offer), True
        step = next(conversation)
        try:
            while True:
                if isinstance(step, Send) and not known and step.data.startswith(b"ERROR"):
                    step = Send(error("no such user"))
                result = yield step
                if isinstance(step, Ask) and isinstance(step.question, Secrets):
                    known = bool(result)
                step = conversation.send(result)
        except StopIteration as stop:
            return stop.value


@finds("proofs", "takes the first of two passwords alone")
class OnlyFirst(ToyCodec):
    def greet(self, offer: Any) -> Any:
        conversation = super().greet(offer)
        step = next(conversation)
        try:
            while True:
                result = yield step
                if isinstance(step, Ask) and isinstance(step.question, Secrets):
                    result = result[:1]
                step = conversation.send(result)
        except StopIteration as stop:
            return stop.value


@finds("login", "goes on without the TLS that was required")
class Unencrypted(ToyCodec):
    def login(self, how: Any) -> Any:
        state = yield from super().login(how) if how.tls == "disable" else self._hopeful(how)
        return state

    def _hopeful(self, how: Any) -> Any:
        yield Send(b"TLS\n")
        if (yield from login.read_line()) == ["YES"]:
            yield StartTls(login.TlsSide.CLIENT)
        import attrs

        return (yield from super().login(attrs.evolve(how, tls="disable")))


@finds("login", "welcomes whom the proxy refuses")
class Welcoming(ToyCodec):
    def greet(self, offer: Any) -> Any:
        def answer(asked: Any) -> Any:
            return login.Welcome({"lang": "en"}, 77, bytes(32)) if isinstance(asked, Admit) else None

        return answering(super().greet(offer), answer)


@finds("login", "loses the server's parameters")
class LosesParameters(ToyCodec):
    def login(self, how: Any) -> Any:
        state = yield from super().login(how)
        state.server_parameters = {}
        return state


@finds("strangers", "falls over a name that is no UTF-8")
class FallsAtTheDoor(ToyCodec):
    def greet(self, offer: Any) -> Any:
        first = yield Receive(100, peek=True)
        first.decode()
        return (yield from super().greet(offer))


@finds("strangers", "falls over a server's secret that is not in hex")
class FallsAtAServer(ToyCodec):
    def login(self, how: Any) -> Any:
        yield Send(b"HELLO app shop\n")
        words = yield from login.read_line()
        while words[0] != "WELCOME":
            words = yield from login.read_line()
        return login.ToyState({"lang": "en"}, b"", b"en", int(words[1]), bytes.fromhex(words[2]), False)


# -- memory -----------------------------------------------------------------------------------------------------------


@finds("memory", "holds whatever a client says")
class Endless(ToyRelay):
    @property
    def holds_too_much(self) -> bool:
        return False


@finds("memory", "holds a line of any length")
class LongLines(ToyRelay):
    def __init__(self, who: Any, policy: RelayPolicy) -> None:
        super().__init__(who, policy)
        self._longest = 1 << 40

    @property
    def holds_too_much(self) -> bool:
        return self._held > self._most_held


@finds("memory", "holds a server's line of any length")
class LongAnswers(ToyRelay):
    def from_server(self, data: bytes) -> int:
        lines, self._answer = cut(self._answer + data, 1 << 40)
        signals = moves.NOTHING
        for answer in lines:
            signals |= self._heed(answer)
        return signals


@finds("memory", "reads a stranger's line without an end")
class PatientDoor(ToyCodec):
    def greet(self, offer: Any) -> Any:
        yield from login.read_line(1 << 40)
        return (yield from super().greet(offer))
