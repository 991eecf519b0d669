"""What differs between two configurations."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from rdsp.config.diff import NOT_SET, Change, compare
from rdsp.config.model import Config, Limits, Logging, Proxy, Reload, Secret, Target, TargetGroup, UserAuth


def one(**proxy: Any) -> Config:
    return Config(proxies=(Proxy(listen=("127.0.0.1:1",), **proxy),))


def test_equal_configurations_do_not_differ() -> None:
    assert compare(one(), one()) == []


def test_a_change_says_where_what_and_what_it_takes() -> None:
    old = one(target_group=TargetGroup(max_backends=20), limits=Limits(login_timeout=30))
    new = attrs.evolve(one(limits=Limits(login_timeout=60)), logging=Logging(level="debug"))
    assert compare(old, new) == [
        Change("logging.level", '"info"', '"debug"', Reload.RESTART),
        Change("proxies[default].target_group.max_backends", "20", NOT_SET, Reload.LIVE),
        Change("proxies[default].limits.login_timeout", "30s", "1m", Reload.NEW_SESSIONS),
    ]


def test_proxies_are_matched_by_name_and_not_by_place() -> None:
    first, second = Proxy(name="a", require_tls=True), Proxy(name="b")
    assert compare(Config(proxies=(first, second)), Config(proxies=(second, first))) == []
    assert compare(Config(proxies=(first,)), Config(proxies=(second,))) == [
        Change("proxies[a]", "there", NOT_SET, Reload.RESTART),
        Change("proxies[b]", NOT_SET, "there", Reload.RESTART),
    ]


def test_another_listen_address_needs_a_restart() -> None:
    (change,) = compare(one(), Config(proxies=(Proxy(listen=("127.0.0.1:2", "[::1]:2")),)))
    assert change.reload is Reload.RESTART
    assert str(change).startswith('proxies[default].listen: ["127.0.0.1:1"] -> ["127.0.0.1:2", "[::1]:2"] (')


@given(st.text(min_size=6).filter(lambda s: "\0" not in s), st.text(min_size=6).filter(lambda s: "\0" not in s))
def test_a_changed_secret_is_a_change_that_does_not_show_it(before: str, after: str) -> None:
    def config(password: str) -> Config:
        secret = Secret(password)
        return one(target=Target(username="u", password=secret), auth=(UserAuth(username="user2", password=secret),))

    changes = compare(config(before), config(after))
    assert len(changes) == (0 if before == after else 2)
    hidden = {
        "proxies[default].target.password: (hidden) -> (another secret)",
        "proxies[default].auth: user2 -> (another secret)",
    }
    assert {str(change).partition(" (holds")[0] for change in changes} <= hidden


def test_users_that_come_and_go_are_named() -> None:
    old = one(auth=(UserAuth(username="a", password=Secret("x")),))
    new = one(auth=(UserAuth(secrets_folder="secrets"),))
    (change,) = compare(old, new)
    assert (change.old, change.new) == ("a", "folder secrets")
