"""Sessions that listen share backends, and are told just what a connection of their own would tell them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.transaction import Transaction
from tests.codecs.postgres.model_notifications import Proxy, Site

CHANNELS = ['"a"', '"B""b"', '"c d"']
TEXTS = st.one_of(
    st.sampled_from(CHANNELS).map(lambda name: f"LISTEN {name}"),
    st.sampled_from(CHANNELS).map(lambda name: f"UNLISTEN {name}"),
    st.just("UNLISTEN *"),
    st.tuples(st.sampled_from(CHANNELS), st.integers(0, 3)).map(lambda two: f"NOTIFY {two[0]}, 'n{two[1]}'"),
    st.sampled_from(["BEGIN", "COMMIT", "ROLLBACK", "SELECT 1"]),
    st.lists(
        st.one_of(
            st.sampled_from(CHANNELS).map(lambda name: f"LISTEN {name}"),
            st.sampled_from(CHANNELS).map(lambda name: f"NOTIFY {name}, 'm'"),
            st.just("SELECT 1"),
        ),
        min_size=2,
        max_size=3,
    ).map(";".join),
)
MOST_UNDER_WAY = 3


def finish(proxy: Proxy) -> None:
    """Let everything happen that is still to happen."""
    for _ in range(10_000):
        found = proxy.moves()
        if not found:
            return
        proxy.move(*found[0], 1 << 20)
    raise AssertionError("it never ends")


def end(proxy: Proxy) -> None:
    """End all transactions, and then everything else."""
    finish(proxy)
    while (site := next((one for one in proxy.sites if one.backend is not None), None)) is not None:
        assert site.relay.transaction is Transaction.OPEN
        site.ask("COMMIT")
        finish(proxy)
    for site in proxy.sites:
        # One more request each: what it was to be told before is told then at the latest.
        site.ask("SELECT 1")
        finish(proxy)


@given(st.data())
def test_all_are_told_what_connections_of_their_own_would_tell_them_and_nothing_else(data: st.DataObject) -> None:
    proxy = Proxy(sessions=3, backends=data.draw(st.integers(1, 3), label="backends"))
    for _ in range(data.draw(st.integers(5, 60), label="moves")):
        found = proxy.moves()
        choice = data.draw(st.integers(0, len(found) + 2), label="what")
        if choice < len(found):
            proxy.move(*found[choice], data.draw(st.sampled_from([1, 7, 30, 1 << 20]), label="size"))
        elif choice == len(found):
            proxy.far.feed(_notify(data))
        else:
            site = data.draw(st.sampled_from(proxy.sites), label="session")
            if site.unanswered < MOST_UNDER_WAY:
                site.ask(data.draw(TEXTS, label="text"))
    end(proxy)

    for site in proxy.sites:
        assert site.heard == [one for _, one in site.expected]
        assert not site.unanswered
        assert site.channels == {name.decode() for name in site.relay.listening.channels}
        assert site.backend is None
    assert not any(backend.listening for backend in proxy.backends)
    if proxy.hearing is not None and proxy.ear is not None:
        wanted = set().union(*(site.channels for site in proxy.sites))
        assert proxy.hearing.listening == wanted | {proxy.ear.marker.decode()}


def _notify(data: st.DataObject) -> bytes:
    text = data.draw(st.sampled_from(CHANNELS), label="channel")
    return _query(f"NOTIFY {text}, 'far{data.draw(st.integers(0, 99))}'")


def _query(text: str) -> bytes:
    body = text.encode() + b"\0"
    return b"Q" + (len(body) + 4).to_bytes(4, "big") + body


def listening(proxy: Proxy, site: Site, *channels: str) -> None:
    for channel in channels:
        site.ask(f"LISTEN {channel}")
        finish(proxy)
    assert site.backend is None


def test_ones_own_notifications_come_before_the_ready_for_query_under_ones_own_process_id() -> None:
    proxy = Proxy(sessions=2, backends=1)
    one, other = proxy.sites
    listening(proxy, one, '"a"')
    listening(proxy, other, '"a"')
    one.kinds = ""
    one.ask("NOTIFY \"a\", 'x'")
    finish(proxy)
    assert one.kinds == "CAZ"
    assert one.heard == [(1, "a", "x")]
    assert other.heard == [(proxy.backends[0].process_id, "a", "x")]


def test_in_a_transaction_nothing_comes_before_its_end() -> None:
    proxy = Proxy(sessions=1, backends=1)
    (site,) = proxy.sites
    listening(proxy, site, '"a"')
    site.ask("BEGIN")
    finish(proxy)
    proxy.far.feed(_query("NOTIFY \"a\", 'x'"))
    finish(proxy)
    assert site.heard == []
    site.kinds = ""
    site.ask("COMMIT")
    finish(proxy)
    assert site.kinds == "CAZ"


def test_a_process_id_that_is_the_clients_own_by_chance_is_shown_as_another() -> None:
    proxy = Proxy(sessions=3, backends=1)
    site = proxy.sites[proxy.far.process_id - 1]
    listening(proxy, site, '"a"')
    proxy.far.feed(_query("NOTIFY \"a\", 'x'"))
    finish(proxy)
    ((process_id, _, _),) = site.heard
    assert process_id != site.number


def test_a_backend_that_speaks_to_who_does_not_listen_is_pinned_and_says_nothing() -> None:
    proxy = Proxy(sessions=1, backends=1)
    (site,) = proxy.sites
    proxy.backends[0].listening.add("left behind")
    proxy.far.feed(_query("NOTIFY \"left behind\", 'x'"))
    proxy.far.step()
    site.ask("SELECT 1")
    for what, backend in proxy.moves():
        if what == "step":
            proxy.move(what, backend, 0)
    site.from_server(proxy.backends[0].out)
    assert site.heard == []
    assert site.relay.pins


def test_what_a_function_has_left_on_a_backend_is_not_taken_over_by_who_listens_there_next() -> None:
    proxy = Proxy(sessions=2, backends=1)
    one, other = proxy.sites
    listening(proxy, other, '"b"')
    for _ in range(2):
        proxy.backends[0].listening.add("left behind")
        for text in ('LISTEN "a"', "SELECT 1", 'LISTEN "A"'):
            one.ask(text)
            for channel in ("left behind", "a"):
                proxy.far.feed(_query(f"NOTIFY \"{channel}\", 'x'"))
            finish(proxy)
        assert one.relay.listening.channels == {b"a", b"A"}
        assert {channel for _, channel, _ in one.heard} == {"a"}


def test_a_name_that_is_read_while_an_earlier_answer_is_under_way_is_not_forgotten() -> None:
    proxy = Proxy(sessions=2, backends=1)
    one, other = proxy.sites
    listening(proxy, other, '"b"')
    for text in ('LISTEN "a"', 'UNLISTEN "a"', 'LISTEN "a"', "UNLISTEN *", 'LISTEN "c d"'):
        one.ask(text)
    finish(proxy)
    assert one.relay.listening.channels == {b"c d"}
