"""What a pool knows about its key: who logs in, with which start-up parameters, and what the server reported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.define(eq=False)
class KeyFacts:
    """One pool of a target group.

    Attributes:
        user, database: of every backend in it.
        startup: start-up parameters of every backend in it.
        shared: what the codec's relays of this pool share.
        parameters: what the server reported at the latest login; None before the first.
        clients: how many have entered the pool and not left it.
    """

    user: str
    database: str
    startup: Mapping[str, str]
    shared: Any = None
    parameters: Mapping[str, str] | None = None
    clients: int = 0
