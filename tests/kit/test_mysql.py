"""MySQL's and MariaDB's codec go through the kit by the calls that PostgreSQL's goes through it by."""

from __future__ import annotations

import pytest

from rdsp_codecs.mysql import MARIADB, MYSQL
from rdsp_codecs.testing import Check, codec_checks
from rdsp_codecs.testing.mariadb import CLASSIC as MARIADB_CLASSIC
from rdsp_codecs.testing.mysql import CLASSIC, WIRE, MySqlWire
from rdsp_codecs.testing.mysql.said import query, several
from rdsp_codecs.testing.pool import SESSIONS, TRANSACTIONS, Pool, Step


@pytest.mark.parametrize("check", codec_checks(MYSQL), ids=str)
def test_mysql_passes(check: Check) -> None:
    check()


@pytest.mark.parametrize("check", codec_checks(MARIADB), ids=str)
def test_mariadb_passes(check: Check) -> None:
    check()


@pytest.mark.parametrize("check", codec_checks(MYSQL, CLASSIC), ids=str)
def test_mysql_passes_with_clients_of_the_classic_form(check: Check) -> None:
    check()


@pytest.mark.parametrize("check", codec_checks(MARIADB, MARIADB_CLASSIC), ids=str)
def test_mariadb_passes_with_clients_of_the_classic_form(check: Check) -> None:
    check()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("wire", [CLASSIC, MARIADB_CLASSIC], ids=["mysql", "mariadb"])
def test_an_error_does_not_tell_that_the_one_before_has_rolled_back(wire: MySqlWire, seed: int) -> None:
    """Until an answer has flags the model leaves open where a transaction stands, as servers do."""
    codec = MARIADB if wire.mariadb else MYSQL
    stuck = [query(text) for text in ("BEGIN", "INSERT INTO stuck VALUES (1)")]
    for behind in ([query("SELEC"), query("SELECT n FROM three"), query("COMMIT")], [several(allowed=False)]):
        pool = Pool(codec, wire, seed, (TRANSACTIONS,))
        pool.runs([Step("A", each, waits=False) for each in (*stuck, *behind)])
        assert pool.seen["ends"]


@pytest.mark.parametrize("wire", [WIRE, CLASSIC], ids=["newer", "classic"])
def test_a_savepoint_outside_of_transactions_keeps_no_server_later(wire: MySqlWire) -> None:
    for text in ("SAVEPOINT a", "SELECT 1; SAVEPOINT a"):
        pool = Pool(MYSQL, wire, 0, (TRANSACTIONS,))
        pool.runs([Step("A", query(each), waits=False) for each in (text, "SET autocommit = 0")])
        assert pool.client("A").backend is None


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("wire", [CLASSIC, MARIADB_CLASSIC], ids=["mysql", "mariadb"])
def test_a_client_that_leaves_while_it_lingers_leaves_a_server_that_is_reset(wire: MySqlWire, seed: int) -> None:
    """As the pool has it: what the number of an INSERT is was not asked for yet."""
    codec = MARIADB if wire.mariadb else MYSQL
    pool = Pool(codec, wire, seed, (SESSIONS,), backends=1, mode="whole")
    pool.runs([Step("A", query("INSERT INTO t VALUES (1)"), waits=False), Step("A", None, waits=True)])
    pool.runs([Step("B", query("BEGIN"), waits=False), Step("B", query("SELECT LAST_INSERT_ID()"), waits=True)])
    assert pool.client("B").backend is not None
