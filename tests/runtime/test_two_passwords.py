"""Two passwords of one user towards servers: which is tried, which is remembered, and whose words are told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import attrs
import pytest

from rdsp.pool.facts import KeyFacts
from rdsp_codecs.api import BackendLogin
from rdsp_codecs.errors import LoginRefused
from tests.runtime.test_introducing import Server, opener_of

FACTS = KeyFacts(key="key", user="app", database="shop", startup={})
BUSY = LoginRefused("53300", "too many connections")


class Codec:
    """Logs in with passwords that the server takes; all others it refuses with `refusal`, if that is not None."""

    name = "plain"

    def __init__(self, *right: str, refusal: LoginRefused | None = None) -> None:
        self.right = right
        self.refusal = refusal
        self.tried: list[str | None] = []

    def login(self, how: BackendLogin) -> Iterator[Any]:
        self.tried.append(how.password)
        if how.password not in self.right:
            raise self.refusal or LoginRefused("28P01", f"not {how.password}", password=True)
        return how.password
        yield


async def opens(codec: Codec, *known: str, times: int = 1) -> list[Any]:
    """With what it has logged in, so many times."""
    opener = attrs.evolve(opener_of(Server("one"), codec=cast(Any, codec)), passwords_of=lambda _: known)
    return [(await opener.open(FACTS)).state for _ in range(times)]


async def test_the_second_is_tried_where_the_first_is_refused_and_then_it_is_the_first() -> None:
    codec = Codec("old")
    assert await opens(codec, "new", "old", times=3) == ["old"] * 3
    assert codec.tried == ["new", "old", "old", "old"]


async def test_the_first_again_where_the_server_has_it_by_now() -> None:
    codec = Codec("old")
    opener = attrs.evolve(opener_of(Server("one"), codec=cast(Any, codec)), passwords_of=lambda _: ("new", "old"))
    await opener.open(FACTS)
    codec.right = ("new",)
    assert [(await opener.open(FACTS)).state for _ in range(2)] == ["new", "new"]
    assert codec.tried == ["new", "old", "old", "new", "new"]


async def test_what_is_no_password_any_more_is_forgotten() -> None:
    codec, known = Codec("old", "third"), ["new", "old"]
    opener = attrs.evolve(opener_of(Server("one"), codec=cast(Any, codec)), passwords_of=lambda _: tuple(known))
    await opener.open(FACTS)
    known[:] = ["third", "fourth"]
    assert (await opener.open(FACTS)).state == "third"
    assert codec.tried == ["new", "old", "third"]


async def test_the_first_refusal_is_told_and_no_third_password_is_tried() -> None:
    codec = Codec("third")
    with pytest.raises(LoginRefused, match="not new"):
        await opens(codec, "new", "old", "third")
    assert codec.tried == ["new", "old"]


@pytest.mark.parametrize("known", [("new",), ("new", "old")])
async def test_a_refusal_for_another_reason_tries_no_other_password(known: tuple[str, ...]) -> None:
    codec = Codec("old", refusal=BUSY)
    with pytest.raises(LoginRefused, match="too many"):
        await opens(codec, *known)
    assert codec.tried == ["new"]


async def test_without_a_password_the_server_is_asked_once() -> None:
    codec = Codec()
    with pytest.raises(LoginRefused, match="not None"):
        await opens(codec)
    assert codec.tried == [None]
