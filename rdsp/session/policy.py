"""When a backend goes back to the pool: the whole multiplexing policy, for all engines, in one pure function."""

from __future__ import annotations

from typing import Final

from rdsp_codecs.pins import PinBoard
from rdsp_codecs.transaction import Transaction

_NONE: Final = Transaction.NONE


def may_release(transaction: Transaction, pins: PinBoard, *, owed: bool) -> bool:
    """Whether the backend may be given back now.

    Arguments:
        transaction: as the protocol reported it at the end of the request.
        pins: the session's pins; any keeps the backend.
        owed: replies are outstanding, or half a message was forwarded in either direction.
    """
    return not owed and not pins and transaction is _NONE
