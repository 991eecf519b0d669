"""The same steps at a server and through the proxy: what they return, and every session variable behind each of them."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any
from urllib.parse import quote

import pymysql
from pymysql.constants import CLIENT

from tests.servers.mysql import DATABASE, PASSWORD, USER, MySqlServer
from tests.servers.proxy import ProxyProcess
from tests.waiting import PATIENCE

OWN = frozenset(
    b"pseudo_thread_id timestamp last_gtid session_track_system_variables session_track_state_change statement_id"
    b" session_track_transaction_info session_track_schema rand_seed1 rand_seed2 gtid_binlog_pos gtid_binlog_state"
    b" gtid_current_pos gtid_slave_pos gtid_executed gtid_purged proxy_user innodb_thread_sleep_delay"
    b" in_transaction insert_id last_insert_id identity warning_count error_count".decode().split()
)
"""Variables of a connection's own, or that every statement changes; the last ones are asked for one by one."""


def target(server: MySqlServer) -> str:
    """The URL of a server for the command line."""
    scheme = "mariadb" if server.version.startswith("mariadb") else "mysql"
    return f"{scheme}://{USER}:{quote(PASSWORD)}@127.0.0.1:{server.port}/{DATABASE}"


def connect(port: int, **more: Any) -> pymysql.Connection[Any]:
    """PyMySQL's connection of the tests' user, in the server's own autocommit."""
    settings = {
        "user": USER,
        "password": PASSWORD.encode(),
        "database": DATABASE,
        "autocommit": None,
        "read_timeout": PATIENCE,
        **more,
    }
    return pymysql.connect(host="127.0.0.1", port=port, ssl_disabled=True, **settings)


class Side:
    """One of two connections."""

    def __init__(self, port: int, **more: Any) -> None:
        self.connection = connect(port, **more)

    def run(self, text: str) -> Any:
        """All of what an answer says."""
        said: list[Any] = []
        with self.connection.cursor() as cursor:
            try:
                cursor.execute(text)
                while True:
                    names = [column[0] for column in cursor.description] if cursor.description else None
                    said.append((names, cursor.fetchall(), cursor.rowcount, cursor.lastrowid, cursor.warning_count))
                    if not cursor.nextset():
                        return said
            except pymysql.MySQLError as error:
                with contextlib.suppress(pymysql.MySQLError):
                    while cursor.nextset():
                        pass
                return [*said, error.args]

    def variables(self) -> dict[str, str]:
        """Those that both sides must have alike."""
        ((_, rows, *_),) = self.run("SHOW SESSION VARIABLES")
        return {name: value for name, value in rows if name not in OWN}


class Two:
    """A session at the server and one through the proxy. What differs is an error."""

    def __init__(self, server: MySqlServer, proxy: ProxyProcess, **more: Any) -> None:
        self.direct, self.proxied = Side(server.port, **more), Side(proxy.port, **more)

    def run(self, text: str, *, free: bool = True) -> Any:
        """Run it on both sides. `free`: outside of a transaction, so that all variables may be asked for."""
        said, meant = self.proxied.run(text), self.direct.run(text)
        assert said == meant, f"{text}: {said} through the proxy, {meant} at the server"
        if free:
            self.compare()
        return said

    def compare(self) -> None:
        """All variables."""
        meant, said = self.direct.variables(), self.proxied.variables()
        assert said.keys() == meant.keys()
        differing = {name: (said[name], value) for name, value in meant.items() if said[name] != value}
        assert not differing, f"through the proxy and at the server: {differing}"

    def __enter__(self) -> Two:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.direct.connection.close()
        self.proxied.connection.close()


SEVERAL = {"client_flag": CLIENT.MULTI_STATEMENTS}
