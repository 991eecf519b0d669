"""The questions that conversations put to the runtime with `Ask`, and the classes of their answers."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from rdsp_codecs.problems import Problem


@attrs.frozen
class Secrets:
    """Which passwords does this database user have?

    Answer: `tuple[str, ...]`, all valid ones, newest first; empty when the user is not known. A conversation must
    look and last the same for an unknown user as for a wrong password.
    """

    user: str
    database: str


@attrs.frozen
class Derive:
    """PBKDF2-HMAC-SHA-256 of a password: dear, so the runtime keeps it off the event loop and remembers results.

    Answer: `bytes`, 32 of them.

    Attributes:
        password: already prepared (SASLprep), UTF-8.
        salt: any length.
        iterations: at least 1; the asking conversation has capped it.
    """

    password: bytes = attrs.field(repr=False)
    salt: bytes
    iterations: int


@attrs.frozen
class Admit:
    """The client has proved who it is: may it come in, and what does its server look like?

    The runtime finds the pool, and opens a first database connection when it does not know the server's
    parameters yet (waiting up to `connection_borrow_timeout`). Answer: `Welcome`, or `Problem` to refuse with, or
    `bytes`: a server's own refusal to hand on unchanged.

    Attributes:
        login: the `ClientLogin` so far (its `leftover` is not yet set).
    """

    login: object


@attrs.frozen
class Welcome:
    """An admitted client's face of the server.

    Attributes:
        parameters: what the server reports about itself (PostgreSQL: ParameterStatus name to value, in the order
            of the server).
        connection_id: the client's process id / connection id as the proxy presents it, 1..2**31-1.
        cancel_secret: the secret half of the cancel key, 32 random bytes. An engine whose client can take fewer tells
            it the first of them, and gives the welcome back so (`ClientLogin.welcome`).
    """

    parameters: Mapping[str, str]
    connection_id: int
    cancel_secret: bytes = attrs.field(repr=False)


Refusal = Problem
