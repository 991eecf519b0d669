"""What an engine's author gives the kit: some requests, and a small server. Derive from `Wire`, and hand it in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from hypothesis.strategies import SearchStrategy

from rdsp_codecs.api import BackendLogin
from rdsp_codecs.clients import ClientLogin
from rdsp_codecs.steps import Conversation


class Server(Protocol):
    """A model of one connection to a server, behind its login: bytes in, bytes out, no I/O and no clock.

    It says what the real one would say. The kit takes it for the truth: a client's answers through the proxy are
    compared with those of a server that it has for itself. Garbage must not make it raise anything.
    """

    def feed(self, data: bytes) -> bytes:
        """Take what came, any part of a message or several of them. Returns all that is answered by now."""

    @property
    def in_transaction(self) -> bool | None:
        """Whether a transaction is open, also one that has failed. None: both would be right."""

    @property
    def at_rest(self) -> bool:
        """It has had whole requests, and has answered them: nothing is owed by either side."""

    @property
    def session(self) -> object:
        """All that a client can have set on this connection and would miss, or find, on another one. Compared by `==`.

        What an engine cannot carry along, and pins for, need not be in it.
        """

    @property
    def effects(self) -> Sequence[Any]:
        """What clients have changed for good in the database through this connection, in order; hashable things.

        By it the kit sees that nothing was done twice, or not at all.
        """


class Wire:
    """What the kit must know of a protocol.

    Attributes:
        parameters: what a server tells of itself at login (`BackendState.server_parameters`), as `server()` has it.
        user, password, database: as the protocol can carry them.
        requests: what clients say once they are in: whole requests that a server answers, also with an error, of any
            kind that there is. They may open and end transactions. They do not say good-bye, and do not ask for what
            others of them have changed in the database: each model has one of its own.
        begin, commit: open a transaction; end it. Each is one request.
        changes: requests that each change what `Server.session` gives, at once and for good.
    """

    parameters: ClassVar[Mapping[str, str]] = {}
    user: ClassVar[str] = "app"
    password: ClassVar[str] = "secret"  # noqa: S105 - a test's
    database: ClassVar[str] = "shop"
    requests: ClassVar[SearchStrategy[bytes]]
    begin: ClassVar[bytes]
    commit: ClassVar[bytes]
    changes: ClassVar[Sequence[bytes]] = ()

    def server(self) -> Server:
        """A new connection, logged in as the proxy does, with a database of its own.

        What the codec's `login` asks behind the login itself is said to it.
        """
        raise NotImplementedError

    def own_server(self) -> Server:
        """The same as such a client has it that does without the proxy."""
        return self.server()

    def logged_in(self, server: Server, who: ClientLogin) -> None:
        """The proxy is in: what it has agreed at login, where answers depend on that."""

    def client(self, who: ClientLogin) -> ClientLogin:
        """Another client than the codec's own `login` is, made of what came of that; or the same."""
        return who

    def anew(self, state: Any, how: BackendLogin) -> Conversation[Any]:
        """How a client that is in becomes another user on the same connection (`moves.ANEW`): its side of that.

        Written by who has that; the relay then has `greet_anew`.

        Args:
            state: what `Codec.login` has come to on this connection.
            how: the other user, and the password. Raises `LoginRefused` where the server says no.
        """
        raise NotImplementedError

    def long_request(self, size: int) -> bytes:
        """One request of at least `size` bytes that a server answers."""
        raise NotImplementedError

    def errors(self, data: bytes) -> int:
        """How many errors these bytes of a server tell. Raises any exception when they are not whole messages."""
        raise NotImplementedError

    def answer(self, question: Any) -> Any:
        """Answer a question that the kit does not know (`rdsp_codecs.questions`)."""
        msg = f"an unknown question: {question!r}"
        raise AssertionError(msg)
