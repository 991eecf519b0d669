"""Where the proxy listens, and where it finds its server: texts to values and back. Pure: no name is looked up here."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from typing import Final

import attrs

from rdsp.config.units import BadValue

EVERYWHERE: Final = "0.0.0.0"
"""What a bare port means, as RDS Proxy's IPV4 endpoint does."""

_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})", re.ASCII)
_MAX_LABEL: Final = 63
FORM: Final = 'expected "HOST:PORT", "[IPV6]:PORT", a port, "unix:/DIRECTORY:PORT" or "unix:/FILE"'
UNIX: Final = "unix:"
PATH_MAX: Final = 107
"""Bytes of a Unix socket's path (unix(7): 108 with the zero at the end)."""
_DIRECTORY_PORT: Final = re.compile(r"(.+):([0-9]{1,6})", re.ASCII | re.DOTALL)
_HOST_PORT: Final = re.compile(r"(?:\[(?P<six>[^\[\]]*)\]|(?P<name>[^:]*))(?::(?P<port>[0-9]{1,6}))?", re.ASCII)


@attrs.frozen(order=True)
class Address:
    """Where to listen or to connect.

    Attributes:
        host: name or number, IPv6 without brackets. For Unix sockets a path ("/run/rdsp"), or a name that is no file
            ("@rdsp", in the abstract name space).
        port: 0: any free one. With a path: the port whose socket stands in that directory; 0: the path is the socket.
    """

    host: str
    port: int

    @property
    def is_unix(self) -> bool:
        """Whether it is a Unix socket."""
        return self.host.startswith(("/", "@"))

    def socket_path(self, file_name: str) -> str:
        """The Unix socket's path, "@" in front of an abstract one.

        Args:
            file_name: of an engine's sockets in a directory, with `{}` for the port; "": the engine has none.
        """
        return f"{self.host.rstrip('/')}/{file_name.format(self.port)}" if self.port and file_name else self.host

    def __str__(self) -> str:
        if self.is_unix:
            return f"{UNIX}{self.host}:{self.port}" if self.port else f"{UNIX}{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, raw: object, default_port: int | None = None) -> Address:
        """The same as `parse_address`."""
        return parse_address(raw, default_port)

    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.is_unix:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def clashes_with(self, other: Address) -> bool:
        """Whether both cannot be listened on at once: same port, same host or one of them every host of its family."""
        if self.is_unix or other.is_unix:
            return self == other
        if self.port != other.port or self.port == 0:
            return False
        if self.host == other.host:
            return True
        same_family = (":" in self.host) == (":" in other.host)
        return same_family and bool({self.host, other.host} & {EVERYWHERE, "::"})


def check_host(host: str) -> str:
    """A host name or address, IPv6 without brackets. Raises `BadValue`."""
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise BadValue(f"{json.dumps(host[:80])} is not an IPv6 address") from None
    labels = host.removesuffix(".").split(".")
    if not _HOST.fullmatch(host) or not all(1 <= len(label) <= _MAX_LABEL for label in labels):
        raise BadValue(f"{json.dumps(host[:80])} is not a host name or address")
    return host


def check_path(path: str) -> str:
    """The path of a Unix socket or of its directory, or an abstract name behind "@". Raises `BadValue`."""
    shown = json.dumps(path[:80])
    if not path.startswith(("/", "@")) or path == "@":
        raise BadValue(f"{shown} is not an absolute path")
    try:
        size = len(os.fsencode(path))
    except UnicodeEncodeError:
        raise BadValue(f"{shown} is not UTF-8 text") from None
    if "\0" in path or "\n" in path or size > PATH_MAX:
        raise BadValue(f"{shown} is not the path of a Unix socket (one line, {PATH_MAX} bytes at most)")
    return path


def parse_target(text: str) -> tuple[str, int | None]:
    """A server's host and port, None where none is named.

    Args:
        text: a name or address, `HOST:PORT`, `[IPV6]:PORT`, or for Unix sockets a directory or `@NAME`, as in libpq.

    Raises `BadValue`.
    """
    if text.startswith(("/", "@")):
        found = _DIRECTORY_PORT.fullmatch(text)
        return (check_path(found[1]), _port(found[2], 1)) if found else (check_path(text), None)
    if text.count(":") > 1 and not text.startswith("["):
        return check_host(text), None
    found = _HOST_PORT.fullmatch(text)
    if found is None:
        raise BadValue(f"{json.dumps(text[:80])} is not a host name or address")
    six, name, port = found["six"], found["name"], found["port"]
    if six is not None and ":" not in six:
        raise BadValue(f"{json.dumps(text[:80])}: only an IPv6 address stands in brackets")
    return check_host(six if six is not None else name), None if port is None else _port(port, 1)


def show_target(host: str, port: int | None) -> str:
    """The normal text of a server's place, which `parse_target` reads."""
    if port is None:
        return host
    return f"{host}:{port}" if host.startswith(("/", "@")) else str(Address(host, port))


def parse_address(raw: object, default_port: int | None = None) -> Address:
    """Read one address.

    Args:
        raw: `"HOST:PORT"`, `"[::1]:PORT"`, a bare port (number or text: every IPv4 address), or `"unix:"` and a
            directory with a port, or a path.
        default_port: makes a bare host an address, too.

    Raises `BadValue` with what is expected.
    """
    if isinstance(raw, int) and not isinstance(raw, bool):
        return Address(EVERYWHERE, _port(str(raw) if abs(raw) <= 65535 else "too large"))
    if not isinstance(raw, str):
        raise BadValue(FORM)
    text = raw.strip()
    if text.startswith(UNIX):
        path = text.removeprefix(UNIX)
        found = _DIRECTORY_PORT.fullmatch(path)
        return Address(check_path(found[1]), _port(found[2], 1)) if found else Address(check_path(path), 0)
    if text.isdecimal():
        return Address(EVERYWHERE, _port(text))
    if text.startswith("["):
        host, bracket, after = text[1:].partition("]")
        colon, port = after[:1], after[1:]
        if not bracket or colon not in ("", ":") or ":" not in host:
            raise BadValue(f"{json.dumps(raw)}: {FORM}")
    elif text.count(":") > 1:
        raise BadValue(f'{json.dumps(raw)}: an IPv6 address needs brackets, as in "[::1]:5432"')
    else:
        host, colon, port = text.partition(":")
    if not colon and host and default_port is not None:
        return Address(check_host(host), default_port)
    if not colon:
        raise BadValue(f"{json.dumps(raw)}: {FORM}")
    return Address(check_host(host or EVERYWHERE), _port(port))


def _port(text: str, low: int = 0) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 6 or not low <= int(text) <= 65535:
        raise BadValue(f"{json.dumps(text[:20])} is not a port ({low}..65535)")
    return int(text)
