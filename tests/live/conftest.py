"""What live tests share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.servers.postgres import DATABASE, PASSWORD, USER


def connect(port: int, **more: Any) -> psycopg.Connection[Any]:
    """A psycopg connection of the tests' user, in autocommit."""
    settings = {"user": USER, "password": PASSWORD, "dbname": DATABASE, "autocommit": True, **more}
    return psycopg.connect(port=port, **{"host": "127.0.0.1", **settings})


def eventually(claim: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait until a claim holds; fails when it does not in time."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


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
