"""The server's queue of notifications is full: sessions that listen through the proxy are told so, lose nothing, and
go on when it is not full any more.

From PostgreSQL 17 on its size is a setting.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.errors import ProgramLimitExceeded

from rdsp.demo.postgres import NotInstalled
from tests.live.test_notifications import Site, heard, notify
from tests.servers.fixtures import missing
from tests.servers.postgres import DATABASE, TestServer
from tests.servers.proxy import ProxyProcess
from tests.waiting import eventually

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    try:
        server = TestServer("17", max_notify_queue_pages="64")
    except NotInstalled as why:
        missing(why)
    try:
        with ProxyProcess.for_target(server.create().target(), "--max-backends", "4") as proxy:
            yield Site(server, proxy)
    finally:
        server.remove()


def fill(speaker: psycopg.Connection[Any]) -> None:
    """Say so much to nobody that the server takes no more."""
    with pytest.raises(ProgramLimitExceeded):
        for number in range(1000):
            notify(speaker, "filler", str(number).ljust(7900, "."))


def usage(site: Site) -> float:
    """How full the queue is, 0 to 1; asking has the server drop what everybody has read."""
    with site.server.admin(DATABASE) as admin:
        row = admin.execute("SELECT pg_notification_queue_usage()").fetchone()
    assert row is not None
    return float(row[0])


def test_a_queue_that_is_full_refuses_and_loses_nothing(site: Site, opened: Any) -> None:
    port = site.proxy.port
    first, second, speaker = opened(port), opened(port), opened(port)
    for client in (first, second):
        client.execute("LISTEN news")
    speaker.execute("DROP TABLE IF EXISTS said; CREATE TABLE said (a int)")
    eventually(lambda: len(site.listeners()) == 1)
    with site.server.admin(DATABASE) as hog:
        hog.execute("LISTEN filler")
        hog.execute("BEGIN")
        notify(speaker, "news", "before")
        fill(speaker)
        assert usage(site) > 0.9

        for _ in range(2):
            with pytest.raises(ProgramLimitExceeded):
                notify(speaker, "news", "lost")
        with pytest.raises(ProgramLimitExceeded), speaker.transaction():
            speaker.execute("INSERT INTO said VALUES (1)")
            notify(speaker, "news", "lost")
        assert speaker.execute("SELECT count(*) FROM said").fetchone() == (0,)
        # See docs/reference/accepted-differences.md.
        with pytest.raises(ProgramLimitExceeded):
            first.execute("SELECT 1")
        assert heard(first, 1) == heard(second, 1) == [("news", "before")]
        late = opened(port)
        late.execute("LISTEN news")
        assert late.execute("SELECT 'late'").fetchone() == ("late",)
        hog.execute("ROLLBACK")
    eventually(lambda: usage(site) < 0.1)

    for client in (first, second, late, speaker):
        assert client.execute("SELECT 'on'").fetchone() == ("on",)
    notify(speaker, "news", "after")
    assert [heard(client, 1) for client in (first, second, late)] == [[("news", "after")]] * 3
    # Nobody keeps a backend: but for the listener all can be had at once.
    holders = [opened(port) for _ in range(3)]
    pids = set()
    for holder in holders:
        holder.execute("BEGIN")
        pids.add(holder.execute("SELECT pg_backend_pid()").fetchone())
    assert len(pids) == 3
    assert len(site.backends()) == 4
    for holder in holders:
        holder.execute("ROLLBACK")
    assert first.execute("SELECT 'last'").fetchone() == ("last",)
