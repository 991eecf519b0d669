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
Ask        whatever the question's class documents
========== ===========================================================
"""

from __future__ import annotations

from collections.abc import Generator
from enum import Enum
from typing import Any, TypeVar

import attrs

T = TypeVar("T")


class TlsSide(Enum):
    """Which end of the TLS handshake we play."""

    SERVER = "server"
    CLIENT = "client"


@attrs.frozen
class Send:
    """Write these bytes to the peer, all of them."""

    data: bytes


@attrs.frozen
class Receive:
    """Give the next bytes of the peer.

    Attributes:
        limit: at most so many bytes may be read; 0 means as many as the driver likes. A conversation that may be
            followed by TLS reads with an exact limit, so that nothing behind the request is taken out of the socket.
        peek: look only: the same bytes come again with the next `Receive`.
    """

    limit: int = 0
    peek: bool = False


@attrs.frozen
class HasUnread:
    """Whether the peer has said more already than was received: what it said without waiting for an answer."""


@attrs.frozen
class StartTls:
    """Shake hands now. Illegal while the conversation holds unread bytes: that would be an injection."""

    side: TlsSide


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
class Ask:
    """A question that only the runtime can answer (`rdsp_codecs.questions`)."""

    question: Any


Step = Send | Receive | HasUnread | StartTls | Ask
Conversation = Generator[Step, Any, T]
