"""The command line as its users see it: what is printed where, and the exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rdsp.cli.main import cli
from rdsp.config.reference import markdown

Install = Callable[..., None]


def rdsp(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="rdsp")


def test_a_good_file_is_summed_up_without_its_secrets(good_file: Path) -> None:
    result = rdsp("check", good_file)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "shop (toy)",
        "  listens on   127.0.0.1:6432",
        "  target       db.example:7777/shop",
        "  backends     100 % of its max_connections, at most 20",
        "  users        app",
    ]
    assert result.stderr.splitlines() == [
        'warning: proxies[0].target.tls: "prefer": the connection to db.example may be unencrypted'
    ]
    assert "hunter2" not in result.output


def test_every_fault_of_a_bad_file_is_one_line_and_the_status_is_2(good_file: Path) -> None:
    good_file.write_text(good_file.read_text().replace("= 20", "= 0\ntarget_group.bogus = 1") + "debug_logging = 1\n")
    for command in ("check", "run"):
        result = rdsp(command, good_file)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert sorted(result.stderr.splitlines()) == [
            f"{good_file}: proxies[0].debug_logging: expected true or false, got 1",
            f"{good_file}: proxies[0].target_group.bogus: unknown key",
            f"{good_file}: proxies[0].target_group.max_backends: 0 is not in 1..100000",
        ]


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    result = rdsp("check", tmp_path / "none.toml")
    assert result.exit_code == 2
    assert result.stderr == f"{tmp_path}/none.toml: cannot be read: No such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "give either a configuration file or --target"),
        (["x.toml", "--target", "toy://h"], "give either a configuration file or --target"),
        (["--target", "toy://h"], "--target needs --listen"),
        (["x.toml", "--listen", "1"], "--listen and --max-backends belong to --target"),
        (["--target", "toy://h", "--listen", "1", "--max-backends", "many"], "'many' is not a valid integer"),
        (["--target", "toy://h", "--listen", "1", "--log-level", "loud"], "'loud' is not one of"),
    ],
)
def test_a_bad_command_line_is_refused_with_its_reason(arguments: list[str], text: str) -> None:
    result = rdsp("run", *arguments)
    assert result.exit_code == 2
    assert text in result.stderr


def test_faults_of_the_options_have_the_options_names_and_no_secret(install: Install) -> None:
    install(toy="TOY")
    result = rdsp("run", "--target", "toy://u:hunter2@h:port", "--listen", "::1:5", "--max-backends", "0")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        'rdsp: --listen: "::1:5": an IPv6 address needs brackets, as in "[::1]:5432"',
        "rdsp: --target: the port is not in 1..65535",
        "rdsp: --max-backends: 0 is not in 1..100000",
    ]


def test_the_manual_and_the_schema_are_printed() -> None:
    assert rdsp("config", "reference").stdout == markdown()
    assert "proxies" in json.loads(rdsp("config", "schema").stdout)["properties"]


def test_help_and_version_are_there() -> None:
    assert rdsp("--version").output.startswith("rdsp ")
    for command in ("run", "check", "config", "demo", "engines"):
        assert command in rdsp("--help").output
        assert rdsp(command, "--help").exit_code == 0
