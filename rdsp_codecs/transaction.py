"""Where a database connection stands with respect to transactions, for every engine."""

from __future__ import annotations

from enum import Enum


class Transaction(Enum):
    """The transaction status at the end of a request, as the protocol reported it."""

    NONE = "none"
    OPEN = "open"
    FAILED = "failed"
    UNKNOWN = "unknown"
