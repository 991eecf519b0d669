"""MySQL's and MariaDB's codec go through the kit by the calls that PostgreSQL's goes through it by."""

from __future__ import annotations

import pytest

from rdsp_codecs.mysql import MARIADB, MYSQL
from rdsp_codecs.testing import Check, codec_checks
from rdsp_codecs.testing.mariadb import CLASSIC as MARIADB_CLASSIC
from rdsp_codecs.testing.mysql import CLASSIC


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
