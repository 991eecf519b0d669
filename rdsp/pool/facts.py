"""What a pool knows about its key: who logs in, with which start-up parameters, and what the server reported."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import attrs


@attrs.define(eq=False)
class KeyFacts:
    """One pool of a target group.

    Attributes:
        key: the pool's own key. All that belong to the pool have this very object, which is faster than an equal one.
        user, database: of every backend in it.
        startup: start-up parameters of every backend in it.
        own: it is one client's alone (`ClientLogin.own_backend`): its backends are as the server makes them.
        shared: what the codec's relays of this pool share.
        parameters: what the server reported at the latest login; None before the first.
        clients: how many have entered the pool and not left it.
        keys: the pool's own key and its variants, those that had members lately among them.
    """

    key: Hashable
    user: str
    database: str
    startup: Mapping[str, str]
    shared: Any = None
    parameters: Mapping[str, str] | None = None
    clients: int = 0
    own: bool = False
    keys: set[Hashable] = attrs.field(factory=set)
