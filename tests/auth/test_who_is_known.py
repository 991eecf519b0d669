"""What a refusal costs: the same for a known user and for one that is not, whoever was here before."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from rdsp.auth.credentials import Credentials
from rdsp.auth.derive import KeyDeriver
from rdsp.config.model import Proxy, Secret, UserAuth
from rdsp.converse import converse
from rdsp.net.memory import memory_pair
from rdsp_codecs import proofs
from rdsp_codecs.api import BackendLogin, ClientLogin, Offer, Turned
from rdsp_codecs.errors import LoginRefused
from rdsp_codecs.postgres import CODEC
from rdsp_codecs.postgres.login import login
from rdsp_codecs.questions import Admit, Derive, Secrets, Welcome

pytestmark = pytest.mark.trio

SALT_KEY = b"k" * 32


def settings(folder: Path | None = None, **users: tuple[str, ...]) -> Proxy:
    auth = [UserAuth(username=user, password=Secret(one)) for user, passwords in users.items() for one in passwords]
    if folder is not None:
        auth.append(UserAuth(secrets_folder=str(folder)))
    return Proxy(auth=tuple(auth))


@attrs.define
class Gate:
    """The proxy's side of logins: real credentials, real derivations."""

    credentials: Credentials
    deriver: KeyDeriver = attrs.field(factory=KeyDeriver)

    async def _answer(self, question: Any) -> Any:
        match question:
            case Secrets(user):
                return self.credentials.passwords(user)
            case Derive(password, salt, iterations):
                return await self.deriver.derive(password, salt, iterations)
            case Admit():
                return Welcome({}, 77, b"abcd")

    async def knock(self, user: str, password: str) -> tuple[bool, int, int]:
        """Whether the client got in; how many keys were worked out for it and how many remembered."""
        await self.credentials.work_ahead(self.deriver.derive, SALT_KEY)
        before = self.deriver.derived, self.deriver.recalled
        ours, theirs = memory_pair("client")
        offer = Offer(
            tls=False, require_tls=False, local=True, open_to_local=False, entropy=os.urandom, mock_salt_key=SALT_KEY
        )
        greetings: list[Any] = []

        async def greet() -> None:
            greetings.append(await converse(CODEC.greet(offer), ours, answer=self._answer))

        async def their_key(question: Any) -> bytes:
            return hashlib.pbkdf2_hmac("sha256", question.password, question.salt, question.iterations)

        how = BackendLogin(user=user, password=password, database="d", parameters={}, tls="disable", entropy=os.urandom)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(greet)
            try:
                await converse(login(how), theirs, answer=their_key)
            except LoginRefused as refused:
                assert refused.code == "28P01"
        (greeting,) = greetings
        assert isinstance(greeting, ClientLogin | Turned)
        after = self.deriver.derived, self.deriver.recalled
        return isinstance(greeting, ClientLogin), after[0] - before[0], after[1] - before[1]


async def test_a_refusal_costs_the_same_whether_the_user_is_active_idle_or_unknown() -> None:
    gate = Gate(Credentials(settings(active=("pässword",), idle=("two",), turning=("old", "new"))))
    assert await gate.knock("active", "pässword") == (True, 0, 2)
    assert await gate.knock("turning", "new") == (True, 0, 2)
    costs = {
        (user, attempt): await gate.knock(user, "guess")
        for attempt in range(2)
        for user in ("active", "idle", "turning", "nobody", "nobody-else", "A" * 60)
    }
    assert set(costs.values()) == {(False, 0, 2)}


async def test_a_password_beyond_ascii_takes_no_longer_than_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its preparation is ten times as long as that of another, and would show in the time of a refusal."""
    credentials = Credentials(settings(app=("pässwörd Ⅷ",)))
    await credentials.work_ahead(KeyDeriver().derive, SALT_KEY)

    def prepared_again(*_: object) -> str:
        raise AssertionError

    monkeypatch.setattr(proofs, "_mapped", prepared_again)
    assert proofs.candidates(SALT_KEY, b"salt", credentials.passwords("app"))[0][0] == "pässwörd VIII".encode()


async def test_unknown_users_fill_no_memory() -> None:
    gate = Gate(Credentials(settings(app=("one",))))
    await gate.knock("app", "one")
    before = repr(gate.deriver)
    for number in range(20):
        await gate.knock(f"nobody{number}", "guess")
    assert repr(gate.deriver) == before


async def test_a_password_that_is_new_is_worked_out_before_the_next_client_speaks(tmp_path: Path) -> None:
    now = [0.0]
    credentials = Credentials(settings(tmp_path, app=("one",)), clock=lambda: now[0])
    gate = Gate(credentials)
    await gate.knock("app", "guess")
    worked_out = gate.deriver.derived
    (tmp_path / "a.json").write_text(json.dumps({"username": "late", "password": "x"}))
    now[0] += 2
    assert await gate.knock("late", "guess") == (False, 0, 2)
    assert gate.deriver.derived == worked_out + 1
    credentials.update(settings(tmp_path, app=("one",), newcomer=("two",)))
    assert await gate.knock("newcomer", "guess") == (False, 0, 2)
    assert gate.deriver.derived == worked_out + 2


async def test_nothing_is_worked_out_twice_nor_where_nobody_is_known() -> None:
    asked: list[bytes] = []

    async def derive(password: bytes, salt: bytes, iterations: int) -> bytes:
        asked.append(password)
        await trio.sleep(0)
        return b""

    await Credentials(Proxy()).work_ahead(derive, SALT_KEY)
    assert asked == []
    credentials = Credentials(settings(app=("one",), web=("two",)))
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(credentials.work_ahead, derive, SALT_KEY)
    assert asked.count(b"one") == asked.count(b"two") == 1


async def test_a_client_that_leaves_meanwhile_leaves_the_rest_to_the_next() -> None:
    asked: list[bytes] = []

    async def derive(password: bytes, salt: bytes, iterations: int) -> bytes:
        asked.append(password)
        await trio.sleep(1)
        return b""

    credentials = Credentials(settings(app=("one",), web=("two",)))
    with trio.CancelScope() as scope:
        scope.cancel()
        await credentials.work_ahead(derive, SALT_KEY)
    assert asked in ([], [b"one"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(credentials.work_ahead, derive, SALT_KEY)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert b"one" in asked
