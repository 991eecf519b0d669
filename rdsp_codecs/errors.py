"""The errors a codec raises.

Codecs raise these and nothing else. A codec never says whose fault a wire error was: the place in `rdsp`
that fed the bytes knows which peer sent them and maps the error once (`rdsp.errors`).
"""

from __future__ import annotations


class CodecError(Exception):
    """Base of all errors raised by codecs."""


class WireError(CodecError):
    """The peer sent bytes that break its protocol, or a frame over a limit."""


class FrameTooBig(WireError):
    """A frame that is legal, and over the limit that was set.

    Attributes:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"a frame of more than {limit} bytes")
        self.limit = limit


class PeerClosed(CodecError):
    """The peer closed its side while a conversation waited for bytes (thrown into the generator by its driver)."""


class UnsupportedFeatureError(CodecError):
    """The peer asked for something that its protocol has and that this codec does not speak."""


class LoginRefused(CodecError):
    """The server refused our login.

    Attributes:
        code: the engine's own error code (for PostgreSQL the SQLSTATE), or "".
        text: the server's message, safe to show to the client that caused the login.
        transient: the refusal is about capacity or start-up (53300, 57P03...), so a later try may succeed.
        own_limit: a transient refusal is about a limit of this user's or this database's own: others are let in.
        elsewhere: it is about this server, which starts or stops: another one may let us in.
        password: it is about the password, as far as the server tells.
        raw: the server's error as complete wire bytes, to hand on unchanged; b"" when there is none.
    """

    def __init__(
        self,
        code: str,
        text: str,
        *,
        transient: bool = False,
        own_limit: bool = False,
        elsewhere: bool = False,
        password: bool = False,
        raw: bytes = b"",
    ) -> None:
        super().__init__(f"{code} {text}" if code else text)
        self.code = code
        self.text = text
        self.transient = transient
        self.own_limit = own_limit
        self.elsewhere = elsewhere
        self.password = password
        self.raw = raw


class PluginError(CodecError):
    """An engine could not be loaded: not installed, a missing member, a wrong API number, a failing import."""
