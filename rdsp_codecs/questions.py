"""The questions that conversations put to the runtime with `Ask`, and the classes of their answers.

Plain classes and compiled: every login asks four of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from rdsp_codecs.problems import Problem


class Secrets:
    """Which passwords does this database user have?

    Answer: `tuple[str, ...]`, all valid ones, newest first; empty when the user is not known. A conversation must
    look and last the same for an unknown user as for a wrong password.
    """

    __slots__ = ("database", "user")
    __match_args__: ClassVar[tuple[str, str]] = ("user", "database")

    def __init__(self, user: str, database: str) -> None:
        self.user: Final = user
        self.database: Final = database

    def __repr__(self) -> str:
        return f"Secrets({self.user!r}, {self.database!r})"


class Derive:
    """PBKDF2-HMAC-SHA-256 of a password: dear, so the runtime keeps it off the event loop and remembers results.

    Answer: `bytes`, 32 of them.

    Attributes:
        password: already prepared (SASLprep), UTF-8.
        salt: any length.
        iterations: at least 1; the asking conversation has capped it.
    """

    __slots__ = ("iterations", "password", "salt")
    __match_args__: ClassVar[tuple[str, str, str]] = ("password", "salt", "iterations")

    def __init__(self, password: bytes, salt: bytes, iterations: int) -> None:
        self.password: Final = password
        self.salt: Final = salt
        self.iterations: Final = iterations

    def __repr__(self) -> str:
        return f"Derive({self.salt!r}, {self.iterations!r})"


class Introduce:
    """A server speaks first: how does the client's server look to somebody whom it does not know yet?

    Asked before a word is said. The runtime has it from the latest login, or from a connection of its own
    (`Introducing.introduce`). Answer: `Welcome`, without a cancel secret's use yet, or `Problem`, or `bytes`: a
    server's own refusal. The connection id is the one that `Admit` will give.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "Introduce()"


class PrivateKey:
    """An RSA key of this process, for clients that encrypt a password and nothing else. Answer: `RSAPrivateKey`.

    Made when it is asked for the first time, 2048 bits, and the same up to the end of the process.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "PrivateKey()"


class Admit:
    """The client has proved who it is: may it come in, and what does its server look like?

    The runtime finds the pool, and opens a first database connection when it does not know the server's
    parameters yet (waiting up to `connection_borrow_timeout`). Answer: `Welcome`, or `Problem` to refuse with, or
    `bytes`: a server's own refusal to hand on unchanged.

    Attributes:
        login: the `ClientLogin` so far (its `leftover` is not yet set).
    """

    __slots__ = ("login",)
    __match_args__: ClassVar[tuple[str]] = ("login",)

    def __init__(self, login: object) -> None:
        self.login: Final = login

    def __repr__(self) -> str:
        return f"Admit({self.login!r})"


class Welcome:
    """An admitted client's face of the server.

    Attributes:
        parameters: what the server reports about itself (PostgreSQL: ParameterStatus name to value, in the order
            of the server). The mapping is never changed: what is made of it is remembered.
        connection_id: the client's process id / connection id as the proxy presents it, 1..2**31-1.
        cancel_secret: the secret half of the cancel key, 32 random bytes. An engine whose client can take fewer tells
            it the first of them, and gives the welcome back so (`ClientLogin.welcome`).
    """

    __slots__ = ("cancel_secret", "connection_id", "parameters")
    __match_args__: ClassVar[tuple[str, str, str]] = ("parameters", "connection_id", "cancel_secret")

    def __init__(self, parameters: Mapping[str, str], connection_id: int, cancel_secret: bytes) -> None:
        self.parameters: Final = parameters
        self.connection_id: Final = connection_id
        self.cancel_secret: Final = cancel_secret

    def __repr__(self) -> str:
        return f"Welcome({self.parameters!r}, {self.connection_id!r})"


Refusal = Problem
