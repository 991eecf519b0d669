"""Single troubles, each at its worst moment: servers that die or misbehave, clients that do not finish."""

from __future__ import annotations

import ssl

import attrs
import pytest
import trio
from trio.testing import MockClock

from rdsp.config.model import ClientTls, Limits, Secret, TargetGroup, UserAuth
from rdsp.converse import receive, send_all
from rdsp.net.memory import MemoryTransport, Script, memory_pair
from rdsp.net.tls import Certificates
from rdsp_codecs.api import Greeting, Offer
from rdsp_codecs.errors import PeerClosed
from rdsp_codecs.postgres import PostgresCodec
from rdsp_codecs.postgres import messages as m
from rdsp_codecs.steps import Conversation, Receive, TlsFacts
from tests.compiled import looks_inside
from tests.runtime.world import EXECUTE, bind, parse, proxy, serve, simulate, world

ONE = TargetGroup(max_backends=1)


async def test_no_words_of_the_proxy_stand_inside_half_a_row(clock: MockClock) -> None:
    """The server died within a message whose length the client knows: an error text would be read as its data."""
    async with world() as w:
        client = await w.client()
        reply = await client.query("DIE")
        assert (reply.rows, reply.errors, reply.status) == ([], [], "")
        client.transport.close()
        await w.settle()


async def test_a_server_that_dies_between_messages_is_reported(clock: MockClock) -> None:
    async with world() as w:
        client = await w.client()
        await client.send(m.query(client.mark("SLEEP 10")))
        await trio.sleep(1)
        for connection in w.database.live:
            connection.terminate(b"")
        reply = await client.reply()
        assert (reply.errors, reply.status) == (["08006"], "")
        client.transport.close()
        await w.settle()


async def test_a_servers_own_last_words_are_handed_on_and_nothing_is_added(clock: MockClock) -> None:
    async with world() as w:
        client = await w.client()
        await client.query("BEGIN")
        w.database.kill_all()
        reply = await client.reply()
        assert (reply.errors, reply.texts) == (["57P01"], ["terminated"])
        client.transport.close()
        await w.settle()


async def test_a_backend_that_closes_right_behind_its_reply_is_not_lent_again(clock: MockClock) -> None:
    """Reply and end of file come as one edge; the edge is spent by then."""
    async with world(proxy(ONE)) as w:
        client, other = await w.client(), await w.client()
        await client.send(m.query(client.mark("LAST")))
        await other.send(m.query(other.mark("SELECT 1")))
        assert (await client.reply()).status == "I"
        assert (await other.reply()).rows == ["1"]
        assert (await client.query("SELECT 2")).rows == ["2"]
        await client.leave()
        await other.leave()
        await w.settle()


async def test_a_server_that_breaks_the_protocol_loses_its_connection_and_the_client_is_told(clock: MockClock) -> None:
    async with world(proxy(ONE)) as w:
        client, other = await w.client(), await w.client()
        reply = await client.query("NONSENSE")
        assert (reply.errors, reply.status) == (["08P01"], "")
        assert (await other.query("SELECT 1")).rows == ["1"]
        client.transport.close()
        await other.leave()
        await w.settle()


@pytest.mark.parametrize("garbage", [b"!\0\0\0\4", b"Q\0\0\0\1", b"Q\xff\xff\xff\xff", b"p\0\0\0\5x"])
async def test_a_client_that_breaks_the_protocol_inside_a_transaction_leaves_no_trace(
    clock: MockClock, garbage: bytes
) -> None:
    async with world(proxy(ONE)) as w:
        client, other = await w.client(), await w.client()
        await client.query("BEGIN")
        await client.send(garbage)
        reply = await client.reply()
        assert (reply.errors, reply.status) == (["08P01"], "")
        assert (await other.query("SELECT 1")).status == "I"
        client.transport.close()
        await other.leave()
        await w.settle()


async def test_an_idle_backend_that_the_server_closed_is_replaced_unseen(clock: MockClock) -> None:
    async with world(proxy(ONE)) as w:
        client = await w.client()
        for _ in range(5):
            assert (await client.query("SELECT 1")).rows == ["1"]
            await trio.sleep(1)
            w.database.kill_all()
            await trio.sleep(1)
            assert w.database.logged_in == 0
        await client.leave()
        await w.settle()


async def test_a_backend_whose_first_question_was_not_answered_is_never_lent(clock: MockClock) -> None:
    """Its answer may still come, and would be taken for a client's."""
    async with world(proxy(TargetGroup(connection_borrow_timeout=60), Limits(login_timeout=200))) as w:
        w.database.service_time = 1000.0
        client = w.dial()
        async with trio.open_nursery() as nursery:

            async def recover() -> None:
                await trio.sleep(15)
                w.database.service_time = 0.001

            nursery.start_soon(recover)
            assert (await client.login()).status == "I"
        assert w.statistics().limit > 1, "the limit was asked again"
        assert (await client.query("SELECT 1")).rows == ["1"]
        assert len({c.number for c in w.database.all}) > 1
        await client.leave()
        await w.until(lambda: all(c.logged_in for c in w.database.live))
        for connection in w.database.live:
            if connection.ran == [] and connection is not w.database.all[-1]:
                connection.life.cancel()
        await w.settle()


@pytest.mark.parametrize("seed", range(12))
def test_a_first_backend_that_closes_before_its_waiter_has_run_is_not_given_back(seed: int) -> None:
    """It is gone from the book by then; given back, it would be lent although it is closed."""

    async def main() -> None:
        async with world(proxy(ONE)) as w:
            w.database.quitters = 1
            client = await w.client()
            assert (await client.query("SELECT 1")).rows == ["1"]
            await client.leave()
            await w.settle()
            assert w.statistics().idle == 1

    simulate(main, seed=seed)


async def test_nothing_is_said_in_a_handshake_that_was_not_finished(clock: MockClock) -> None:
    """Whoever asked for TLS cannot read words in clear, and OpenSSL writes none before it has read."""

    class Stalled(MemoryTransport):
        """A handshake that waits for its peer for ever; what would be sent meanwhile has to read first."""

        tries = 0

        def begin_tls(self, *_: object) -> None:
            self.in_handshake = True

        def shake(self) -> TlsFacts:
            raise ssl.SSLWantReadError

        def send(self, data: bytes, /) -> int:
            if not self.in_handshake:
                return super().send(data)
            self.tries += 1
            raise ssl.SSLWantReadError

    async with world(proxy(limits=Limits(login_timeout=3))) as w:
        w.context.certificates = Certificates(ClientTls())
        theirs, ours = memory_pair("client")
        stalled = Stalled("client", ours._in, ours._out, local=True)
        stalled.other, theirs.other = theirs, stalled
        await send_all(theirs, m.untagged(m.SSL_REQUEST))
        await serve(w.context, stalled)
        assert stalled.closed
        assert stalled.tries == 0
        assert trio.current_time() == 3, "and not the time of last words behind it"
        assert await receive(theirs, 10) == b"S"
        with pytest.raises(PeerClosed):
            await receive(theirs, 10)
        await w.settle()


@pytest.mark.parametrize("sends", [True, False])
async def test_tls_waits_for_what_it_says_it_wants(clock: MockClock, sends: bool) -> None:
    """A send that has to read first, and the other way round."""
    ours, theirs = memory_pair("tls", Script(capacity=10))
    blocked = ssl.SSLWantReadError if sends else ssl.SSLWantWriteError
    tries = 0

    def attempt(_: object) -> bytes:
        nonlocal tries
        tries += 1
        if not (ours.has_unread() if sends else ours._can_write()):
            raise blocked
        return b"done"

    if sends:
        ours.send = lambda data: len(attempt(data)) and len(data)  # type: ignore[method-assign]
    else:
        assert ours.send(b"x" * 11) == 10  # there is no more room
        await send_all(theirs, b"y")
        ours.recv = attempt  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_all, ours, b"data") if sends else nursery.start_soon(receive, ours, 10)
        await trio.sleep(5)
        assert tries == 1
        if sends:
            await send_all(theirs, b"y")
        else:
            await receive(theirs, 10)
    assert tries == 2


@looks_inside
async def test_who_is_known_is_worked_out_before_any_client_speaks(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nothing is worked out while one waits to be refused."""
    asked: list[bytes] = []

    async def derive(password: bytes, salt: bytes, iterations: int) -> bytes:
        asked.append(password)
        await trio.lowlevel.checkpoint()
        return bytes(32)

    async with world() as w:
        assert asked == []
        entries = tuple(UserAuth(username=name, password=Secret(f"of-{name}")) for name in ("app", "web"))
        w.context.credentials.update(attrs.evolve(w.context.settings, auth=entries))
        monkeypatch.setattr(w.context.deriver, "derive", derive)
        silent = w.dial()
        await w.until(lambda: len(asked) == 3)
        assert {b"of-app", b"of-web"} < set(asked)
        silent.transport.close()
        await w.settle()


async def test_an_error_about_a_text_is_not_told_to_the_client(clock: MockClock) -> None:
    """It shows a piece of the text, and that may be a password."""

    class Careless(PostgresCodec):
        def greet(self, offer: Offer) -> Conversation[Greeting]:
            yield Receive()
            "hunter2\udce9".encode()
            raise AssertionError

    async with world() as w:
        w.context.codec = Careless()
        client = w.dial()
        await client.send(b"x")
        reply = await client.reply()
        assert (reply.errors, reply.texts) == (["08P01"], ["a text of the login is not UTF-8"])
        client.transport.close()
        await w.settle()
        assert not any("dce9" in repr(end) for end in w.witness.ends)


async def test_requests_sent_behind_the_login_in_one_write_are_served(clock: MockClock) -> None:
    async with world() as w:
        client = w.dial()
        login = m.startup("app", "app", {})
        await client.send(login + m.query(client.mark("SELECT 1")) + m.query(client.mark("SELECT 2")))
        assert (await client.reply()).status == "I"
        assert (await client.reply()).rows == ["1"]
        assert (await client.reply()).rows == ["2"]
        await client.leave()
        await w.settle()


async def test_a_client_that_only_ever_said_goodbye_is_fine(clock: MockClock) -> None:
    async with world() as w:
        client = w.dial()
        await client.send(m.startup("app", "app", {}) + m.TERMINATE)
        await client.reply()
        assert (await client.reply()).status == ""
        client.transport.close()
        await w.settle()


async def test_a_cut_off_message_is_not_completed_by_a_goodbye(clock: MockClock) -> None:
    """Five bytes are missing, and a good-bye has five."""
    limits = Limits(max_held_bytes=2000)
    async with world(proxy(ONE, limits)) as w:
        client, other = await w.client(), await w.client()
        query = m.query(client.mark("SELECT 1 " + "x" * 10_000))
        await client.send(query[:-5])
        await trio.sleep(1)
        assert w.statistics().borrowed == 1
        began = trio.current_time()
        client.transport.close()
        assert (await other.query("SELECT 2")).rows == ["2"]
        assert trio.current_time() - began < 1
        assert not any(ran.who == client.name or "xxx" in ran.text for ran in w.database.ran())
        await other.leave()
        await w.settle()


async def test_a_copy_goes_through_in_any_pieces(clock: MockClock) -> None:
    async with world(proxy(ONE)) as w:
        client = await w.client(ours=Script(split=[1, 50, 3, 700]))
        await client.send(m.query(client.mark("COPYIN 100000")))
        await client.send(b"".join(m.message(b"d", bytes(500)) for _ in range(20)) + m.message(b"c"))
        reply = await client.reply()
        assert (reply.tags, reply.status) == (["COPY 10000"], "I")
        await client.leave()
        await w.settle()


@pytest.mark.parametrize("capacity", [2000, 1 << 16])
@pytest.mark.parametrize("pause", [0.0, 5.0])
async def test_what_is_left_of_a_failed_copy_keeps_no_backend(clock: MockClock, capacity: int, pause: float) -> None:
    """The server is through with the request while half of a message of data is still on its way."""
    async with world(proxy(ONE)) as w:
        w.database.scripts = lambda: (Script(capacity=capacity), Script())
        client, other = await w.client(), await w.client()
        data = b"".join(m.message(b"d", bytes(900)) for _ in range(20)) + m.message(b"c")
        await client.send(m.query(client.mark("COPYIN 1000")) + data[:5000])
        await trio.sleep(pause)
        await client.send(data[5000:])
        reply = await client.reply()
        assert (reply.errors, reply.status) == (["22P04"], "I")
        assert (await other.query("SELECT 1")).rows == ["1"]
        assert (await client.query("SELECT 2")).rows == ["2"]
        await client.leave()
        await other.leave()
        await w.settle()


async def test_a_transaction_left_open_is_rolled_back_and_its_backend_reused(clock: MockClock) -> None:
    async with world(proxy(ONE)) as w:
        for leaving in ("close", "reset", "terminate"):
            client = await w.client()
            await client.query("BEGIN")
            if leaving == "reset":
                client.transport.reset()
            elif leaving == "close":
                client.transport.close()
            else:
                await client.leave()
            await w.until(lambda: not w.sessions)
            await w.settle()
        assert len([c for c in w.database.all if c.logged_in]) == 1


async def test_a_session_that_changed_its_settings_leaves_them_to_nobody(clock: MockClock) -> None:
    async with world(proxy(ONE)) as w:
        client, other = await w.client(), await w.client()
        await client.query("SET x")
        assert (await client.query("SHOWX")).rows == [client.name]
        await client.leave()
        assert (await other.query("SHOWX")).rows == [""]
        await other.leave()
        await w.settle()


async def test_clients_use_the_same_statement_names_for_different_texts(clock: MockClock) -> None:
    async with world(proxy(ONE)) as w:
        first, second = await w.client(), await w.client()
        assert not (await first.prepare_and_run("s", "SELECT $1 first", "1")).errors
        assert not (await second.prepare_and_run("s", "SELECT $1 second", "2")).errors
        for n in range(3):
            assert (await first.run_prepared("s", str(n))).rows == [str(n)]
            assert (await second.run_prepared("s", str(n))).rows == [str(n)]
        texts = [ran.text for ran in w.database.ran() if "<-" in ran.text]
        assert sum("first" in text for text in texts) == 4
        assert sum("second" in text for text in texts) == 4
        assert (await first.prepare_and_run("s", "SELECT $1 other", "1")).errors == ["42P05"]
        assert (await first.run_prepared("nobodys", "1")).errors == ["26000"]
        await first.leave()
        await second.leave()
        await w.settle()


async def test_an_unfinished_extended_request_holds_its_backend_only_while_its_client_is_there(
    clock: MockClock,
) -> None:
    async with world(proxy(ONE)) as w:
        client, other = await w.client(), await w.client()
        await client.send(parse("s", "SELECT $1") + bind("s", "5") + EXECUTE + m.FLUSH)
        await trio.sleep(5)
        assert w.statistics().borrowed == 1
        client.transport.close()
        assert (await other.query("SELECT 1")).rows == ["1"]
        await other.leave()
        await w.settle()


async def test_two_users_share_one_quota_and_neither_starves(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=2))) as w:
        done: list[str] = []

        async def user(name: str, number: int) -> None:
            client = await w.client(f"{name}{number}", user=name)
            for n in range(10):
                assert (await client.query(f"SELECT {n}")).rows == [str(n)]
                done.append(name)
                await trio.sleep(0.05)
            await client.leave()

        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(user, "alice", number)
                nursery.start_soon(user, "bob", number)
        assert done.count("alice") == done.count("bob") == 60
        assert w.database.most <= 2
        await w.settle()
