"""Derived keys: right, remembered, never worked out twice at once, never more than a few at once."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from rdsp.auth.derive import KeyDeriver
from rdsp.errors import InternalError
from tests.waiting import PATIENCE

pytestmark = pytest.mark.trio


@contextmanager
def counted_hash(monkeypatch: pytest.MonkeyPatch, gate: threading.Event) -> Iterator[list[int]]:
    """The real hash behind a gate; the list holds how many ran at once, seen at each start."""
    real, lock, seen = hashlib.pbkdf2_hmac, threading.Lock(), list[int]()
    running = 0

    def hashing(name: str, password: bytes, salt: bytes, iterations: int, length: int) -> bytes:
        nonlocal running
        with lock:
            running += 1
            seen.append(running)
        assert gate.wait(PATIENCE)
        with lock:
            running -= 1
        return real(name, password, salt, iterations, length)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", hashing)
    try:
        yield seen
    finally:
        gate.set()


async def settled() -> None:
    """Until all tasks wait; worker threads need real time, so ask a few times."""
    for _ in range(5):
        await trio.testing.wait_all_tasks_blocked(0.01)


async def test_the_key_proves_the_password_in_the_exchange_of_rfc_7677() -> None:
    # RFC 7677 section 3: user "user", password "pencil"; the proof is worked out as RFC 5802 section 3 says.
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    first = "n=user,r=rOprNGfwEbeRWgbNEkqO"
    challenge = f"r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    salted = await KeyDeriver().derive(b"pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    message = f"{first},{challenge},c=biws,r={nonce}".encode()
    signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    proof = bytes(one ^ other for one, other in zip(client_key, signature, strict=True))
    assert base64.b64encode(proof) == b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="


async def test_a_key_is_worked_out_once_and_remembered() -> None:
    deriver = KeyDeriver()
    first = await deriver.derive(b"p", b"s", 10)
    assert await deriver.derive(b"p", b"s", 10) == first
    assert deriver.derived == 1
    deriver.forget()
    assert await deriver.derive(b"p", b"s", 10) == first
    assert deriver.derived == 2


async def test_what_differs_in_anything_has_a_key_of_its_own() -> None:
    deriver = KeyDeriver()
    asked = [(b"ab", b"c", 1), (b"a", b"bc", 1), (b"ab", b"c", 2), (b"", b"abc", 1), (b"abc", b"", 1), (b"a", b"c", 1)]
    keys = [await deriver.derive(*one) for one in asked]
    assert len(set(keys)) == len(asked)
    assert deriver.derived == len(asked)


async def test_the_least_recently_used_key_is_forgotten_first() -> None:
    deriver = KeyDeriver(remembered=2)
    for password in (b"a", b"b", b"a", b"c"):
        await deriver.derive(password, b"s", 1)
    assert deriver.derived == 3
    await deriver.derive(b"a", b"s", 1)
    assert deriver.derived == 3
    await deriver.derive(b"b", b"s", 1)
    assert deriver.derived == 4
    assert "remembered=2" in repr(deriver)


async def test_equal_keys_asked_for_at_once_are_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    deriver, gate, results = KeyDeriver(threads=4), threading.Event(), list[bytes]()

    async def ask() -> None:
        results.append(await deriver.derive(b"p", b"s", 10))

    with counted_hash(monkeypatch, gate) as seen:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
            await settled()
            assert seen == [1]
            gate.set()
    assert len(set(results)) == 1
    assert len(results) == 20
    assert deriver.derived == 1


async def test_no_more_than_the_allowed_threads_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    deriver, gate = KeyDeriver(threads=2), threading.Event()
    with counted_hash(monkeypatch, gate) as seen:
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(deriver.derive, b"p", bytes([number]), 1)
            await settled()
            assert seen == [1, 2]
            gate.set()
    assert len(seen) == 8
    assert max(seen) == 2


async def test_one_that_is_cancelled_in_the_queue_leaves_its_work_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    deriver, gate, results = KeyDeriver(threads=1), threading.Event(), list[bytes]()
    leader_scope = trio.CancelScope()
    expected = hashlib.pbkdf2_hmac("sha256", b"p", b"s", 10)

    async def leader() -> None:
        with leader_scope:
            await deriver.derive(b"p", b"s", 10)

    async def follower() -> None:
        results.append(await deriver.derive(b"p", b"s", 10))

    with counted_hash(monkeypatch, gate):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(deriver.derive, b"other", b"s", 1)  # takes the only thread
            await settled()
            nursery.start_soon(leader)
            await settled()
            nursery.start_soon(follower)
            await settled()
            leader_scope.cancel()
            await settled()
            gate.set()
    assert leader_scope.cancelled_caught
    assert results == [expected]
    assert "running=0" in repr(deriver)


async def test_less_than_one_iteration_is_a_bug_of_whoever_asks() -> None:
    with pytest.raises(InternalError):
        await KeyDeriver().derive(b"p", b"s", 0)


async def test_no_password_is_kept() -> None:
    deriver = KeyDeriver()
    await deriver.derive(b"hunter2", b"s", 1)
    assert not any(b"hunter2" in key + value for key, value in deriver._known.items())
    assert "hunter2" not in repr(deriver)
