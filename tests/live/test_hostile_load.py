"""A client that means harm by what it asks for: too much, too long, too late; and what reaches others by that.

As in `test_hostile`: others notice nothing, and all backends are as fresh as before.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from resource import RLIMIT_NOFILE, prlimit

import pytest

from tests.live.hostile import MIB, cancel_request, knock, login, shown, staged
from tests.servers.postgres import PASSWORD, USER, TestServer
from tests.servers.rawclient import FLUSH, SYNC, RawClient, bind, copy_data, execute, parse, query
from tests.waiting import PATIENCE

pytestmark = pytest.mark.live


def test_floods_are_answered_in_full_and_in_order(postgres15: TestServer, tmp_path: Path) -> None:
    with staged(postgres15, tmp_path) as scene:
        client = scene.login()
        client.send(b"".join(query(f"SELECT {number}") for number in range(10_000)))
        answers = client.until_ready(10_000)
        assert [int(body[6:]) for tag, body in answers if tag == "D"] == list(range(10_000))
        client.send(SYNC * 100_000)
        assert {tag for tag, _ in client.until_ready(100_000)} == {"Z"}
        assert scene.grew() < 40


def test_a_hundred_thousand_statements_stay_their_owners_and_leave_the_backend(
    postgres15: TestServer, tmp_path: Path
) -> None:
    with staged(postgres15, tmp_path, 1) as scene:
        client = scene.login()
        client.send(b"".join(parse(f"n{number}", f"SELECT {number}") for number in range(100_000)), SYNC)
        assert len(client.until_ready()) == 100_001
        # Who borrows the backend next closes a thousand of them: nobody waits for all.
        count = "SELECT count(*) <= 200 FROM pg_prepared_statements"
        assert [scene.innocent.value(count) for _ in range(101)][-1] == b"t"
        assert client.ask(bind("", "n99999"), execute(), SYNC)[1] == ("D", struct.pack(">HI", 1, 5) + b"99999")
        assert scene.innocent.value("SELECT 2") == b"2"
        assert scene.grew() < 160


def test_an_answer_of_500_mb_that_nobody_reads_costs_nothing(postgres15: TestServer, tmp_path: Path) -> None:
    with staged(postgres15, tmp_path) as scene:
        client = scene.login()
        client.send(query("SELECT repeat('x', 1000000) FROM generate_series(1, 500)"))
        assert client.receive()[0] == "T"
        for number in range(300):
            assert scene.innocent.value(f"SELECT {number}") == str(number).encode()
        assert scene.grew() < 16


def test_cancels_hit_only_what_their_key_belongs_to(postgres15: TestServer, tmp_path: Path) -> None:
    with staged(postgres15, tmp_path, 1) as scene, ThreadPoolExecutor(50) as pool:
        victim, client = scene.innocent, scene.login()
        pid, key = victim.key
        victim.send(query("SELECT 'mine' FROM pg_sleep(1)"))
        wrong_keys = [bytes(4), key[:3], key + b"\0", b"", bytes(200), bytes(byte ^ 1 for byte in key)] * 30
        requests = [cancel_request(pid, other) for other in wrong_keys] + [cancel_request(client.key[0], key)] * 20
        for told in pool.map(lambda data: knock(scene.port, data), requests):
            assert told in ([], ["FATAL 08P01"])
        assert [tag for tag, _ in victim.until_ready()] == ["T", "D", "C", "Z"]
        # The right key, but of a session that is through: its backend is the victim's now.
        assert client.value("SELECT 1") == b"1"
        cancels = [pool.submit(client.cancel) for _ in range(200)]
        assert victim.value("SELECT 'mine' FROM pg_sleep(0.3)") == b"mine"
        for cancel in cancels:
            cancel.result()
        assert victim.value("SELECT 'mine'") == b"mine"


def test_a_query_is_cancelled_by_200_requests_at_once_and_the_next_one_is_not(
    postgres15: TestServer, tmp_path: Path
) -> None:
    with staged(postgres15, tmp_path, 1) as scene, ThreadPoolExecutor(50) as pool:
        client = scene.login()
        client.send(query("SELECT pg_sleep(20)"))
        cancels = [pool.submit(client.cancel) for _ in range(200)]
        answers = client.cancel_until_answered() + client.until_ready()
        assert [shown(one) for one in answers] == ["T", "ERROR 57014", "Z I"]
        assert scene.innocent.value("SELECT 'mine' FROM pg_sleep(0.3)") == b"mine"
        for cancel in cancels:
            cancel.result()


def test_a_proxy_that_is_out_of_file_descriptors_recovers(postgres15: TestServer, tmp_path: Path) -> None:
    with staged(postgres15, tmp_path, 1) as scene:
        prlimit(scene.proxy.pid, RLIMIT_NOFILE, (40, 40))
        crowd = [socket.create_connection(("127.0.0.1", scene.port), timeout=PATIENCE) for _ in range(100)]
        scene.proxy.wait_for_log("Too many open files")
        assert scene.innocent.value("SELECT 1") == b"1"
        for sock in crowd:
            sock.close()


HIDDEN = SYNC + query("SELECT 'stolen' FROM pg_sleep(0.5000)")


@pytest.mark.parametrize("tag", "DC")
def test_no_message_hides_in_another_and_answers_a_stranger(postgres15: TestServer, tmp_path: Path, tag: str) -> None:
    with staged(postgres15, tmp_path, max_held_bytes=65536) as scene:
        client = scene.login()
        parts = b"Snever\0".ljust(5000, b"\0"), copy_data(bytes(MIB)), HIDDEN
        size = struct.pack(">I", 4 + sum(map(len, parts)))
        with contextlib.suppress(ConnectionError):
            for part in (tag.encode() + size + parts[0], parts[1], parts[2] + SYNC):
                client.send(part)
                assert scene.innocent.value("SELECT 1") == b"1"
            client.until_ready()
        assert scene.innocent.value("SELECT 'mine'") == b"mine"


def test_no_message_hides_in_the_second_parse_of_a_name(postgres15: TestServer, tmp_path: Path) -> None:
    with staged(postgres15, tmp_path, max_held_bytes=65536) as scene:
        parts = b"x\0SELECT 1".ljust(5000), b" " * MIB, b"\0" + struct.pack(">H", len(HIDDEN) // 4) + HIDDEN
        size = struct.pack(">I", 4 + sum(map(len, parts)))
        direct, proxied = scene.both(parse("x", "SELECT 1") + SYNC, b"P" + size + parts[0], *parts[1:])
        assert proxied == direct


@pytest.mark.parametrize(
    "act",
    [
        pytest.param("DEALLOCATE %I", id="drop"),
        pytest.param(
            "DEALLOCATE %I; PREPARE %I AS SELECT ''evil''::text",
            id="swap",
            marks=pytest.mark.xfail(
                strict=True,
                raises=AssertionError,
                reason="functions are not looked into; see docs/reference/accepted-differences.md",
            ),
        ),
    ],
)
def test_a_function_that_drops_statements_breaks_nobody_elses_for_good(
    postgres15: TestServer, tmp_path: Path, act: str
) -> None:
    with staged(postgres15, tmp_path, 1) as scene:
        scene.innocent.ask(parse("s", "SELECT 'mine'::text"), SYNC)
        steps = "".join(f"EXECUTE format('{step}', n);" for step in act.split("; "))
        loop = f"FOR n IN SELECT name FROM pg_prepared_statements LOOP {steps} END LOOP; RETURN 1;"
        head = "CREATE FUNCTION evil() RETURNS int LANGUAGE plpgsql"
        client = scene.login()
        client.ask(query(f"{head} AS $$DECLARE n text; BEGIN {loop} END$$"))
        assert client.value("SELECT evil()") == b"1"
        client.ask(query("DROP FUNCTION evil()"))
        answers = [scene.innocent.ask(bind("", "s"), execute(), SYNC) for _ in range(2)]
        assert [body for tag, body in answers[-1] if tag == "D"] == [struct.pack(">HI", 1, 4) + b"mine"]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(query("SET LOCAL a.b = 1;" * 250), id="many SET LOCAL"),
        pytest.param(query("CREATE TEMP TABLE few (a int); DROP TABLE few;" * 200), id="many temporary tables"),
        pytest.param(query("SELECT 1" + ";set a" * 60_000), id="a long text of SET"),
    ],
)
def test_no_statement_makes_everybody_wait(postgres15: TestServer, tmp_path: Path, data: bytes) -> None:
    with staged(postgres15, tmp_path) as scene:
        worst = 0.0  # seconds that the proxy computes before it answers somebody else
        answered = threading.Thread(target=scene.login().ask, args=(data,))
        answered.start()
        while answered.is_alive():
            began = scene.processor_time()
            assert scene.innocent.value("SELECT 1") == b"1"
            worst = max(worst, scene.processor_time() - began)
        assert worst < 0.5  # a look may cost 0.1 s, and processors that are shared are slower


def test_statements_without_a_sync_are_not_kept(postgres15: TestServer, tmp_path: Path) -> None:
    with staged(postgres15, tmp_path, 1) as scene:
        client = scene.login()
        for _ in range(20):
            client.send(parse("", "SELECT 1 --" + "x" * 8 * MIB), bind(), execute())
        assert client.ask(SYNC)[-1][0] == "Z"
        assert scene.grew() < 90, "of 160 MiB"


@pytest.mark.parametrize("data", [parse("", "SELECT 1") + FLUSH, b"Q\3\0\0\0"], ids=["no Sync", "half a long Query"])
def test_who_says_no_more_in_a_request_does_not_keep_his_backend(
    postgres15: TestServer, tmp_path: Path, data: bytes
) -> None:
    with staged(postgres15, tmp_path, 1, idle_in_transaction_timeout=3, idle_client_timeout=3) as scene:
        client = scene.login()
        client.send(data)
        client.until_quiet(0.2)
        other = scene.login()
        other.send(query("SELECT 1"))
        assert [tag for tag, _ in other.until_ready()] == ["T", "D", "C", "Z"]
        scene.innocent = other


def test_logins_that_the_server_hangs_up_on_hold_up_nobody(postgres15: TestServer, tmp_path: Path) -> None:
    def attempt(**parameters: str) -> None:
        with contextlib.suppress(OSError):
            RawClient(scene.port, {"user": USER, **parameters}, PASSWORD).close()

    with staged(postgres15, tmp_path) as scene:
        # As long as a start-up packet may be; with the database's name that the proxy adds it is too long for the
        # server, which then hangs up without a word.
        fill = 10_004 - 8 - len(f"user\0{USER}\0a.b\0\0\0")
        for number in range(3):
            long = {"a.b": str(number) + "x" * (fill - 1)}
            threading.Thread(target=attempt, kwargs=long, daemon=True).start()
        scene.proxy.wait_for_log("could not be opened. dbConnection=4")
        other = threading.Thread(target=attempt, kwargs={"database": "other"}, daemon=True)
        other.start()
        other.join(PATIENCE)
        assert not other.is_alive()


def test_start_up_parameters_are_forgotten(postgres15: TestServer, tmp_path: Path) -> None:
    with staged(postgres15, tmp_path) as scene, ThreadPoolExecutor(8) as pool:

        def attempt(number: int) -> None:
            with pytest.raises(ConnectionRefusedError):
                login(scene.port, nonsense=str(number).ljust(9000))

        list(pool.map(attempt, range(50)))
        before = scene.grew()
        list(pool.map(attempt, range(50, 200)))
        assert scene.grew() - before < 0.8
