"""Warnings: what is allowed and probably not meant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rdsp.config.model import Config
from rdsp.config.rules import warnings

Load = Callable[..., Config]


def _warned(config: Config) -> list[str]:
    return [warning.path for warning in warnings(config)]


def test_a_local_proxy_with_a_password_is_not_warned_about(read: Load) -> None:
    config = read("[[proxies]]\nlisten = '127.0.0.1:1'\ntarget.url = 'postgresql://u:p@localhost'")
    assert _warned(config) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("listen = '127.0.0.1:1'\ntarget.url = 'postgresql://u@localhost'", "proxies[0].target.password"),
        ("listen = '127.0.0.1:1'\ntarget.url = 'postgresql://u:p@db.example'", "proxies[0].target.tls"),
        (
            "listen = '127.0.0.1:1'\ntarget = {url = 'postgresql://u:p@localhost'}\ntarget_group.connection_borrow_timeout = 0",
            "proxies[0].target_group.connection_borrow_timeout",
        ),
        ("listen = 1\ntls.enabled = false\ntarget.url = 'postgresql://u:p@localhost'", "proxies[0].tls.enabled"),
    ],
)
def test_what_is_probably_not_meant_is_warned_about(read: Load, text: str, path: str) -> None:
    assert _warned(read(f"[[proxies]]\n{text}")) == [path]


def test_an_open_address_without_a_certificate_of_its_own_is_warned_about(read: Load) -> None:
    config = read("[[proxies]]\nlisten = 1\ntarget.url = 'postgresql://u:p@localhost'")
    assert _warned(config) == ["proxies[0].require_tls", "proxies[0].tls.certificate"]


def test_proxies_that_take_more_than_all_of_one_server_are_warned_about(read: Load) -> None:
    proxy = "[[proxies]]\nname = '{0}'\nlisten = '127.0.0.1:{1}'\ntarget.url = 'postgresql://u:p@localhost'\n"
    config = read(proxy.format("a", 1) + proxy.format("b", 2) + "target_group.max_connections_percent = 50")
    assert _warned(config) == ["proxies[1].target_group.max_connections_percent"]
