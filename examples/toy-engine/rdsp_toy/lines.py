"""The protocol's lines. Every message is one line of UTF-8 that ends with a line feed.

    client                        server
    TLS                           YES, and a TLS handshake; or NO
    HELLO <user> <database>       PROVE <nonce in hex>; or at once WELCOME; or ERROR
    PROOF <hex>                   INFO <name> <value>, for each thing to know; then WELCOME <number> <secret in hex>
    CANCEL <number> <secret>      (instead of HELLO) closes the connection

and behind the login, where `<T>` is `I` outside of a transaction and `T` inside of one:

    GET <key>                     OK <T> <value>
    PUT <key> <value>             OK <T> put
    COUNT <n>                     ROW 1 ... ROW <n>, and OK <T> counted
    BEGIN, COMMIT, ROLLBACK       OK <T> ...
    SET lang <value>              OK <T> set: a setting of the session, which no ROLLBACK undoes
    SHOW lang                     OK <T> <value>
    SHOW connection               OK <T> <number of the server's connection>
    SHOW max_connections          OK <T> <number>
    SLEEP <seconds>               OK <T> slept
    PING                          OK <T> pong
    QUIT                          closes the connection

What fails is answered by `ERROR <T> <text>`. A client need not wait for an answer before it says more.
"""

from __future__ import annotations

import hashlib
import hmac

from rdsp_codecs.errors import FrameTooBig

LONGEST = 65536
"""Bytes of a line, with its end."""


def line(*words: str) -> bytes:
    """A message. Line feeds in words would make two of it."""
    return " ".join(words).replace("\n", " ").encode("utf-8", "replace") + b"\n"


def error(text: str, transaction: str = "I") -> bytes:
    """The server's ERROR."""
    return line("ERROR", transaction, text)


def cut(data: bytes, longest: int = LONGEST) -> tuple[list[bytes], bytes]:
    """The whole lines of `data`, and the beginning of another one. Raises `FrameTooBig`."""
    lines = data.split(b"\n")
    half = lines.pop()
    if len(half) >= longest or any(len(each) >= longest for each in lines):
        raise FrameTooBig(longest)
    return [each + b"\n" for each in lines], half


def proof_of(password: str, nonce: bytes) -> str:
    """What proves that the password is known, without telling it."""
    return hmac.new(password.encode(), nonce, hashlib.sha256).hexdigest()
