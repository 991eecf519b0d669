"""The key of a pool: which database connections are as good as each other. Compiled: every borrow looks it up."""

from __future__ import annotations

from collections.abc import Hashable
from typing import final


@final
class PoolKey:
    """A value with its hash at hand: that of a tuple is worked out anew for every look-up.

    Attributes:
        login: what the codec says of a login (`Codec.pool_key`).
        owner: the number of the client whose alone the backends are (`ClientLogin.own_backend`); 0: nobody's.
        marks: what their sessions have left on them for ever (`Relay.variant`); None: nothing.
        base: the key without the marks; its own when there are none.
    """

    __slots__ = ("_base", "_hash", "login", "marks", "owner")

    def __init__(self, login: Hashable, owner: int = 0, marks: Hashable = None) -> None:
        self.login = login
        self.owner = owner
        self.marks = marks
        self._hash = hash((login, owner, marks))
        self._base: PoolKey | None = None

    @property
    def base(self) -> PoolKey:
        """See the class."""
        return self if self._base is None else self._base

    def marked(self, marks: Hashable) -> PoolKey:
        """The key of those with these marks instead. With None it is the base itself, by which the pool is known."""
        if marks is None:
            return self.base
        key = PoolKey(self.login, self.owner, marks)
        key._base = self.base
        return key

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, PoolKey) or self._hash != other._hash:
            return False
        return self.owner == other.owner and self.login == other.login and self.marks == other.marks

    def __repr__(self) -> str:
        return f"<PoolKey {self.login!r} {self.owner or ''} {self.marks or ''}>"


def base_of(key: Hashable) -> Hashable:
    """The key without its marks."""
    return key.base if isinstance(key, PoolKey) else key
