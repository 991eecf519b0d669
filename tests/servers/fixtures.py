"""Fixtures for real servers. A missing server skips with its reason, and fails where RDSP_REQUIRE_SERVERS is set."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Protocol, TypeVar

import pytest

from rdsp.demo.postgres import NotInstalled
from tests.servers.postgres import DATABASE, PASSWORD, USER, TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import RawClient


def missing(why: NotInstalled) -> NoReturn:
    """Skip, or fail where the servers are required."""
    if os.environ.get("RDSP_REQUIRE_SERVERS"):
        pytest.fail(str(why))
    pytest.skip(str(why))


class _Server(Protocol):
    def create(self) -> Any:
        """Start it, and make what the tests want of it."""

    def remove(self) -> None:
        """Stop it, and leave nothing."""


S = TypeVar("S", bound=_Server)


def running(make: Callable[[str], S], version: str) -> Iterator[S]:
    """A server while its fixture lasts; without its programs the test skips, or fails (`missing`)."""
    try:
        server = make(version)
    except NotInstalled as why:
        missing(why)
    try:
        server.create()
        yield server
    finally:
        server.remove()


def _server(version: str) -> Iterator[TestServer]:
    return running(TestServer, version)


@pytest.fixture(scope="session")
def postgres15() -> Iterator[TestServer]:
    """PostgreSQL 15 of Debian."""
    yield from _server("15")


@pytest.fixture(scope="session")
def postgres16() -> Iterator[TestServer]:
    """The embedded PostgreSQL 16."""
    yield from _server("16")


@pytest.fixture(scope="session")
def postgres17() -> Iterator[TestServer]:
    """PostgreSQL 17 with TLS: the oldest that takes it without being asked."""
    yield from _server("17")


@pytest.fixture(scope="session")
def postgres18() -> Iterator[TestServer]:
    """The embedded PostgreSQL 18."""
    yield from _server("18")


@pytest.fixture(
    scope="session",
    params=[
        "15",
        pytest.param("16", marks=pytest.mark.matrix),
        pytest.param("17", marks=pytest.mark.matrix),
        pytest.param("18", marks=pytest.mark.matrix),
    ],
)
def postgres(request: pytest.FixtureRequest) -> TestServer:
    """Every version, one after the other: 15 in `make test`, the others in the matrix."""
    server: TestServer = request.getfixturevalue(f"postgres{request.param}")
    return server


@pytest.fixture
def fresh_postgres() -> Iterator[TestServer]:
    """A server of the test's own, to be killed and restarted."""
    yield from _server("15")


@pytest.fixture(scope="session")
def proxies(postgres: TestServer) -> Iterator[Callable[[int], ProxyProcess]]:
    """Proxies in front of `postgres` by their number of backends, started on first use."""
    started: dict[int, ProxyProcess] = {}

    def get(backends: int) -> ProxyProcess:
        if backends not in started:
            started[backends] = ProxyProcess.for_target(postgres.target(), "--max-backends", str(backends))
        return started[backends]

    yield get
    for proxy in started.values():
        with proxy:
            pass


@pytest.fixture
def raw() -> Iterator[Callable[..., RawClient]]:
    """Makes raw clients that are closed at the end of the test."""
    clients: list[RawClient] = []

    def connect(port: int, **parameters: str) -> RawClient:
        client = RawClient(port, {"user": USER, "database": DATABASE, **parameters}, PASSWORD)
        clients.append(client)
        return client

    yield connect
    for client in clients:
        client.close()
