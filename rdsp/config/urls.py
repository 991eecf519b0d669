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
    "connect_timeout": "connect_timeout",
}


@attrs.frozen
class TargetUrl:
    """The parts found.

    Attributes:
        scheme: in lower case.
        parts: keys of the `target` table, values as the file would have them (the password: plain text). Parts that
            are not in the URL are not there.
    """

    scheme: str
    parts: dict[str, str | int] = attrs.field(repr=False)


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
    for key, value in _query(query).items():
        parts[key] = value
    return TargetUrl(found[1].lower(), parts)


def _authority(authority: str, environ: Mapping[str, str]) -> dict[str, str | int]:
    parts: dict[str, str | int] = {}
    login, at, place = authority.rpartition("@")
    if at:
        user, colon, password = login.partition(":")
        if user:
            parts["username"] = _decode(user)
        if colon:
            parts["password"] = expand(password, environ, _decode)
    if place.startswith("["):
        host, bracket, port = place[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise BadValue("the host is not a name or an address")
        port = port[1:]
    else:
        host, _, port = place.partition(":")
    if "," in place:
        raise BadValue("names more than one host; a proxy has one")
    if host:
        parts["host"] = _decode(host)
    if port:
        if not (port.isascii() and port.isdecimal() and len(port) <= 5):
            raise BadValue("the port is not in 1..65535")
        parts["port"] = int(port)
    return parts


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
