"""Who asks for much, or for what takes long, leaves others their turns."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from rdsp.net.memory import Script
from rdsp.session.reading import CHUNK, FEW, LEAST, LONG, START, paced
from rdsp.session.run import Session
from rdsp_codecs.postgres import messages as m
from tests.runtime.world import proxy, world


def test_less_is_read_at_once_where_it_takes_long_and_more_again_where_it_does_not() -> None:
    chunk, seen = CHUNK, []
    for seconds in (1, 1, 1, 1, 0, 0, 0, 0, 0, LONG, 0):
        chunk = paced(chunk, seconds)
        seen.append(chunk)
    assert seen == [16384, LEAST, LEAST, LEAST, 8192, 16384, 32768, CHUNK, CHUNK, CHUNK, CHUNK]


@pytest.mark.parametrize(
    ("cost", "first", "later"), [(0.0001, FEW + 7 * START + 4 * CHUNK, 8 * CHUNK), (0.01, FEW + START, 2 * LEAST)]
)
async def test_a_step_of_a_client_that_pipelines_is_short(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch, cost: float, first: int, later: int
) -> None:
    """By a clock that reads alone move: each costs so many seconds."""
    async with world(proxy()) as w:
        large = Script(capacity=1 << 22)
        w.database.scripts = lambda: (large, Script())
        client = await w.client(ours=large)
        await client.query("BEGIN")
        session = w.context.registry.find(client.number, client.secret)
        assert isinstance(session, Session)
        splice, board, steps = session._splice, w.board, dict[int, int]()
        real, moment = splice._client_recv, [trio.current_time()]

        def recv(limit: int) -> bytes:
            data = real(limit)
            moment[0] += cost
            steps[board.steps_called] = steps.get(board.steps_called, 0) + len(data)
            return data

        monkeypatch.setattr(board, "refresh", lambda: moment[0])
        splice._client_recv = recv
        await client.send(m.message(b"d", bytes(995)) * 3000)
        assert (await client.query("COMMIT")).tags == ["COMMIT"]
        read = list(steps.values())
        assert read[0] == first
        assert set(read[2:-2]) == {later}
        assert sum(read) > 2_000_000
        await client.leave()
        monkeypatch.undo()
        await w.settle()
