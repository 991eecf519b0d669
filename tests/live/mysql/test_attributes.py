"""Statements with query attributes are read as those without: they pin nothing, and a server hears the attributes."""

from __future__ import annotations

import subprocess

import pytest

from tests.live.mysql.sidebyside import target
from tests.live.mysql.test_recorded import command_lines
from tests.servers.mysql import DATABASE, PASSWORD, USER, MySqlServer
from tests.servers.proxy import ProxyProcess
from tests.waiting import PATIENCE


def test_the_command_line_gives_attributes(tracking: MySqlServer) -> None:
    programs = [each for each in command_lines(tracking.version) if each[-1].endswith("/mysql")]
    if not programs:
        pytest.skip("only MySQL's own command line sends attributes")
    plugins = tracking.installation.plugins
    more = [f"--plugin-dir={plugins}"] if plugins else []
    with ProxyProcess.for_target(target(tracking), "--max-backends", "1") as proxy:
        for port in (tracking.port, proxy.port):
            where = [
                "-h127.0.0.1",
                f"-P{port}",
                f"-u{USER}",
                f"-p{PASSWORD}",
                "--ssl-mode=DISABLED",
                "-BN",
                "--commands",
            ]
            done = subprocess.run(
                [*programs[0], "--no-defaults", *where, "--get-server-public-key", *more, DATABASE],
                input="query_attributes one 1 two zwei\nSELECT 7;\nquery_attributes a b\nSET time_zone='+05:00';\n"
                "SELECT @@time_zone;\n",
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert done.stdout.split() == ["7", "+05:00"], done.stderr
        assert "was pinned" not in proxy.log()
