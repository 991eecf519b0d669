"""Small conversations with a backend that nobody has borrowed: its end, cancels, and the server's limit.

Called by the pool's tasks under their deadlines.
"""

from __future__ import annotations

from typing import Any

from rdsp.converse import receive, send_all
from rdsp.net.transport import Transport
from rdsp.observe.dispatch import Observers
from rdsp.pool.backend import Backend
from rdsp.pool.limits import UNTOLD
from rdsp.pool.opening import Opener
from rdsp_codecs.errors import CodecError, LoginRefused, PeerClosed, WireError


async def say_goodbye(backend: Backend, words: bytes) -> None:
    """Say good-bye and read to the end of file, so that the server has let go when this returns.

    Cancellation leaves the backend fit only for closing.
    """
    try:
        await send_all(backend.transport, words)
        while True:
            await receive(backend.transport, 65536)
    except (PeerClosed, WireError):
        return


async def cancel_quietly(opener: Opener, backend: Backend, observers: Observers) -> bool:
    """Ask the server to cancel what the backend runs; when that cannot be done, it is reported and not raised.

    Returns whether the server has dealt with it: if not, the cancel may still come.
    """
    try:
        await opener.cancel(backend.state, backend.way, backend.facts)
    except (CodecError, OSError) as error:
        observers.cancel_asked(None, f"not delivered: {error}")
        return False
    return True


async def ask_limit(opener: Opener, transport: Transport, state: Any) -> int:
    """How many connections the server allows to ordinary users.

    `UNTOLD` when the server does not say. Raises `OSError`, `WireError`, `PeerClosed`; after that, or a cancellation,
    the transport is fit only for closing.
    """
    try:
        allowed: int = await opener.run(opener.codec.max_connections(state), transport)
    except LoginRefused:
        return UNTOLD
    return allowed
