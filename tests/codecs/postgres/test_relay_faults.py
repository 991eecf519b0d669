"""Faults of PostgreSQL's relay that the properties found, each as small as it gets."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest

from rdsp.session.policy import may_release
from rdsp_codecs import moves
from rdsp_codecs.api import RelayPolicy
from rdsp_codecs.errors import WireError
from rdsp_codecs.filtering import HEAD_BYTES
from rdsp_codecs.postgres.relay import PostgresRelay
from rdsp_codecs.postgres.statements import SharedStatements
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.testing.postgres.server import ModelServer
from rdsp_codecs.testing.postgres.strategies import frames, parse_and_run
from rdsp_codecs.testing.postgres.words import World
from tests.codecs.postgres.model_proxy import WHO, Backend, Proxy
from tests.servers import rawclient as w

SMALL = RelayPolicy(max_held=100)


class Session:
    """A client through the relay, on the backend that the test says, and the same one directly."""

    def __init__(self, world: World, policy: RelayPolicy | None = None) -> None:
        self.relay = PostgresRelay(WHO, policy or RelayPolicy(), SharedStatements())
        self.direct = ModelServer(world)

    def says(self, backend: Backend, *pieces: bytes) -> tuple[bytes, bytes]:
        """What comes back through the relay, and what comes back directly."""
        relay, received, signals = self.relay, b"", 0
        for piece in pieces:
            signals |= relay.from_client(piece)
            if signals & moves.WANT_BACKEND and not relay.in_request():
                signals = (signals | relay.attached(backend.state)) & ~moves.WANT_BACKEND
        while relay.to_server:
            data = b"".join(relay.to_server)
            relay.to_server.clear()
            backend.run(data)
            going, backend.going = backend.going, b""
            signals |= relay.from_server(going) if going else 0
        received = b"".join(relay.to_client)
        relay.to_client.clear()
        if signals & moves.OVER and may_release(relay.transaction, relay.pins, owed=False):
            relay.detached()
        self.direct.feed(b"".join(pieces))
        return received, self.direct.take()


def backends(world: World) -> tuple[Backend, Backend]:
    return Backend(ModelServer(world)), Backend(ModelServer(world))


def tags(data: bytes) -> str:
    return "".join(chr(frame[0]) for frame in frames(data))


FAILS = parse_and_run("", "SELECT 1/0", 0)


def test_a_query_behind_a_failed_batch_is_ignored_although_a_prologue_was_on_its_way() -> None:
    one, two = backends(world := World())
    session = Session(world)
    session.says(one, w.parse("s1", "SELECT 1") + w.SYNC)

    # It needs s1 on its new backend; but the server skips because of the division.
    received, expected = session.says(two, FAILS + w.bind("", "s1") + w.query("SELECT 1") + w.SYNC)

    assert tags(received) == tags(expected) == "1EZ"


def test_a_query_behind_a_bind_that_is_refused_is_ignored() -> None:
    one, two = backends(world := World())
    session = Session(world)
    session.says(one, w.parse("s1", "TABLE changes") + w.SYNC)
    world.version += 1

    received, expected = session.says(two, w.bind("", "s1") + w.query("SELECT 1") + w.SYNC)

    assert tags(received) == tags(expected) == "EZ"


@pytest.mark.parametrize("own", [b"", w.parse("", "SELECT 1") + w.SYNC], ids=["none of its own", "one of its own"])
def test_a_session_that_goes_native_does_not_run_a_strangers_unnamed_statement(own: bytes) -> None:
    one, two = backends(world := World())
    session = Session(world)
    session.says(one, own or w.SYNC)
    Session(world).says(two, w.parse("", "SELECT 'two'::text, 2") + w.SYNC)

    received, expected = session.says(two, w.parse("s1", "EXECUTE a") + w.bind() + w.execute() + w.SYNC)

    assert received == expected


def test_an_unnamed_statement_is_not_run_by_a_stranger_after_a_prologue_was_skipped() -> None:
    one, two = backends(world := World())
    Session(world).says(one, w.parse("", "SELECT 'two'::text, 2") + w.SYNC)
    session = Session(world)
    session.says(two, w.parse("", "SELECT 1") + w.SYNC)
    # The error comes first, and the Parse that should have replaced the stranger's statement is skipped.
    session.says(one, w.describe("S", "unknown") + w.bind() + w.SYNC)

    received, expected = Session(world).says(one, w.bind() + w.execute() + w.SYNC)

    assert tags(received) == tags(expected) == "EZ"


def test_a_failed_parse_does_not_undo_the_one_that_was_pipelined_behind_its_sync() -> None:
    one, _ = backends(world := World())
    session = Session(world)
    session.says(one, w.parse("", "SELEC") + w.SYNC + w.parse("", "SELECT 1") + w.SYNC)

    stranger, nothing = Session(world).says(one, w.bind() + w.execute() + w.SYNC)
    received, expected = session.says(one, w.bind() + w.execute() + w.SYNC)

    assert (tags(stranger), tags(received)) == (tags(nothing), tags(expected)) == ("EZ", "2DCZ")


def test_a_session_that_goes_native_is_told_that_a_statement_has_changed() -> None:
    one, _ = backends(world := World())
    session = Session(world)
    session.says(one, w.parse("s1", "TABLE changes") + w.SYNC)
    world.version += 1

    session.says(one, w.query("PREPARE a AS SELECT 1"))
    received, expected = session.says(one, w.bind("", "s1") + w.execute() + w.SYNC)

    assert tags(received) == tags(expected) == "EZ"


def test_sql_does_not_run_a_statement_that_has_changed() -> None:
    one, _ = backends(world := World())
    session = Session(world)
    session.says(one, w.parse("s1", "TABLE changes") + w.SYNC)
    world.version += 1

    received, _expected = session.says(one, w.query("EXECUTE s1"))

    assert tags(received) == "EZ"


def test_a_set_is_believed_that_comes_behind_one_without_effect() -> None:
    one, _ = backends(world := World())
    session = Session(world)
    session.says(one, w.query("SET LOCAL work_mem = '3MB'"))
    session.says(one, w.query("SET work_mem = '5MB'"))

    assert one.state.settings.statements == {b"work_mem": b"SET work_mem = '5MB'"}


def test_a_client_is_told_when_its_next_backend_reports_something_else() -> None:
    one, two = backends(world := World())
    session = Session(world)
    session.says(one, w.query("SELECT 1"))
    two.state.server_parameters = {**two.state.server_parameters, "in_hot_standby": "on"}
    one.state.server_parameters = {**one.state.server_parameters, "in_hot_standby": "off"}
    session.says(one, w.query("SELECT 1"))

    answers = [tags(session.says(backend, w.query("SELECT 1"))[0]) for backend in (two, two, one)]

    assert answers == ["STDCZ", "TDCZ", "STDCZ"]


def long_frames() -> dict[str, bytes]:
    """Messages that the relay replaces, longer than it holds, each with a message in its body."""
    inner = w.query("SET work_mem = '5MB'")
    text = b"SELECT 1" + b" " * (2 * HEAD_BYTES) + inner
    return {
        "a Close": w.message("C", b"Ss" + text),
        "a Describe": w.message("D", b"S" + b"s" * (2 * HEAD_BYTES) + b"\0" + inner),
        "a Parse of a name that exists": w.message("P", b"s1\0" + text + b"\0\0\0"),
    }


@pytest.mark.parametrize("name", list(long_frames()))
def test_nothing_in_the_body_of_a_long_message_becomes_a_message(name: str) -> None:
    data = long_frames()[name]
    one, _ = backends(world := World())
    session = Session(world, SMALL)
    session.says(one, w.parse("s1", "SELECT 1") + w.SYNC)
    relay = session.relay

    try:
        relay.from_client(data[: HEAD_BYTES + 500])
        relay.attached(one.state)
        relay.from_client(data[HEAD_BYTES + 500 :])
    except WireError:
        return

    sent = frames(b"".join(relay.to_server))
    assert all(chr(frame[0]) in "PBDCH" for frame in sent)


@pytest.mark.parametrize("tag", "DC")
def test_a_message_without_its_first_byte_is_an_error_of_the_server_or_a_wire_error(tag: str) -> None:
    one, _ = backends(world := World())
    received, expected = Session(world).says(one, w.message(tag), w.SYNC)

    assert received == expected


def test_a_ready_for_query_without_its_status_is_a_wire_error() -> None:
    one, _ = backends(World())
    relay = Session(World()).relay
    relay.from_client(w.query("SELECT 1"))
    relay.attached(one.state)

    with pytest.raises(WireError):
        relay.from_server(w.message("Z"))


def test_what_is_left_of_a_long_query_that_was_refused_is_dropped() -> None:
    relay = Session(World(), SMALL).relay
    data = w.query("SELECT 1" + " " * 5000)

    assert relay.from_client(data[:2000]) == moves.WANT_BACKEND
    assert relay.abort(Problem(ProblemCode.BORROW_TIMEOUT)) == moves.NOTHING
    assert relay.from_client(data[2000:]) == moves.NOTHING
    assert relay.from_client(w.query("SELECT 1")) == moves.WANT_BACKEND
    assert relay.abort(Problem(ProblemCode.BORROW_TIMEOUT)) == moves.NOTHING
    assert tags(b"".join(relay.to_client)) == "EZEZ"


def test_a_long_message_of_a_refused_batch_is_dropped_as_it_comes() -> None:
    relay = Session(World(), SMALL).relay

    assert relay.from_client(w.parse("", "SELECT 1" + " " * 5000)[:4500]) == moves.WANT_BACKEND
    assert relay.abort(Problem(ProblemCode.BORROW_TIMEOUT)) == moves.NOTHING
    assert not relay.holds_too_much, "the runtime would not read the rest"


def test_texts_of_a_pipeline_that_never_ends_are_not_kept_for_ever() -> None:
    one, _ = backends(World())
    relay = Session(World()).relay
    data = w.query("SELECT 1" + " " * 1000)
    relay.from_client(data)
    relay.attached(one.state)
    for _ in itertools.repeat(None, 200):
        relay.from_client(data)
        one.run(relay.to_server.pop(0))
        going, one.going = one.going, b""
        relay.from_server(going)
        relay.to_client.clear()

    assert len(relay._d.ledger) == 1
    assert sum(map(len, relay._d.recent)) < 100 * 1000


def test_a_name_of_ours_never_hits_a_strangers_statement() -> None:
    one, _ = backends(world := World())
    Session(world).says(one, w.parse("s1", "SELECT 1") + w.SYNC)

    received, expected = Session(world).says(one, w.bind("", "rdsp_1") + w.describe("S", "rdsp_1") + w.SYNC)

    assert tags(received) == tags(expected) == "EZ"


def test_an_error_of_an_earlier_batch_does_not_end_the_wait_for_a_later_ones_prologue() -> None:
    one, two = backends(world := World())
    session = Session(world)
    session.says(one, w.parse("s1", "TABLE changes") + w.SYNC)
    world.version += 1

    received, expected = session.says(two, FAILS + w.SYNC + w.bind("", "s1") + w.execute() + w.SYNC)
    after, _ = session.says(two, w.query("SELECT 1"))

    assert tags(received) == tags(expected) == "1EZEZ"
    assert tags(after) == "TDCZ"


def test_what_is_not_synced_is_not_over_behind_a_good_bye() -> None:
    one, _ = backends(world := World())
    relay = Session(world).relay
    relay.from_client(w.parse("s1", "SELECT 1") + w.SYNC + w.bind("", "s1") + w.execute() + w.TERMINATE)
    signals = relay.attached(one.state)
    while relay.to_server:
        one.run(b"".join(relay.to_server))
        relay.to_server.clear()
        going, one.going = one.going, b""
        signals |= relay.from_server(going)

    assert not signals & moves.OVER
    assert relay.in_request()
    assert not relay.owes()


def test_no_message_hides_in_a_sync() -> None:
    one, _ = backends(world := World())
    session = Session(world, SMALL)
    session.says(one, w.parse("", "SELECT 1"))

    with pytest.raises(WireError):
        session.relay.from_client(w.message("S", bytes(8000))[: HEAD_BYTES + 10])


def test_an_unnamed_statement_is_not_forgotten_with_the_named_ones() -> None:
    """An error that looks as if statements were gone: the unnamed one is there still, and it is its owner's alone."""
    one, _ = backends(world := World())
    Session(world).says(one, w.parse("", "SELECT 'two'::text, 2") + w.SYNC)
    one.state.lost_statements()

    received, expected = Session(world).says(one, w.bind() + w.execute() + w.SYNC)

    assert tags(received) == tags(expected) == "EZ"


@pytest.mark.parametrize(("sql", "answer"), [("PREPARE a AS SELECT 1", "2DCZ"), ("PREPARE rdsp_a AS SELECT 1", "EZ")])
def test_a_statement_too_long_to_be_parsed_again_is_never_run_as_another_one(sql: str, answer: str) -> None:
    one, _ = backends(world := World())
    session = Session(world, SMALL)
    long = w.parse("s1", "SELECT 1" + " " * 5000)
    session.says(one, long[:4500], long[4500:] + w.SYNC)
    # Where SQL uses a name like the proxy's own, those have to go, and with them the only place of this one.
    session.says(one, w.query(sql))

    received, _ = session.says(one, w.bind("", "s1") + w.execute() + w.SYNC)

    assert tags(received) == answer


def test_a_good_bye_behind_a_prologue_is_known() -> None:
    one, two = backends(world := World())
    session = Session(world)
    session.says(one, w.parse("s1", "SELECT 1") + w.SYNC)
    session.relay.from_client(w.bind("", "s1") + w.execute() + w.SYNC + w.TERMINATE)
    session.relay.attached(two.state)

    assert session.relay.holds_goodbye()


def test_long_names_of_statements_that_were_parsed_without_a_backend_are_cut_too() -> None:
    one, _ = backends(World())
    shared = SharedStatements()
    first, second = (PostgresRelay(WHO, RelayPolicy(), shared) for _ in range(2))
    first.from_client(w.parse("s1", "SELECT 1") + w.SYNC)
    first.attached(one.state)
    while first.to_server:
        one.run(b"".join(first.to_server))
        first.to_server.clear()
        going, one.going = one.going, b""
        first.from_server(going)
    first.detached()
    assert second.from_client(w.parse("x" * 70, "SELECT 1") + w.SYNC) == moves.WANT_BACKEND
    assert second.answer_alone()
    second.to_client.clear()

    second.from_client(w.bind("", "x" * 70) + w.execute() + w.SYNC)
    second.attached(one.state)

    assert b"x" * 63 not in b"".join(second.to_server)


def test_a_refused_parse_does_not_change_what_a_name_is_judged_by() -> None:
    """In a session that names statements in SQL."""
    one, _ = backends(world := World())
    session = Session(world)
    session.says(one, w.query("PREPARE a AS SELECT 1"))
    relay = session.relay
    session.says(one, w.parse("s1", "SELECT 'two'::text, 2") + w.SYNC)
    judged = relay._d.statements.named[b"s1"].verdict
    received, expected = session.says(one, w.parse("s1", "SELECT 1") + w.SYNC)

    assert tags(received) == tags(expected) == "EZ"
    assert relay._d.statements.named[b"s1"].verdict is judged
    assert relay._d.statements.named[b"s1"].text == b"SELECT 'two'::text, 2"


BEHIND_A_NAME = {
    "an error, and a query that it keeps from being run": (w.execute() + w.query("PREPARE s2 AS SELECT 1"), w.SYNC),
    "COPY data": (w.query("COPY t FROM STDIN"), w.copy_data(b"1\n") + w.COPY_DONE),
    "half a batch": (w.FLUSH + w.execute(), w.query("SELECT 2 AS b") + w.SYNC),
    "a query": (w.query("EXECUTE s1"), w.parse("s2", "SELECT 1") + w.SYNC),
}


@pytest.mark.parametrize("first, second", BEHIND_A_NAME.values(), ids=BEHIND_A_NAME)
def test_what_is_asked_about_names_stands_behind_nothing_of_the_clients(first: bytes, second: bytes) -> None:
    proxy = Proxy(1, "whole")
    client = proxy.client("A")
    client.says(w.query("PREPARE s1 AS SELECT 1"))
    while not client.received.endswith(b"Z\0\0\0\5I"):
        client.happens(client.events()[0])
    assert client.backend is not None
    assert b"pg_prepared_statements" in client.backend.coming

    client.says(first)
    client.happens("read client")
    proxy.happens()
    client.says(second)
    proxy.happens()

    client.check()
    assert not client.relay.pins


def test_an_execute_that_was_parsed_runs_what_its_name_means_now() -> None:
    world = World()
    session, one, two = Session(world), Backend(ModelServer(world)), Backend(ModelServer(world))
    for text in ("PREPARE s1 AS SELECT 1", "SELECT 1"):
        session.says(one, w.query(text))
    session.says(one, w.parse("x", "EXECUTE s1") + w.SYNC)
    for text in ("DEALLOCATE s1", "PREPARE s1 AS SELECT 'two'::text, 2"):
        session.says(one, w.query(text))

    received, direct = session.says(two, w.bind("", "x") + w.execute() + w.SYNC)

    assert received == direct
    assert b"two" in received


def test_a_name_given_behind_a_deallocate_all_that_was_described_stays() -> None:
    proxy = Proxy(0)
    client = proxy.client("A")
    client.says(parse_and_run("", "DEALLOCATE ALL", 0) + w.SYNC + w.parse("s1", "SELECT 1") + w.SYNC)
    proxy.happens()

    client.says(w.bind("", "s1") + w.execute() + w.SYNC)
    proxy.happens()

    client.check()


def test_bytes_that_come_one_by_one_cost_little_more_than_themselves() -> None:
    relay = Session(World()).relay
    data = w.query("SELECT 1" + " " * 100_000)
    tracemalloc.start()
    try:
        for at in range(len(data) - 1):
            assert relay.from_client(data[at : at + 1]) == moves.NOTHING
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert grown < 2 * len(data)
    assert relay.from_client(data[-1:]) == moves.WANT_BACKEND
