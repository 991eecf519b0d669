"""Who asks for much, or for what takes long, leaves others their turns."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from rdsp.config.model import TargetGroup
from rdsp.net.memory import Script
from rdsp.session.reading import CHUNK, FEW, LEAST, LONG, START, paced
from rdsp.session.run import Session
from rdsp_codecs.postgres import messages as m
from rdsp_codecs.postgres.relay import PostgresRelay
from rdsp_codecs.postgres.replies import Replies
from rdsp_codecs.postgres.requests import Requests
from tests.compiled import looks_inside
from tests.runtime.world import parse, proxy, world


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


@looks_inside
@pytest.mark.parametrize("owed", [7, 100_000])
async def test_what_thousands_of_messages_ask_for_is_done_in_many_steps(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch, owed: int
) -> None:
    """Those of the client's and those of the server's; all are answered, in order."""
    async with world(proxy(TargetGroup(max_backends=1)), service_time=0, strain=(10, owed)) as w:
        large = Script(capacity=1 << 22)
        w.database.scripts = lambda: (large, Script(capacity=1 << 22))
        client = await w.client(ours=large, theirs=Script(capacity=1 << 22))
        judged, most, steps = [0], [0], [0]
        for judge in (Requests, Replies):
            _count(monkeypatch, judge, judged)
        for name in ("from_client", "from_server", "attached", "go_on"):
            _look(monkeypatch, name, judged, most, steps)
        group = parse("s1", client.mark("SELECT 1")) + m.message(b"C", b"Ss1\0") + m.message(b"S")
        await client.send(
            m.message(b"C", b"Sx\0") * 3000 + m.message(b"S") + group * 100 + m.query(client.mark("SELECT 2"))
        )
        assert (await client.reply()).kinds == "3" * 3000 + "Z"
        for _ in range(100):
            assert (await client.reply()).kinds == "13Z"
        assert (await client.reply()).rows == ["2"]
        assert steps[0] > 300
        assert most[0] <= 2 * 10 + 2  # both directions have their turn in one
        await client.leave()
        monkeypatch.undo()
        await w.settle()


def _look(monkeypatch: pytest.MonkeyPatch, name: str, judged: list[int], most: list[int], steps: list[int]) -> None:
    """See how many messages are judged in each call of a relay's."""
    real = getattr(PostgresRelay, name)

    def step(*args: Any) -> Any:
        steps[0] += 1
        judged[0] = 0
        signals = real(*args)
        most[0] = max(most[0], judged[0])
        return signals

    monkeypatch.setattr(PostgresRelay, name, step)


def _count(monkeypatch: pytest.MonkeyPatch, judge: type[Requests | Replies], judged: list[int]) -> None:
    real = judge.judge

    def counted(self: Any, tag: int, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        judged[0] += 1
        return real(self, tag, buffer, start, shown, total)

    monkeypatch.setattr(judge, "judge", counted)
