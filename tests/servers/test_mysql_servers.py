"""The servers of MySQL's tests are what the tests take them for."""

from __future__ import annotations

import pymysql
import pytest

from tests.servers.mysql import DATABASE, OPEN, PARSEC, PASSWORD, SHA256, USER, MySqlServer, user_of


def _connect(server: MySqlServer, user: str, password: bytes, *, tls: bool) -> pymysql.Connection:
    given = {"ssl": {"ca": str(server.certificate)}} if tls else {"ssl_disabled": True}
    return pymysql.connect(host="127.0.0.1", port=server.port, user=user, password=password, database=DATABASE, **given)


def test_the_server_is_of_the_version_that_it_is_called(mysql: MySqlServer) -> None:
    with mysql.admin() as admin, admin.cursor() as cursor:
        cursor.execute("SELECT VERSION()")
        said = cursor.fetchone()[0]
    name, _, number = mysql.version.partition("-")
    assert said.startswith(number + ".")
    assert ("MariaDB" in said) is (name == "mariadb")


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_each_way_to_prove_a_password_has_its_user(mysql: MySqlServer, tls: bool) -> None:
    if tls and mysql.version == "mysql-5.6":
        pytest.skip("it speaks TLS 1.0, which PyMySQL's own settings do not")
    for plugin in mysql.plugins:
        # PyMySQL does not know PARSEC, and a server that is built with yaSSL can take this one over TLS alone.
        if plugin != PARSEC and (mysql.version, plugin) != ("mysql-5.6", SHA256):
            with _connect(mysql, user_of(plugin), PASSWORD.encode(), tls=tls) as connection:
                with connection.cursor() as cursor:
                    cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
                    assert bool(cursor.fetchone()[1]) is tls
            with pytest.raises(pymysql.OperationalError, match="1045"):
                _connect(mysql, user_of(plugin), b"wrong", tls=tls)
    with _connect(mysql, OPEN, b"", tls=tls), _connect(mysql, USER, PASSWORD.encode(), tls=tls):
        pass
