"""Sessions whose role is dropped under them: what gets them out again, and that nobody gets another role by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import pytest

from tests.compare.postgres.talking import shown
from tests.live.test_faults import config
from tests.servers.postgres import TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import (
    FLUSH,
    SYNC,
    Message,
    RawClient,
    bind,
    close,
    describe,
    execute,
    fields,
    parse,
    query,
)
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.live

Raw = Callable[..., RawClient]
GONE = 'role "passing" does not exist'
LISTENERS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rdsp listener'"
WHO = "SELECT session_user, current_user, current_setting('work_mem')"


def batch(text: str) -> bytes:
    return parse("", text) + bind() + describe("P") + execute() + SYNC


def errors(answer: list[Message]) -> list[str]:
    return [fields(body)["M"] for tag, body in answer if tag == "E"]


FAILING = [
    *map(query, ("SET ROLE nobody_at_all", "SET ROLE postgres", "SET SESSION AUTHORIZATION bob")),
    *map(batch, ("SET ROLE postgres", "SET SESSION AUTHORIZATION bob")),
    # Done, and undone by what fails behind it.
    parse("", "RESET ROLE") + bind() + execute() + bind("", "", (b"1",)) + execute() + SYNC,
    bind("", "reset") + execute() + execute("nothing") + SYNC,
    # Never executed.
    parse("", "RESET ROLE") + SYNC,
    parse("new", "RESET ROLE") + describe("S", "new") + SYNC,
    bind("", "reset") + describe("P") + SYNC,
]


REFUSED = [
    *map(query, ("RESET work_mem", "RESET ALL", "BEGIN; RESET ROLE; COMMIT", "RESET ROLE; SELECT current_user")),
    *map(query, ("SET LOCAL ROLE bob", "SELECT 1; RESET ROLE", "/* */ RESET ROLE", "DISCARD PLANS", "")),
    batch("RESET ALL"),
    batch(WHO),
    bind("", "who") + execute() + SYNC,
    # Something else is done with the rights of who logged in.
    parse("", "RESET ROLE") + bind() + execute() + bind("", "who") + execute() + SYNC,
    bind("", "who") + execute() + bind("", "reset") + execute() + SYNC,
    parse("", WHO) + bind() + execute() + parse("", "RESET ROLE") + bind() + execute() + SYNC,
    parse("new", WHO) + parse("new", "RESET ROLE") + bind("", "new") + execute() + SYNC,
    parse("reset", WHO) + bind("", "reset") + execute() + SYNC,
    close("S", "reset") + bind("", "reset") + execute() + SYNC,
    execute() + SYNC,
]


@attrs.frozen
class Forsaken:
    """A session whose role is gone, directly and by a proxy, and another session of the proxy's.

    The proxy's has met a backend that it made, and that refused it.
    """

    server: TestServer
    proxy: ProxyProcess
    one: RawClient
    direct: RawClient
    others: list[RawClient]
    listens: bool = False

    @property
    def other(self) -> RawClient:
        return self.others[0]

    def take_all(self, *texts: str) -> None:
        """Others have all backends, at once, for these queries."""
        for messages in map(query, ("BEGIN", *texts, "COMMIT")):
            for other in self.others:
                other.ask(messages)

    def hears(self) -> None:
        """Both do if they did, and nothing twice."""
        self.both(query("SELECT array(SELECT pg_listening_channels())"))
        if not self.listens:
            return  # there is no backend for others while it does
        self.both(query("LISTEN news"))
        for speaker, listener in ((self.one, self.direct), (self.direct, self.one)):
            answer = shown(speaker.ask(query("NOTIFY news, 'both'")))
            assert answer == ["C b'NOTIFY\\x00'", "A b'news\\x00both\\x00'", "Z b'I'"]
            assert shown([listener.receive(PATIENCE)]) == answer[1:2]
        self.other.ask(query("NOTIFY news, 'of the other'"))
        assert shown([self.one.receive(PATIENCE)]) == shown([self.direct.receive(PATIENCE)])
        self.both(query("UNLISTEN *"))
        self.other.ask(query("NOTIFY news, 'to nobody'"))
        self.both(query("SELECT 1"))

    def both(self, *messages: bytes, times: int = 1) -> list[Message]:
        """The answer, which has to be the same from both."""
        answer = self.one.ask(*messages, times=times)
        assert shown(answer) == shown(self.direct.ask(*messages, times=times))
        return answer

    def is_still_forsaken(self) -> None:
        """Nothing runs as anybody else."""
        for messages in (query(WHO), batch(WHO), query("BEGIN"), query("SET work_mem = '9MB'"), batch("RESET ALL")):
            assert errors(self.one.ask(messages)) == [GONE]
        assert self.other.value("SELECT current_user || current_setting('work_mem')") == b"app4MB"


@pytest.fixture(scope="module")
def proxy(postgres15: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    folder = tmp_path_factory.mktemp("mending")
    with ProxyProcess(config(folder, postgres15.target(), max_backends=1, connection_borrow_timeout=20)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def hearing(postgres15: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    """The same with one backend more, for a listener."""
    folder = tmp_path_factory.mktemp("hearing")
    with ProxyProcess(config(folder, postgres15.target(), max_backends=2, connection_borrow_timeout=20)) as proxy:
        yield proxy


@pytest.fixture
def forsake(postgres15: TestServer, raw: Raw) -> Callable[..., Forsaken]:
    def forsake(proxy: ProxyProcess, backends: int = 1, *, listens: bool = False) -> Forsaken:
        one, direct, others = raw(proxy.port), raw(postgres15.port), [raw(proxy.port) for _ in range(backends)]
        found = Forsaken(postgres15, proxy, one, direct, others, listens)
        with postgres15.admin() as admin:

            def listeners() -> int:
                (number,) = admin.execute(LISTENERS).fetchone() or (0,)
                return int(number)

            eventually(lambda: listeners() == 0)  # the last test's is gone
            admin.execute("DROP ROLE IF EXISTS passing; CREATE ROLE passing; GRANT passing TO app")
            for client in (one, direct):
                client.ask(parse("reset", "RESET ROLE"), parse("who", WHO), SYNC)
                for text in ("SET work_mem = '5MB'", "SET app.kept = 'kept'", *["LISTEN news"] * listens):
                    client.ask(query(text))
            eventually(lambda: listeners() == listens)  # which hears for the session
            for client in (one, direct):
                client.ask(query("SET ROLE passing"))
            found.take_all()  # which it has given back: nothing is asked there any more
            admin.execute("DROP ROLE passing")
        found.take_all()
        found.is_still_forsaken()
        return found

    return forsake


@pytest.fixture(params=[False, True], ids=["", "listens"])
def forsaken(request: pytest.FixtureRequest, forsake: Callable[..., Forsaken]) -> Forsaken:
    """Two in turn: one that listens to nothing, and one that does."""
    proxy: ProxyProcess = request.getfixturevalue("hearing" if request.param else "proxy")
    return forsake(proxy, listens=request.param)


@pytest.mark.parametrize(
    "given",
    [
        *map(query, ("RESET ROLE", "SET ROLE bob", "set role none;", "RESET SESSION AUTHORIZATION", "DISCARD ALL")),
        *map(query, ("SET SESSION AUTHORIZATION DEFAULT", "SET SESSION AUTHORIZATION app", "SET session role 'bob'")),
        *map(batch, ("RESET ROLE", "SET ROLE TO bob", "DISCARD ALL", "SET SESSION AUTHORIZATION DEFAULT")),
        bind("", "reset") + execute() + SYNC,
        parse("new", "SET ROLE bob") + describe("S", "new") + bind("p", "new") + execute("p") + SYNC,
    ],
)
def test_who_has_a_role_that_is_gone_can_take_another(forsaken: Forsaken, given: bytes) -> None:
    one, other = forsaken.one, forsaken.other
    for _ in range(3):
        assert errors(one.ask(query("SELECT 1"))) == [GONE]
        assert other.value("SELECT current_user") == b"app"

    # What is said behind it waits for its end.
    assert not errors(forsaken.both(given + query(WHO), batch(WHO), times=3))

    assert other.value("SELECT current_user || current_setting('work_mem')") == b"app4MB"
    forsaken.both(query("SELECT current_setting('app.kept'), current_user"))
    forsaken.both(query("BEGIN"), query(WHO), query("RESET ROLE"), query("COMMIT"), query(WHO), times=5)
    forsaken.hears()
    assert other.value("SELECT current_user || current_setting('work_mem')") == b"app4MB"


def test_who_does_not_take_another_role_stays_without(forsaken: Forsaken) -> None:
    for request in FAILING:
        forsaken.both(request)
        forsaken.is_still_forsaken()
        forsaken.direct.ask(close("S", "new"), SYNC)
        forsaken.one.ask(close("S", "new"), SYNC)

    forsaken.both(query("RESET ROLE"), query(WHO), times=2)
    forsaken.hears()


@pytest.mark.parametrize("given", [query("UNLISTEN *"), batch(" unlisten* ;")])
def test_who_has_a_role_that_is_gone_can_stop_to_listen(forsaken: Forsaken, given: bytes) -> None:
    forsaken.both(given)
    forsaken.is_still_forsaken()
    forsaken.other.ask(query("NOTIFY news, 'not heard'"))

    forsaken.both(given, query("RESET ROLE"), query(WHO), times=3)
    forsaken.both(query("SELECT array(SELECT pg_listening_channels())"))
    forsaken.hears()


def test_what_fails_does_not_stop_to_listen(forsaken: Forsaken) -> None:
    forsaken.both(parse("", "UNLISTEN *") + bind() + execute() + bind("", "", (b"1",)) + execute() + SYNC)
    forsaken.is_still_forsaken()

    forsaken.both(query("RESET ROLE"))
    forsaken.hears()


def test_a_discard_all_is_done_whatever_fails_behind_it(forsaken: Forsaken) -> None:
    """The server commits it at once."""
    forsaken.both(parse("", "DISCARD ALL") + bind() + execute() + bind("", "", (b"1",)) + execute() + SYNC)

    forsaken.both(query(WHO))
    forsaken.hears()


def test_who_has_a_role_that_is_gone_hears_between_its_requests(forsaken: Forsaken) -> None:
    one, direct, other = forsaken.one, forsaken.direct, forsaken.other
    for text in ("first", "second"):
        other.ask(query(f"NOTIFY news, '{text}'"))
        if forsaken.listens:
            assert shown([one.receive(PATIENCE)]) == shown([direct.receive(PATIENCE)])
        assert errors(one.ask(query("SELECT 1"))) == [GONE]
        direct.ask(query("SELECT 1"))
    forsaken.both(query("SET ROLE nobody_at_all"))
    forsaken.is_still_forsaken()


def test_what_does_more_than_to_take_another_role_is_refused(forsaken: Forsaken) -> None:
    for request in REFUSED:
        assert errors(forsaken.one.ask(request)) == [GONE]
    forsaken.is_still_forsaken()

    assert not errors(forsaken.one.ask(query("RESET ROLE")))


def test_a_batch_that_comes_in_pieces_is_waited_for_and_refused(forsaken: Forsaken) -> None:
    one = forsaken.one

    one.send(parse("", "RESET ROLE") + bind() + execute() + FLUSH)

    assert errors(one.until_quiet()) == [GONE]
    one.ask(SYNC)
    forsaken.is_still_forsaken()


def test_who_gets_no_backend_to_take_another_role_on_stays_without(
    proxy: ProxyProcess, forsake: Callable[..., Forsaken]
) -> None:
    forsaken = forsake(proxy)
    one, server = forsaken.one, forsaken.server
    for messages in (query("RESET ROLE"), batch("RESET ROLE"), parse("n", "RESET ROLE") + SYNC):
        with server.admin() as admin:
            # What is to be closed on the backend keeps it from being lent again, and nobody can make a new one.
            forsaken.take_all("DEALLOCATE ALL", "PREPARE mine AS SELECT 1")
            admin.execute("ALTER ROLE app CONNECTION LIMIT 0")
            try:
                found = errors(one.ask(messages))
            finally:
                admin.execute("ALTER ROLE app CONNECTION LIMIT -1")
        assert len(found) == 1
        assert found != [GONE]
        forsaken.is_still_forsaken()
    forsaken.both(query("RESET ROLE"), query(WHO), times=2)


def test_what_is_to_be_closed_on_the_backend_does_not_stop_a_discard_all(
    postgres15: TestServer, forsake: Callable[..., Forsaken]
) -> None:
    with ProxyProcess.for_target(postgres15.target(), "--max-backends", "2") as proxy:
        for messages in (query("DISCARD ALL"), batch("DISCARD ALL"), query("RESET ROLE")):
            forsaken = forsake(proxy, 2)
            forsaken.take_all("PREPARE mine AS SELECT 1")

            forsaken.both(messages, query(WHO), times=2)


def test_a_backend_that_refused_what_nobody_can_have_is_lent_to_others(forsaken: Forsaken) -> None:
    one, other = forsaken.one, forsaken.other
    other.ask(query("SET app.kept = 'of the other'"))  # who has had other variables gets other backends
    for text in ("SELECT 1", "SET work_mem = '7MB'", "RESET ALL"):
        one.ask(query(text))  # a new one says no, too

    backends = set()
    for text in ("SELECT 1", "SET work_mem = '7MB'", "SET ROLE postgres", "RESET ALL") * 3:
        one.ask(query(text))
        backends.add(other.value("SELECT pg_backend_pid()"))

    assert len(backends) == 1
