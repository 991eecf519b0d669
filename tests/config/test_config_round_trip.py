"""Any configuration in range, written as TOML, reads back as itself."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import attrs
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rdsp.config.diff import compare
from rdsp.config.kinds import Duration, Flag, Hidden, Host, Kind, ListOf, Network, OneOf, Size, Text, Whole
from rdsp.config.load import loads
from rdsp.config.model import (
    ClientTls,
    Config,
    Limits,
    Logging,
    Proxy,
    Secret,
    Target,
    TargetGroup,
    Tcp,
    UserAuth,
    default_of,
    settings,
)
from rdsp_codecs.registry import Registry

# What TOML can hold in a text, without what the loader gives a meaning to.
PLAIN = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="$")


def values(kind: Kind) -> st.SearchStrategy[Any]:
    """Stored values of a kind, all in range."""
    match kind:
        case Whole() | Size():
            return st.integers(kind.low, kind.high)
        case Duration():
            return st.integers(int(kind.low * 1000), int(kind.high * 1000)).map(lambda ms: ms / 1000)
        case Flag():
            return st.booleans()
        case OneOf():
            return st.sampled_from(kind.choices)
        case Host():
            return st.ip_addresses().map(str) | st.from_regex(r"[a-z]{1,9}(\.[a-z]{1,9})?", fullmatch=True)
        case Network():
            addresses = st.ip_addresses().map(lambda address: str(ipaddress.ip_network(address)))
            return addresses | st.sampled_from(["unix", "10.0.0.0/8", "fd00::/8"])
        case ListOf():
            return st.lists(values(kind.item), min_size=kind.low, max_size=3, unique=True).map(tuple)
        case Hidden():
            return st.text(PLAIN, min_size=1, max_size=30).map(Secret)
        case Text():
            return st.text(PLAIN, min_size=kind.low, max_size=min(kind.high, 30))
    raise AssertionError(kind)


def tables(model: type[Any], *fixed: str, **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Instances of one table; `fixed` keys keep their default."""
    parts: dict[str, st.SearchStrategy[Any]] = {}
    for key, about in settings(model).items():
        if key in fixed or key in given or not hasattr(attrs.fields(model), key):
            continue
        some = values(about.kind)
        parts[key] = st.none() | some if default_of(model, key) is None else some
    return st.builds(model, **parts, **given)


def _login(target: Target) -> Target:
    whole = target.username is not None and target.password is not None
    strict = target.tls not in ("disable", "prefer")
    return attrs.evolve(
        target,
        username=target.username if whole else None,
        password=target.password if whole else None,
        port=target.port or 5432,
        tls_negotiation=target.tls_negotiation if strict else "postgres",
        channel_binding=target.channel_binding if strict else "disable",
    )


users = st.builds(UserAuth, username=st.text(PLAIN, min_size=1, max_size=9), password=values(Hidden()))
groups = tables(TargetGroup, "session_pinning_filters", "max_idle_connections_percent")
tls = tables(ClientTls, "certificate", "private_key", enabled=st.just(True))
proxies = tables(
    Proxy,
    "auth_methods",
    "unix_socket_permissions",
    name=st.just("one"),
    engine=st.just("postgres"),
    listen=st.just(("127.0.0.2:1", "[::1]:2")),
    auth=st.lists(users, max_size=3).map(tuple),
    tls=tls,
    target=tables(Target, "compression").map(_login),
    target_group=groups,
    limits=tables(Limits),
    client_tcp=tables(Tcp),
    target_tcp=tables(Tcp),
)
configs = st.builds(Config, proxies=proxies.map(lambda proxy: (proxy,)), logging=tables(Logging))


def write(value: Any) -> str:
    """One value as TOML."""
    if isinstance(value, Secret):
        return write(value.value)
    if attrs.has(type(value)):
        pairs = [(field.name, getattr(value, field.name)) for field in attrs.fields(type(value))]
        return "{" + ", ".join(f"{name} = {write(inner)}" for name, inner in pairs if inner is not None) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(write, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)


@given(config=configs)
@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    deadline=None,
    max_examples=60,
)
def test_a_configuration_survives_being_written_and_read(engines: Registry, config: Config) -> None:
    text = "\n".join(f"{field.name} = {write(getattr(config, field.name))}" for field in attrs.fields(Config))
    read = loads(text, environ={}, codecs=engines)
    assert read == config
    assert compare(read, config) == []
