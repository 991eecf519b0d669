"""Which commands name a session that is to be ended."""

from __future__ import annotations

import pytest

from rdsp_codecs.mysql.killing import victim_of


@pytest.mark.parametrize(
    ("command", "victim"),
    [
        (b"\3KILL QUERY 12", (12, False)),
        (b"\3kill\tquery\n12 ;", (12, False)),
        (b"\3KILL 12", (12, True)),
        (b"\3 Kill Connection 4294967295", (4294967295, True)),
        (b"\3KILL SOFT QUERY 7", (7, False)),
        (b"\3KILL HARD 7", (7, True)),
        (b"\x0c\7\0\0\0", (7, True)),
        (b"\x0c\7\0\0", None),
        (b"\3KILL QUERY ID 7", None),
        (b"\3KILL CONNECTION_ID()", (77, True)),
        (b"\3kill query connection_id ( ) ;", (77, False)),
        (b"\3KILL CONNECTION CONNECTION_ID()", (77, True)),
        (b"\3KILL CONNECTION_ID() + 1", None),
        (b"\3KILL connection_id", None),
        (b"\3KILL 7; SELECT 1", None),
        (b"\3KILL USER x", None),
        (b"\3KILLQUERY 7", None),
        (b"\3KILL -1", None),
        (b"\3SELECT 1", None),
        (b"\3KILL " + b" " * 99 + b"7", None),
    ],
)
def test_a_kill_is_known_by_its_words(command: bytes, victim: tuple[int, bool] | None) -> None:
    assert victim_of(command, 77, attributes=False) == victim
    if command[0] == 3:
        assert victim_of(b"\3\0\1" + command[1:], 77, attributes=True) == victim
        assert victim_of(b"\3\1\1" + command[1:], 77, attributes=True) is None
