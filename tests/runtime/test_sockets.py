"""TCP settings reach the kernel; the ways to servers come in their order."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp.config.addresses import Address
from rdsp.config.model import Target, Tcp
from rdsp.endpoint.listener import Door
from rdsp.net.sockets import tune
from rdsp.pool.servers import LAST_FOR, Servers, TcpWay, Troubles, UnixWay


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as one, listener.accept()[0] as other:
            yield one, other


def _option(sock: socket.socket, option: int, level: int = socket.IPPROTO_TCP) -> int:
    return sock.getsockopt(level, option)


def test_tcp_settings_reach_the_kernel(pair: tuple[socket.socket, socket.socket]) -> None:
    sock = pair[0]
    settings = Tcp(keepalives_idle=7.2, keepalives_interval=3, keepalives_count=5, tcp_user_timeout=1.5)
    tune(sock, settings)
    assert _option(sock, socket.TCP_NODELAY)
    assert _option(sock, socket.SO_KEEPALIVE, socket.SOL_SOCKET)
    assert _option(sock, socket.TCP_KEEPIDLE) == 8
    assert _option(sock, socket.TCP_KEEPINTVL) == 3
    assert _option(sock, socket.TCP_KEEPCNT) == 5
    assert _option(sock, socket.TCP_USER_TIMEOUT) == 1500


def test_what_is_0_is_left_to_the_system(pair: tuple[socket.socket, socket.socket]) -> None:
    tuned, other = pair
    tune(tuned, Tcp(keepalives=True))
    for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT):
        assert _option(tuned, option) == _option(other, option)
    tune(tuned, Tcp(keepalives=False, keepalives_idle=7))
    assert not _option(tuned, socket.SO_KEEPALIVE, socket.SOL_SOCKET)


def test_a_unix_socket_is_left_alone() -> None:
    one, other = socket.socketpair()
    with one, other:
        tune(one, Tcp(keepalives_idle=7, tcp_user_timeout=1))


def test_clients_have_the_settings_of_the_moment_whenever_they_came() -> None:
    """Also who waited while they changed, and where an option is not set any more."""
    first = Tcp(keepalives_idle=7, keepalives_interval=3, keepalives_count=5, tcp_user_timeout=1.5)
    second, third = Tcp(keepalives_idle=9), Tcp(keepalives=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        door = Door(listener, Address("127.0.0.1", 1), listener.close)

        def come() -> socket.socket:
            return socket.create_connection(listener.getsockname())

        def let_in(settings: Tcp) -> list[int]:
            number, peer = door.accept()
            assert peer[0] == "127.0.0.1"
            sock = door.let_in(number, settings)
            found = [_option(sock, socket.TCP_NODELAY), _option(sock, socket.SO_KEEPALIVE, socket.SOL_SOCKET)]
            found += [_option(sock, option) for option in options]
            sock.close()
            return found

        def nobody() -> None:
            with pytest.raises(BlockingIOError):
                door.accept()
            door.nobody_waits()

        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
        with socket.socket() as fresh:
            idle, interval, count, timeout = (_option(fresh, option) for option in options)
        with come(), come(), come(), come():
            assert let_in(first) == let_in(first) == [1, 1, 7, 3, 5, 1500]
            assert let_in(second) == let_in(second) == [1, 1, 9, interval, count, timeout]
        nobody()
        with come(), come():
            assert let_in(second) == [1, 1, 9, interval, count, timeout]
            assert let_in(third) == [1, 0, idle, interval, count, timeout]
        nobody()
        with come():
            assert let_in(third) == [1, 0, idle, interval, count, timeout]


async def test_ways_are_in_the_order_of_the_hosts_and_have_their_ports() -> None:
    servers = Servers(Target(("a", "/run/pg:7", "[::1]:8"), None), 5432, ".s.PGSQL.{}", Tcp())
    ways = await servers.ways()
    assert [way.name for way in ways] == ["a:5432", "unix:/run/pg:7", "[::1]:8"]
    assert [type(way) for way in ways] == [TcpWay, UnixWay, TcpWay]
    servers.failed(ways[0])
    assert [way.name for way in await servers.ways()] == ["unix:/run/pg:7", "[::1]:8", "a:5432"]
    servers.served(ways[0])
    assert [way.name for way in await servers.ways()] == ["a:5432", "unix:/run/pg:7", "[::1]:8"]


async def test_a_name_is_looked_up_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As trio has it for tests: a resolver of our own in the place of the system's."""
    import trio

    answers = [["192.0.2.1", "192.0.2.2"], ["192.0.2.3"], OSError("no such name")]

    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # type: ignore[no-untyped-def]
            found = answers.pop(0)
            if isinstance(found, OSError):
                raise found
            return [(socket.AF_INET, type, 6, "", (address, port)) for address in found]

        async def getnameinfo(self, sockaddr, flags):  # type: ignore[no-untyped-def]
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Resolver())
    servers = Servers(Target(("db.example",), 5433, target_session_attrs="read-write"), 5432, "", Tcp())
    assert [way.name for way in await servers.ways()] == ["192.0.2.1:5433", "192.0.2.2:5433"]
    again = await servers.ways()
    assert [(way.name, way.hostname) for way in again] == [("192.0.2.3:5433", "db.example")]
    assert [way.name for way in await servers.ways()] == ["db.example:5433"]
    assert not answers


@given(
    st.integers(1, 6).flatmap(
        lambda count: st.tuples(
            st.just(count), st.lists(st.tuples(st.integers(0, count - 1), st.booleans(), st.floats(0, 30)), max_size=20)
        )
    )
)
def test_all_ways_are_always_there_and_those_in_trouble_are_last(
    case: tuple[int, list[tuple[int, bool, float]]],
) -> None:
    count, history = case
    ways = [TcpWay(Address(f"h{number}", 1), Tcp()) for number in range(count)]
    troubles = Troubles()
    now, since = 0.0, dict[str, float]()
    for number, served, pause in history:
        name = ways[number].name
        if served:
            troubles.served(name)
            since.pop(name, None)
        else:
            troubles.failed(name, now)
            since[name] = now
        now += pause
        found = troubles.last(ways, now)
        bad = {name for name, start in since.items() if now < start + LAST_FOR}
        assert [way.name for way in found] == [w.name for w in ways if w.name not in bad] + [
            w.name for w in ways if w.name in bad
        ]
