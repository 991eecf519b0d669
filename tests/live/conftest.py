"""What live tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.live.hostile import Scene
from tests.servers.postgres import DATABASE, PASSWORD, USER, TestServer
from tests.servers.proxy import ProxyProcess


def connect(port: int, **more: Any) -> psycopg.Connection[Any]:
    """A psycopg connection of the tests' user, in autocommit."""
    settings = {"user": USER, "password": PASSWORD, "dbname": DATABASE, "autocommit": True, **more}
    return psycopg.connect(port=port, **{"host": "127.0.0.1", **settings})


@pytest.fixture
def opened() -> Any:
    """Connections that are closed at the end of the test."""
    connections: list[psycopg.Connection[Any]] = []

    def open_one(port: int, **more: Any) -> psycopg.Connection[Any]:
        connection = connect(port, **more)
        connections.append(connection)
        return connection

    yield open_one
    for connection in connections:
        connection.close()


@pytest.fixture(scope="module")
def one_backend(postgres15: TestServer) -> Iterator[ProxyProcess]:
    """A proxy of the module's own, with one backend."""
    with ProxyProcess.for_target(postgres15.target(), "--max-backends", "1") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def two_backends(postgres15: TestServer) -> Iterator[ProxyProcess]:
    """A proxy of the module's own, with two backends."""
    with ProxyProcess.for_target(postgres15.target(), "--max-backends", "2") as proxy:
        yield proxy


@pytest.fixture
def scene(postgres15: TestServer, two_backends: ProxyProcess) -> Iterator[Scene]:
    """A scene on it, which must be whole at the end."""
    scene = Scene(postgres15, two_backends)
    try:
        yield scene
        scene.assert_all_is_well(2)
    finally:
        scene.leave()
