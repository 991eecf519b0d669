"""What a conversation may ask of the code that drives it.

A conversation is a generator that yields these steps and is sent the answers. `rdsp.converse` drives one over a
real transport; `rdsp_codecs.testing` drives one with plain bytes, or two against each other. A conversation does
no I/O, reads no clock and makes no random numbers.

========== ===========================================================
step       answer sent back into the generator
========== ===========================================================
Send       None
Receive    bytes, at least one (`PeerClosed` is thrown in at end of file)
HasUnread  bool
StartTls   `TlsFacts`
EndTls     None
PutOn      None
Ask        whatever the question's class documents
========== ===========================================================

Compiled, and the commonest steps are plain classes: a login is made of twenty of them and of questions.
"""

from __future__ import annotations

from collections.abc import Generator
from enum import Enum
from typing import Any, ClassVar, Final, TypeVar

import attrs

from rdsp_codecs.layering import Layer

T = TypeVar("T")


class TlsSide(Enum):
    """Which end of the TLS handshake we play."""

    SERVER = "server"
    CLIENT = "client"


class Send:
    """Write these bytes to the peer, all of them."""

    __slots__ = ("data",)
    __match_args__: ClassVar[tuple[str]] = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data: Final = data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Send) and other.data == self.data

    def __hash__(self) -> int:
        return hash(self.data)

    def __repr__(self) -> str:
        return f"Send({self.data!r})"


class Receive:
    """Give the next bytes of the peer.

    Attributes:
        limit: at most so many bytes may be read; 0 means as many as the driver likes. A conversation that may be
            followed by TLS reads with an exact limit, so that nothing behind the request is taken out of the socket.
        peek: look only: the same bytes come again with the next `Receive`.
    """

    __slots__ = ("limit", "peek")
    __match_args__: ClassVar[tuple[str, str]] = ("limit", "peek")

    def __init__(self, limit: int = 0, *, peek: bool = False) -> None:
        self.limit: Final = limit
        self.peek: Final = peek

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Receive) and other.limit == self.limit and other.peek is self.peek

    def __hash__(self) -> int:
        return hash((self.limit, self.peek))

    def __repr__(self) -> str:
        return f"Receive({self.limit}, peek={self.peek})"


RECEIVE: Final = Receive()
"""Whatever there is."""


@attrs.frozen
class HasUnread:
    """Whether the peer has said more already than was received: what it said without waiting for an answer."""


@attrs.frozen
class StartTls:
    """Shake hands now. Illegal while the conversation holds unread bytes: that would be an injection.

    Attributes:
        side: which end we play.
        within: a layer that the handshake alone passes through, and TLS 1.2 at the most; what it stands in ends with
            it. (TDS before 8: packets of type PRELOGIN.)
    """

    side: TlsSide
    within: Layer | None = None


@attrs.frozen
class EndTls:
    """From here on nothing is encrypted any more (TDS before 8, where only the login is).

    A peer that has said more already, and encrypted, breaks the protocol: `WireError` is thrown in.
    """


@attrs.frozen
class TlsFacts:
    """What a finished handshake gave.

    Attributes:
        version: for example "TLSv1.3".
        alpn: the protocol chosen, or "".
        peer_certificate: the peer's certificate, DER, or b"".
        end_point: the hash of the server's certificate that "tls-server-end-point" binds to (RFC 5929), where we are
            the client; b"" where we are not, or where its signature has no hash function.
    """

    version: str
    alpn: str = ""
    peer_certificate: bytes = b""
    end_point: bytes = b""


@attrs.frozen
class PutOn:
    """From here on all that is read and written on this connection, also behind the conversation, passes a layer.

    Attributes:
        layer: new, and of this connection alone.
        early: what was read already and not used: the layer's first input.
    """

    layer: Layer
    early: bytes = b""


class Ask:
    """A question that only the runtime can answer (`rdsp_codecs.questions`)."""

    __slots__ = ("question",)
    __match_args__: ClassVar[tuple[str]] = ("question",)

    def __init__(self, question: Any) -> None:
        self.question: Final = question

    def __repr__(self) -> str:
        return f"Ask({self.question!r})"


Step = Send | Receive | HasUnread | StartTls | EndTls | PutOn | Ask
Conversation = Generator[Step, Any, T]
