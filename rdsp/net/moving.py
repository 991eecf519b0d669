"""One read and one write of the steady state, apart from the transports, so that they can be compiled."""

from __future__ import annotations

from collections.abc import Callable

from rdsp.net.overlay import Overlay
from rdsp.net.transport import WOULD_BLOCK, is_peer_loss


def received(recv: Callable[[int], bytes], limit: int) -> bytes:
    """What a peer sent; b"": it is gone, by an end of file or worse. Raises one of WOULD_BLOCK."""
    try:
        return recv(limit)
    except WOULD_BLOCK:
        raise
    except OSError as error:
        if not is_peer_loss(error):
            raise
        return b""


def pushed(send: Callable[[bytes], int], data: bytes, overlay: Overlay | None = None) -> tuple[bytes, bool]:
    """Hand over as much as goes now, or as an `eager` overlay takes in one turn.

    Returns what is left, and whether the peer is lost (then nothing is left).
    """
    while data:
        try:
            sent = send(data)
        except WOULD_BLOCK:
            break
        except OSError as error:
            if not is_peer_loss(error):
                raise
            return b"", True
        data = data[sent:]
        if overlay is not None and overlay.eager:
            break
    return data, False


def joined(out: list[bytes]) -> bytes:
    """All that stands in an outbox, which is empty then.

    Cleared, not popped: a list that pops its last item keeps a block of no bytes, which comes from the C library.
    """
    data = out[0] if len(out) == 1 else b"".join(out)
    out.clear()
    return data
