"""What stands between a socket and its user: TLS's records, or an engine's layer above them. Compiled."""

from __future__ import annotations

from mypy_extensions import mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
class Overlay:
    """Has `recv` and `send`, as `Transport`, and tells what the socket's readiness does not.

    Attributes:
        drained: the last `recv` emptied the socket, and left nothing here. An edge tells of more, or has told of the
            end.
        eager: the last `send` took less than it could, because it had taken long: no edge will come, call it again.
    """

    __slots__ = ("drained", "eager")

    def __init__(self) -> None:
        self.drained = self.eager = False

    @property
    def unread(self) -> bool:
        """Whether something has come in that `recv` did not give yet."""
        raise NotImplementedError

    @property
    def ready(self) -> bool:
        """Whether `recv` is worth trying, whatever the socket has."""
        raise NotImplementedError

    def recv(self, limit: int, /) -> bytes:
        """See `Transport`."""
        raise NotImplementedError

    def send(self, data: bytes, /) -> int:
        """See `Transport`."""
        raise NotImplementedError

    def close_notify(self) -> None:
        """The last words of all, as far as the socket takes them. The peer's are not waited for."""
        raise NotImplementedError
