"""What concerns more than one setting: rules that a configuration breaks, and things worth a warning.

Called by the loader (`broken`, `files`) and by `rdsp check` (`warnings`). Texts never hold a secret.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from rdsp.config.addresses import EVERYWHERE, PATH_MAX, Address
from rdsp.config.kinds import FilePath
from rdsp.config.model import Config, Proxy, Setting, default_of, settings, tables
from rdsp.errors import Fault
from rdsp_codecs.api import Codec


def broken(config: Config, codecs: dict[str, Codec]) -> Iterator[Fault]:
    """Rules that do not hold.

    Args:
        config: values that are each in their range.
        codecs: the engines by name; a proxy whose engine is not there is not checked against it.
    """
    if not config.proxies:
        yield Fault("proxies", "missing; a [[proxies]] table says what to run")
    for position, proxy in enumerate(config.proxies):
        path = f"proxies[{position}]"
        for earlier, other in enumerate(config.proxies[:position]):
            if other.name == proxy.name:
                yield Fault(f"{path}.name", f'"{proxy.name}" is the name of proxies[{earlier}] too')
        yield from _users(path, proxy)
        yield from _tls(path, proxy)
        codec = codecs.get(proxy.engine)
        if codec is not None:
            yield from _features(path, proxy, codec)
            yield from _sockets(path, proxy, codec)
        yield from _group(path, proxy)
    yield from _addresses(config)


def _addresses(config: Config) -> Iterator[Fault]:
    taken: list[tuple[Address, str]] = []
    for position, proxy in enumerate(config.proxies):
        path = f"proxies[{position}].listen"
        if not proxy.listen:
            yield Fault(path, "missing; at least one address is needed")
        for address in proxy.addresses:
            for other, owner in taken:
                if address.clashes_with(other):
                    yield Fault(path, f"{address} clashes with {other} of {owner}")
            taken.append((address, path.removesuffix(".listen")))
            if any(_leads_to(target, address) for target in proxy.target.addresses):
                yield Fault(path, f"{address} is the proxy's own target: it would connect to itself")


def _leads_to(target: Address, listen: Address) -> bool:
    if target == listen:
        return True
    return target.port == listen.port and target.host in _LOCAL and listen.host in (*_LOCAL, EVERYWHERE, "::")


_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


def _sockets(path: str, proxy: Proxy, codec: Codec) -> Iterator[Fault]:
    """Unix sockets whose path is too long, or not to be found by the engine's clients."""
    name = codec.features.socket_file
    places = [(f"{path}.listen", one) for one in proxy.addresses] + [
        (f"{path}.target.host", one) for one in proxy.target.addresses
    ]
    for where, address in places:
        if not address.is_unix:
            continue
        if address.port and not name and where.endswith("listen"):
            yield Fault(where, f'the engine "{codec.name}" has no sockets named by ports: {address.host} alone, please')
        size = len(os.fsencode(address.socket_path(name)))
        if size > PATH_MAX:
            yield Fault(where, f"{address.socket_path(name)} has {size} bytes, and {PATH_MAX} are possible")


def _users(path: str, proxy: Proxy) -> Iterator[Fault]:
    if proxy.target.password is not None and proxy.target.username is None:
        yield Fault(f"{path}.target.username", "missing; a password needs its user")
    for position, entry in enumerate(proxy.auth):
        here = f"{path}.auth[{position}]"
        if entry.secrets_folder is not None:
            if entry.username is not None or entry.password is not None:
                yield Fault(f"{here}.secrets_folder", "cannot stand beside username and password in one entry")
        elif entry.username is None and entry.password is None:
            yield Fault(here, "is empty; give username and password, or secrets_folder")
        elif entry.username is None:
            yield Fault(f"{here}.username", "missing; a password needs its user")
        elif entry.password is None:
            yield Fault(f"{here}.password", "missing; a user needs a password")


def _tls(path: str, proxy: Proxy) -> Iterator[Fault]:
    tls = proxy.tls
    if (tls.certificate is None) != (tls.private_key is None):
        lacking, given = ("private_key", "certificate") if tls.private_key is None else ("certificate", "private_key")
        yield Fault(f"{path}.tls.{lacking}", f"missing; it belongs to {given}")
    if proxy.require_tls and not tls.enabled:
        yield Fault(f"{path}.require_tls", "cannot be true while tls.enabled is false")
    target = proxy.target
    if target.tls_negotiation == "direct" and target.tls in ("disable", "prefer"):
        yield Fault(
            f"{path}.target.tls_negotiation",
            f'"direct" needs tls to be "require" or stricter, and it is "{target.tls}"',
        )
    if target.channel_binding == "require" and target.tls == "disable":
        yield Fault(f"{path}.target.channel_binding", '"require" needs TLS, and tls is "disable"')


def _features(path: str, proxy: Proxy, codec: Codec) -> Iterator[Fault]:
    features = codec.features
    for name in proxy.target_group.session_pinning_filters:
        if name not in features.pinning_filters:
            takes = ", ".join(features.pinning_filters) or "none"
            yield Fault(
                f"{path}.target_group.session_pinning_filters",
                f'the engine "{codec.name}" does not take {name} (it takes {takes})',
            )
    way = proxy.target.compression
    if way != "off" and way not in features.compression:
        yield Fault(f"{path}.target.compression", f'the engine "{codec.name}" does not have "{way}"')
    for name in proxy.auth_methods:
        if features.auth_methods and name not in features.auth_methods:
            takes = ", ".join(features.auth_methods)
            yield Fault(f"{path}.auth_methods", f'the engine "{codec.name}" does not have "{name}" (it has {takes})')
    for key in features.lacks:
        table, _, name = key.partition(".")
        values = getattr(proxy, table)
        if getattr(values, name) != default_of(type(values), name):
            yield Fault(f"{path}.{key}", f'the engine "{codec.name}" does not have this')


def _group(path: str, proxy: Proxy) -> Iterator[Fault]:
    group = proxy.target_group
    if group.idle_percent > group.max_connections_percent:
        yield Fault(
            f"{path}.target_group.max_idle_connections_percent",
            f"{group.idle_percent} is not in 0..{group.max_connections_percent} (max_connections_percent)",
        )


def files(config: Config) -> Iterator[Fault]:
    """Files and folders that are named and cannot be used. Looks at the disk, reads nothing."""
    for position, proxy in enumerate(config.proxies):
        path = f"proxies[{position}]"
        places = [(f"{path}.{name}", getattr(proxy, name)) for name in tables(Proxy) if name != "auth"]
        places += [(f"{path}.auth[{number}]", entry) for number, entry in enumerate(proxy.auth)]
        for here, table in places:
            for name, about in settings(type(table)).items():
                trouble = _trouble(about, getattr(table, name, None))
                if trouble:
                    yield Fault(f"{here}.{name}", trouble)


def _trouble(about: Setting, value: object) -> str:
    kind = about.kind
    if not isinstance(kind, FilePath) or not isinstance(value, str):
        return ""
    if not os.path.exists(value):
        return f"{kind.show(value)} does not exist"
    if os.path.isdir(value) != kind.folder:
        return f"{kind.show(value)} is not {kind.limits()}"
    return "" if os.access(value, os.R_OK) else f"{kind.show(value)} cannot be read by this user"


def warnings(config: Config) -> Iterator[Fault]:
    """What is allowed and probably not meant."""
    for position, proxy in enumerate(config.proxies):
        path = f"proxies[{position}]"
        open_to_others = not all(address.is_loopback() for address in proxy.addresses)
        if not proxy.has_passwords:
            yield Fault(f"{path}.target.password", "not given: the proxy serves clients of this machine only")
        if open_to_others and not proxy.tls.enabled:
            yield Fault(f"{path}.tls.enabled", "false, and other machines can connect: they cannot use TLS")
        elif open_to_others and not proxy.require_tls:
            yield Fault(f"{path}.require_tls", "false, and other machines can connect: they need not use TLS")
        if open_to_others and proxy.tls.enabled and proxy.tls.certificate is None:
            yield Fault(
                f"{path}.tls.certificate",
                "not given: the proxy makes a new one at each start, which clients cannot verify",
            )
        others = [one.host for one in proxy.target.addresses if not one.is_unix and one.host not in _LOCAL]
        if proxy.target.tls in ("disable", "prefer") and others:
            text = f'"{proxy.target.tls}": the connection to {", ".join(others)} may be unencrypted'
            yield Fault(f"{path}.target.tls", text)
        if proxy.target_group.connection_borrow_timeout == 0:
            yield Fault(f"{path}.target_group.connection_borrow_timeout", "0: a request fails unless a backend is idle")
    yield from _shared_targets(config)


def _shared_targets(config: Config) -> Iterator[Fault]:
    shares: dict[Address, list[int]] = {}
    for position, proxy in enumerate(config.proxies):
        for address in proxy.target.addresses:
            shares.setdefault(address, []).append(position)
    for address, positions in shares.items():
        total = sum(config.proxies[position].target_group.max_connections_percent for position in positions)
        if len(positions) > 1 and total > 100:
            yield Fault(
                f"proxies[{positions[-1]}].target_group.max_connections_percent",
                f"the proxies of the target {address.host} may take {total} percent of its connections together",
            )
