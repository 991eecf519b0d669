"""Both sides of a login, as conversations: generators that say what they need, and are given it. They do no I/O."""

from __future__ import annotations

import hmac

import attrs

from rdsp_codecs.api import BackendLogin, CancelAsked, ClientLogin, Greeting, Offer, Turned
from rdsp_codecs.errors import FrameTooBig, LoginRefused, PeerClosed, WireError
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.questions import Admit, Secrets, Welcome
from rdsp_codecs.steps import Ask, Conversation, HasUnread, Receive, Send, StartTls, TlsSide
from rdsp_toy.lines import LONGEST, error, line, proof_of

PROTOCOL = 1


# [state]
@attrs.define(eq=False)
class ToyState:
    """What is known about one connection to a server. The pool keeps it, and looks only at the first two."""

    server_parameters: dict[str, str]
    leftover: bytes
    lang: bytes
    number: int
    secret: bytes
    encrypted: bool


# [state]


# [read]
def read_line(most: int = LONGEST) -> Conversation[list[str]]:
    """The words of the peer's next line. Not a byte behind it is taken: a TLS handshake may stand there."""
    got = b""
    while not got.endswith(b"\n"):
        if len(got) >= most:
            raise FrameTooBig(most)
        seen: bytes = yield Receive(most - len(got), peek=True)
        got += yield Receive(seen.find(b"\n") + 1 or len(seen))
    try:
        return got[:-1].decode().split(" ", 2)
    except UnicodeDecodeError:
        raise WireError("a line is not UTF-8") from None


# [read]


# [refuse]
def refuse(problem: Problem) -> bytes:
    """The problem in the engine's own words."""
    return error(f"{problem.code.value} {problem.subject}".rstrip())


def turn_away(problem: Problem, user: str = "") -> Conversation[Turned]:
    """Tell a client why it is not let in."""
    yield Send(refuse(problem))
    return Turned(problem, user)


# [refuse]


# [greet]
def greet(offer: Offer) -> Conversation[Greeting]:
    """We play the server to a new client."""
    try:
        words = yield from read_line(offer.max_login_bytes)
        encrypted = False
        if words == ["TLS"]:
            yield Send(b"YES\n" if offer.tls else b"NO\n")
            if offer.tls:
                if (yield HasUnread()):
                    raise WireError("unencrypted bytes behind the wish for TLS")
                yield StartTls(TlsSide.SERVER)
                encrypted = True
            words = yield from read_line(offer.max_login_bytes)
        if words[0] == "CANCEL" and len(words) == 3:
            return CancelAsked(_number(words[1]), _unhex(words[2]))
        if words[0] != "HELLO" or len(words) != 3:
            raise WireError("a login begins with HELLO")
        return (yield from _admit(offer, words[1], words[2] or offer.default_database, encrypted))
    except PeerClosed:
        return Turned(None)


def _admit(offer: Offer, user: str, database: str, encrypted: bool) -> Conversation[Greeting]:
    if offer.refusal is not None:
        return (yield from turn_away(offer.refusal, user))
    if offer.require_tls and not encrypted:
        return (yield from turn_away(Problem(ProblemCode.TLS_REQUIRED), user))
    if not (offer.open_to_local and offer.local):
        nonce = offer.entropy(16)
        yield Send(line("PROVE", nonce.hex()))
        words = yield from read_line(offer.max_login_bytes)
        passwords: tuple[str, ...] = yield Ask(Secrets(user, database))
        proof = words[1].encode() if words[0] == "PROOF" and len(words) == 2 else b""
        # All of them are tried, and an unknown user's none: nobody learns by the answer, or its time, who exists.
        known = [hmac.compare_digest(proof, proof_of(each, nonce).encode()) for each in passwords or ("",)]
        if not passwords or not any(known):
            return (yield from turn_away(Problem(ProblemCode.AUTH_FAILED, user), user))
    login = ClientLogin(user, database, {}, PROTOCOL, encrypted)
    answer = yield Ask(Admit(login))
    if isinstance(answer, Problem):
        return (yield from turn_away(answer, user))
    if isinstance(answer, bytes):  # a server's own words
        yield Send(answer)
        return Turned(None, user)
    login.welcome = answer
    yield Send(_welcome(answer))
    return login


def _welcome(face: Welcome) -> bytes:
    told = [line("INFO", name, value) for name, value in face.parameters.items()]
    return b"".join(told) + line("WELCOME", str(face.connection_id), face.cancel_secret.hex())


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 19):
        raise WireError("not a number")
    return int(word)


def _unhex(word: str) -> bytes:
    try:
        return bytes.fromhex(word)
    except ValueError:
        raise WireError("not in hex") from None


# [greet]


# [login]
def login(how: BackendLogin) -> Conversation[ToyState]:
    """We play the client to a server."""
    if not how.user or set(how.user) & set(" \n"):
        raise LoginRefused("", "a user's name has no blanks")
    encrypted = yield from _encrypt(how.tls, how.direct_tls)
    yield Send(line("HELLO", how.user, how.database))
    words = yield from read_line()
    if words[0] == "PROVE" and len(words) == 2:
        if how.password is None:
            raise LoginRefused("", "the server asks for a password, and there is none")
        yield Send(line("PROOF", proof_of(how.password, _unhex(words[1]))))
        words = yield from read_line()
    parameters: dict[str, str] = {}
    while words[0] == "INFO" and len(words) == 3 and len(parameters) < 100:
        parameters[words[1]] = words[2]
        words = yield from read_line()
    if words[0] == "ERROR":
        text = words[-1]
        raise LoginRefused("", text, transient="too many" in text, raw=line(*words))
    if words[0] != "WELCOME" or len(words) != 3:
        raise WireError("a login ends with WELCOME")
    number, secret = _number(words[1]), _unhex(words[2])
    return ToyState(parameters, b"", parameters.get("lang", "en").encode(), number, secret, encrypted)


def _encrypt(tls: str, direct: bool) -> Conversation[bool]:
    if tls == "disable":
        return False
    if direct:
        raise LoginRefused("", "this protocol has no TLS from the first byte on")
    yield Send(b"TLS\n")
    words = yield from read_line()
    if words == ["YES"]:
        yield StartTls(TlsSide.CLIENT)
        return True
    if words[0] == "ERROR":
        raise LoginRefused("", words[-1], raw=line(*words))
    if tls != "prefer":
        raise LoginRefused("", "the server has no TLS")
    return False


# [login]


# [upkeep]
def ask(request: str) -> Conversation[str]:
    """One request of the proxy's own, on a connection that nobody uses. Returns the answer's text."""
    yield Send(line(request))
    words = yield from read_line()
    if words[:2] != ["OK", "I"]:
        raise WireError(f"{request}: {' '.join(words)}")
    return words[-1]


def cancel(state: ToyState, tls: str) -> Conversation[None]:
    """On a second connection: end what the backend runs. Returns when the server has closed it."""
    encrypted = yield from _encrypt(tls, direct=False)
    if state.encrypted and not encrypted:
        raise LoginRefused("", "the server has no TLS for a cancel")
    yield Send(line("CANCEL", str(state.number), state.secret.hex()))
    try:
        while True:
            yield Receive()
    except PeerClosed:
        return


# [upkeep]
