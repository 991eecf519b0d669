"""Listen addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp.config.addresses import Address, parse_address, parse_target, show_target
from rdsp.config.units import BadValue


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [
        ("127.0.0.1:6432", "127.0.0.1", 6432),
        ("db-proxy.example:1", "db-proxy.example", 1),
        ("[::1]:6432", "::1", 6432),
        ("[::]:0", "::", 0),
        ("5432", "0.0.0.0", 5432),
        (5432, "0.0.0.0", 5432),
        (":5432", "0.0.0.0", 5432),
        (" localhost:65535 ", "localhost", 65535),
        ("unix:/run/rdsp:5432", "/run/rdsp", 5432),
        ("unix:@rdsp:5432", "@rdsp", 5432),
        ("unix:/run/rdsp/its:own.socket", "/run/rdsp/its:own.socket", 0),
    ],
)
def test_an_address_is_read(written: object, host: str, port: int) -> None:
    assert parse_address(written) == Address(host, port)


@pytest.mark.parametrize(
    "written",
    ["", "localhost", "localhost:", "::1:5432", "[::1]", "[::1]5432", "[::1", "[localhost]:1", "a b:1", "h:65536", "h:-1",
     "h:x", "h:٣", "unix:", "unix:run/x", "unix:@", "unix:/a:0", "unix:/a:65536", "unix:/" + "x" * 107, "unix:/a\0b", 65536, -1, True, None, 1.5, [], "é:1"],
)  # fmt: skip
def test_what_is_no_address_is_refused(written: object) -> None:
    with pytest.raises(BadValue):
        parse_address(written)


def test_a_bare_host_is_an_address_where_there_is_a_default_port() -> None:
    assert Address.parse("localhost", 5432) == Address("localhost", 5432)
    assert Address.parse("[::1]", 5432) == Address("::1", 5432)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_an_address_survives_being_shown(host: object, port: int) -> None:
    address = Address(str(host), port)
    assert parse_address(str(address)) == address


@given(st.text() | st.integers())
def test_anything_at_all_is_read_or_refused_with_one_line(written: object) -> None:
    try:
        address = parse_address(written)
    except BadValue as error:
        assert "\n" not in str(error)
    else:
        assert 0 <= address.port <= 65535


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("127.0.0.1:1", "127.0.0.1:1", True),
        ("0.0.0.0:1", "127.0.0.1:1", True),
        ("[::]:1", "[::1]:1", True),
        ("0.0.0.0:1", "[::1]:1", False),
        ("127.0.0.1:1", "127.0.0.1:2", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("127.0.0.1:1", "127.0.0.2:1", False),
        ("unix:/a:1", "unix:/a:1", True),
        ("unix:/a:1", "unix:/a:2", False),
        ("unix:/a", "unix:/a", True),
        ("unix:@0.0.0.0:1", "0.0.0.0:1", False),
    ],
)
def test_two_addresses_clash_when_both_cannot_be_listened_on(one: str, other: str, clash: bool) -> None:
    first, second = parse_address(one), parse_address(other)
    assert first.clashes_with(second) is clash
    assert second.clashes_with(first) is clash


@pytest.mark.parametrize(
    ("written", "loopback"),
    [
        ("127.0.0.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("a:1", False),
        ("unix:/a:1", True),
    ],
)
def test_an_address_says_whether_only_this_machine_reaches_it(written: str, loopback: bool) -> None:
    assert parse_address(written).is_loopback() is loopback


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("unix:/run/rdsp:5432", "/run/rdsp/.s.PGSQL.5432"),
        ("unix:/:1", "/.s.PGSQL.1"),
        ("unix:@rdsp:5432", "@rdsp/.s.PGSQL.5432"),
        ("unix:/run/one.socket", "/run/one.socket"),
    ],
)
def test_a_directory_and_a_port_are_the_socket_that_clients_look_for(written: str, path: str) -> None:
    assert parse_address(written).socket_path(".s.PGSQL.{}") == path


@pytest.mark.parametrize(
    ("written", "host", "port", "shown"),
    [
        ("db.example", "db.example", None, "db.example"),
        ("db.example:7", "db.example", 7, "db.example:7"),
        ("::1", "::1", None, "::1"),
        ("[::1]", "::1", None, "::1"),
        ("[::1]:7", "::1", 7, "[::1]:7"),
        ("/run/pg", "/run/pg", None, "/run/pg"),
        ("/run/pg:7", "/run/pg", 7, "/run/pg:7"),
        ("@pg:7", "@pg", 7, "@pg:7"),
    ],
)
def test_a_servers_place_is_read_and_shown(written: str, host: str, port: int | None, shown: str) -> None:
    assert parse_target(written) == (host, port)
    assert show_target(host, port) == shown
    assert parse_target(shown) == (host, port)


@pytest.mark.parametrize("written", ["", "a b", "h:0", "h:65536", "h:x", "[h]:1", "[::1", "@", "/a:0", "h:1:2", ":5"])
def test_what_is_no_servers_place_is_refused(written: str) -> None:
    with pytest.raises(BadValue):
        parse_target(written)


@given(st.text())
def test_any_servers_place_is_read_as_what_is_shown_or_refused_with_one_line(written: str) -> None:
    try:
        host, port = parse_target(written)
    except BadValue as error:
        assert "\n" not in str(error)
    else:
        assert parse_target(show_target(host, port)) == (host, port)
