"""How much is asked for in one read of the steady state changes with what comes; what comes through does not."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from rdsp.session.reading import CHUNK, FEW, START
from rdsp_codecs.postgres import messages as m
from tests.runtime.world import Client, world

EDGES = [size + more for size in (FEW, START, FEW + START, CHUNK, CHUNK + FEW) for more in (-1, 0, 1)]


async def raw(client: Client) -> bytes:
    """All of an answer."""
    answer, tag = b"", b""
    while tag != b"Z":
        head = await client._take(5)
        answer += head + await client._take(m.integer(head, 1) - 4)
        tag = head[:1]
    return answer


@pytest.mark.parametrize("size", EDGES)
async def test_a_request_of_just_the_size_of_a_read_is_answered(clock: MockClock, size: int) -> None:
    """A read that is full does not tell whether there is more, and no edge will."""
    async with world() as w:
        client = await w.client()
        for length in (size, size, 30, size):
            text = client.mark("SELECT 1 ")
            request = m.query(text + "x" * (length - len(m.query(text))))
            await client.send(request)
            assert (await client.reply()).rows == ["1"]
        await client.leave()
        await w.settle()


@pytest.mark.parametrize("size", EDGES)
async def test_an_answer_of_just_the_size_of_a_read_comes_through(clock: MockClock, size: int) -> None:
    async with world() as w:
        client = await w.client()
        await client.send(m.query(client.mark("SELECT 7")))
        around = len(await raw(client)) - 1
        for length in (size, size, around + 1, size):
            value = "7" * (length - around)
            await client.send(m.query(client.mark(f"SELECT {value}")))
            answer = await raw(client)
            assert len(answer) == length
            assert value.encode() in answer
        await client.leave()
        await w.settle()
