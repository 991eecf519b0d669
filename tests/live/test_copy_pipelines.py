"""What stands in front of, between and behind the data of a COPY FROM STDIN: directly and through the proxy.

A server in COPY ignores Sync and Flush, also those that were sent before it said that it is; at any other message it
ends the connection, at all versions. A COPY that fails before it has read a Sync leaves it to be answered.
"""

from __future__ import annotations

import itertools

import pytest

from tests.live.conftest import connect
from tests.servers.postgres import DATABASE, PASSWORD, USER, TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import (
    COPY_DONE,
    FLUSH,
    SYNC,
    RawClient,
    bind,
    copy_data,
    execute,
    fields,
    message,
    parse,
    query,
)

pytestmark = pytest.mark.live

TEXT = "COPY tried FROM STDIN"
STARTS = {
    "simple": query(TEXT),
    "extended": parse("", TEXT) + bind("") + execute(),
    "two in a text": query(f"{TEXT}; {TEXT}"),
    "a failing text": query(f"{TEXT}; SELECT 1/0"),
    "not the first": query(f"SELECT 5; {TEXT}; SELECT 6"),
}
ASK = parse("", "SELECT 5") + bind("") + execute()
BEHIND = {
    "nothing": b"",
    "Flush": FLUSH,
    "Sync": SYNC,
    "two Syncs": SYNC * 2,
    "a batch": ASK + SYNC,
    "a batch without Sync": ASK,
    "Sync and a batch": SYNC + ASK + SYNC,
    "a query": query("SELECT 6"),
    "Sync and a query": SYNC + query("SELECT 6"),
}
GOOD, BAD, FAIL = copy_data(b"1\n"), copy_data(b"x\n"), message("f", b"no\0")
DATA = {
    "good": GOOD + COPY_DONE,
    "good, Sync inside": GOOD + SYNC + GOOD + COPY_DONE,
    "bad": BAD + COPY_DONE,
    "bad, Sync behind": BAD + SYNC,
    "bad, Syncs inside": SYNC + BAD + SYNC + GOOD + SYNC + COPY_DONE,
    "given up": GOOD + FAIL,
    "twice good": GOOD + COPY_DONE + SYNC + GOOD + SYNC + COPY_DONE,
    "good, then bad": GOOD + COPY_DONE + SYNC + BAD + SYNC + COPY_DONE,
    "none": b"",
}
ONE_COPY = ("good", "good, Sync inside")
END = query("SELECT 'the end'")


@pytest.fixture(scope="module")
def proxy(postgres: TestServer) -> ProxyProcess:  # type: ignore[misc]
    with connect(postgres.port) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS tried (a int)")
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "1") as proxy:
        yield proxy


def said(port: int, *parts: bytes, ends: bool) -> list[str]:
    """What comes for the parts, each but the first sent when the server wants data.

    Behind them comes the `END`: when they have been answered, which they are where `ends`.
    """
    client = RawClient(port, {"user": USER, "database": DATABASE}, PASSWORD)
    lines: list[str] = []
    left = [*parts, END] if ends else [*parts[:-1], parts[-1] + END]
    try:
        client.send(left.pop(0))
        while True:
            tag, body = client.receive()
            error = fields(body) if tag == "E" else {}
            shown = body.decode() if tag in ("C", "D", "Z") and tag else ""
            lines.append(f"{tag} {error.get('C', '')} {error.get('M', '')} {shown}".strip())
            if not tag or (tag == "Z" and "the end" in "".join(lines[-3:])):
                return lines
            if left and tag == ("G" if len(left) > ends else "Z"):
                client.send(left.pop(0))
    finally:
        client.socket.close()


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("start", STARTS)
def test_it_is_answered_as_directly(postgres: TestServer, proxy: ProxyProcess, start: str, *, waits: bool) -> None:
    differ = []
    for behind, data in itertools.product(BEHIND, DATA):
        sent = BEHIND[behind] + DATA[data] + SYNC
        parts = (STARTS[start], sent) if waits else (STARTS[start] + sent,)
        ends = data != "none" and not (start == "two in a text" and data in ONE_COPY)
        direct, proxied = (said(port, *parts, ends=ends) for port in (postgres.port, proxy.port))
        if direct != proxied:
            differ.append((behind, data, direct, proxied))
    assert not differ


def test_a_sync_that_a_failed_copy_has_not_read_is_answered_to_nobody_else(
    postgres: TestServer, proxy: ProxyProcess
) -> None:
    with connect(proxy.port) as other:
        for number in range(200):
            client = RawClient(proxy.port, {"user": USER, "database": DATABASE}, PASSWORD)
            try:
                client.send(query(TEXT))
                while client.receive()[0] != "G":
                    pass
                client.send(BAD + SYNC)
                assert other.execute("SELECT %s::int", (number,)).fetchall() == [(number,)]
                assert [tag for tag, _ in client.until_ready(2)] == ["E", "Z", "Z"]
                assert client.value("SELECT 7") == b"7"
            finally:
                client.socket.close()
