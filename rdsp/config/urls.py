"""A database's URL, taken apart: `postgresql://app:p%40ss@db.example:5432/shop?sslmode=require`.

Called by the loader. No error shows any part of the URL but its scheme: where a password was not encoded, any other
part may hold a piece of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import attrs

from rdsp.config.addresses import show_target
from rdsp.config.secret import expand
from rdsp.config.units import BadValue

FORM: Final = "expected a URL of the form SCHEME://USER:PASSWORD@HOST:PORT/DATABASE"
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30})://", re.ASCII)
_AUTHORITY_END: Final = re.compile(r"[/?#]")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_QUERY_KEYS: Final = {
    "sslmode": "tls",
    "sslrootcert": "tls_ca",
    "sslnegotiation": "tls_negotiation",
    "channel_binding": "channel_binding",
    "max_protocol_version": "max_protocol_version",
    "compression": "compression",
    "connect_timeout": "connect_timeout",
    "target_session_attrs": "target_session_attrs",
    "host": "host",
    "port": "port",
}
"""libpq's names, and those of the settings that they stand for; `compression` is our own."""
_PORTS: Final = "the port is not in 1..65535"


Part = str | int | list[str]


@attrs.frozen
class TargetUrl:
    """The parts found.

    Attributes:
        scheme: in lower case.
        parts: keys of the `target` table, values as the file would have them (the password: plain text). Parts that
            are not in the URL are not there.
    """

    scheme: str
    parts: dict[str, Part] = attrs.field(repr=False)


def parse_url(text: str, environ: Mapping[str, str]) -> TargetUrl:
    """Take a URL apart; ranges are the caller's. Raises `BadValue`, which shows nothing of the URL."""
    found = _SCHEME.match(text)
    if found is None:
        raise BadValue(FORM)
    end = _AUTHORITY_END.search(text, found.end())
    authority = text[found.end() : end.start() if end else None]
    rest = text[end.start() :] if end else ""
    if "@" not in authority and "@" in rest:
        raise BadValue('"/", "?" and "#" in a user name or password are written %2F, %3F and %23')
    path, _, query = rest.partition("?")
    if "#" in rest:
        raise BadValue('"#" is written %23')
    parts = _authority(authority, environ)
    if path[1:]:
        parts["database"] = _decode(path[1:])
    asked = _query(query)
    hosts, ports = asked.pop("host", None), asked.pop("port", None)
    if hosts is not None or ports is not None:
        if parts.keys() & {"host", "port"}:
            raise BadValue("names the host twice")
        parts |= _places((hosts or "").split(","), (ports or "").split(","))
    for key, value in asked.items():
        parts[key] = value
    return TargetUrl(found[1].lower(), parts)


def _authority(authority: str, environ: Mapping[str, str]) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    login, at, place = authority.rpartition("@")
    if at:
        user, colon, password = login.partition(":")
        if user:
            parts["username"] = _decode(user)
        if colon:
            parts["password"] = expand(password, environ, _decode)
    hosts: list[str] = []
    ports: list[str] = []
    for one in place.split(","):
        if one.startswith("["):
            host, bracket, port = one[1:].partition("]")
            if not bracket or (port and not port.startswith(":")):
                raise BadValue("the host is not a name or an address")
            port = port[1:]
        else:
            host, _, port = one.partition(":")
        hosts.append(_decode(host))
        ports.append(port)
    return parts | _places(hosts, ports)


def _places(hosts: list[str], ports: list[str]) -> dict[str, Part]:
    """Hosts and their ports, as libpq pairs them: as many, or one port for all; "" is what the settings have."""
    if not all(port == "" or (port.isascii() and port.isdecimal() and len(port) <= 5) for port in ports):
        raise BadValue(_PORTS)
    numbers = [int(port) if port else None for port in ports]
    if not all(number is None or 1 <= number <= 65535 for number in numbers):
        raise BadValue(_PORTS)
    if len(numbers) == 1:
        parts: dict[str, Part] = {} if numbers[0] is None else {"port": numbers[0]}
        if len(hosts) == 1:
            return ({"host": hosts[0]} if hosts[0] else {}) | parts
        numbers *= len(hosts)
    if len(numbers) != len(hosts):
        raise BadValue("names as many hosts as ports, or one port for all of them")
    if not all(hosts):
        raise BadValue("a host of several is empty")
    return {"host": [show_target(host, port) for host, port in zip(hosts, numbers, strict=True)]}


def _query(query: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        key = _QUERY_KEYS.get(name)
        if key is None:
            raise BadValue(f"has a parameter that is not known; known are {', '.join(_QUERY_KEYS)}")
        parts[key] = _decode(value)
    return parts


def _decode(text: str) -> str:
    if _BAD_ESCAPE.search(text):
        raise BadValue('a "%" that is not followed by two hexadecimal digits; "%" itself is written %25')
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise BadValue("percent-encoded bytes that are not UTF-8") from None
