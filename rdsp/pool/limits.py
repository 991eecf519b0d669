"""From settings, and what the server allows, to the limits of a book. Pure."""

from __future__ import annotations

from typing import Final

from rdsp.config.model import TargetGroup
from rdsp.pool.book import BookLimits


def quota(allowed: int, settings: TargetGroup) -> int:
    """How many backends may be open when the server allows `allowed` ordinary connections: at least 1."""
    share = allowed * settings.max_connections_percent // 100 - settings.reserved_connections
    if settings.max_backends is not None:
        share = min(share, settings.max_backends)
    return max(1, share)


UNTOLD: Final = -1
"""In the place of a number: the server was asked, and does not say."""


def book_limits(settings: TargetGroup, allowed: int | None) -> BookLimits:
    """The book's limits.

    Arguments:
        allowed: connections that the server allows to ordinary users. None while it was not asked: then one backend
            may be opened, to ask it. `UNTOLD`: then `max_backends` alone counts, and without it there is one.
    """
    if allowed is None:
        limit = 1
    elif allowed == UNTOLD:
        limit = settings.max_backends or 1
    else:
        limit = quota(allowed, settings)
    return BookLimits(
        limit=limit,
        max_idle=max(1, limit * settings.idle_percent // settings.max_connections_percent),
        max_waiters=settings.max_waiters,
        wait_timeout=settings.connection_borrow_timeout,
        max_simultaneous_opens=settings.max_simultaneous_opens,
        idle_timeout=settings.backend_idle_timeout,
        lifetime=settings.backend_lifetime,
        grows_when_waiting=settings.connection_borrow_timeout > 0,
    )
