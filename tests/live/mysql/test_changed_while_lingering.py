"""COM_CHANGE_USER while the session keeps a backend for what only that knows (decision 22)."""

from __future__ import annotations

from pathlib import Path

import pytest

from rdsp_codecs.mysql import responses as r
from tests.live.mysql.test_change_user import SECOND, SECONDS_PASSWORD, people, proxied
from tests.servers.mysql import USER, MySqlServer
from tests.servers.mysqlclient import MySqlClient

__all__ = ["people"]


@pytest.mark.parametrize("others_wait", [False, True], ids=["alone", "others wait"])
@pytest.mark.parametrize("user", [USER, SECOND])
def test_what_a_lingering_session_has_left_is_nobodys(
    people: MySqlServer, tmp_path: Path, user: str, others_wait: bool
) -> None:
    """Behind an INSERT that made a number the session keeps its backend: the change of user takes it away."""
    asked = "SELECT LAST_INSERT_ID(), ROW_COUNT(), @@warning_count"
    with proxied(people, tmp_path, backends=1) as proxy, MySqlClient(proxy.port) as other:
        for turn in range(5):
            said = []
            for port in (people.port, proxy.port):
                with MySqlClient(port) as client:
                    assert client.query("INSERT INTO app.answered (n) VALUES (1)")[0][0] == 0
                    if others_wait and port == proxy.port:
                        other.command(r.COM_QUERY, b"SELECT LAST_INSERT_ID()")
                    if user == SECOND:
                        client.change_user(SECOND, SECONDS_PASSWORD, "of_second")
                    else:
                        client.change_user()
                    told = client.rows("SELECT LAST_INSERT_ID(), CURRENT_USER()")
                    if others_wait and port == proxy.port:
                        other.reader.begin(1)
                        while (payload := other.payload())[:1] != b"\x01" or payload == b"\x01":
                            pass
                        assert payload == b"\x010"
                        assert other.payload()[0] == 0xFE
                    client.change_user()
                    said.append((told, client.rows(asked)[0][0], client.rows("SELECT LAST_INSERT_ID()")))
            assert said[1] == said[0], turn
            assert said[0][0][0][0] == b"0"
            assert other.rows("SELECT LAST_INSERT_ID()") == [(b"0",)]
