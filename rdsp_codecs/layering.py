"""What may stand between a connection and the engine's own messages: compression, for one. Compiled.

A conversation begins it with the step `PutOn`, at both ends of the proxy for itself. From there on the runtime passes
through it all that it reads and writes there, in conversations and in steady state; the codec's conversations and its
relay see the messages alone, as if there were no layer. TLS is below it.
"""

from __future__ import annotations

from mypy_extensions import mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
class Layer:
    """Both directions of one connection. No I/O, no waiting; one connection has one of its own.

    Invariants: what `unwrap` gives in all is what the peer wrapped, in order; memory is bounded whatever the peer says;
    no call takes longer for what a peer claims than for what it has sent and for the bytes that are given.

    Attributes:
        more: `unwrap` has more to give without any more bytes of the peer's.
    """

    __slots__ = ("more",)

    def __init__(self) -> None:
        self.more = False

    def wrap(self, data: bytes) -> bytes:
        """All of `data`, which is cut anywhere, as it goes out. The runtime gives some 64 KiB at once."""
        raise NotImplementedError

    def unwrap(self, data: bytes, limit: int) -> bytes:
        """Take what came (b"": nothing), and give at most `limit` bytes; b"": nothing yet. Raises `WireError`."""
        raise NotImplementedError

    @property
    def begun(self) -> bool:
        """Whether something that came has not been given yet, were it half a header."""
        raise NotImplementedError
