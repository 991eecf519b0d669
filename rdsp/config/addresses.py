"""Where the proxy listens: `HOST:PORT` texts to values and back. Pure: no name is looked up here."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Final

import attrs

from rdsp.config.units import BadValue

EVERYWHERE: Final = "0.0.0.0"
"""What a bare port means, as RDS Proxy's IPV4 endpoint does."""

_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})", re.ASCII)
_MAX_LABEL: Final = 63
FORM: Final = 'expected "HOST:PORT", "[IPV6]:PORT" or a port'


@attrs.frozen(order=True)
class Address:
    """A host (name or number, IPv6 without brackets) and a port (0: any free one)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, raw: object, default_port: int | None = None) -> Address:
        """The same as `parse_address`."""
        return parse_address(raw, default_port)

    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def clashes_with(self, other: Address) -> bool:
        """Whether both cannot be listened on at once: same port, same host or one of them every host of its family."""
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


def parse_address(raw: object, default_port: int | None = None) -> Address:
    """Read one address.

    Args:
        raw: `"HOST:PORT"`, `"[::1]:PORT"`, or a bare port (number or text: every IPv4 address).
        default_port: makes a bare host an address, too.

    Raises `BadValue` with what is expected.
    """
    if isinstance(raw, int) and not isinstance(raw, bool):
        return Address(EVERYWHERE, _port(str(raw) if abs(raw) <= 65535 else "too large"))
    if not isinstance(raw, str):
        raise BadValue(FORM)
    text = raw.strip()
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


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 6 or int(text) > 65535:
        raise BadValue(f"{json.dumps(text[:20])} is not a port (0..65535)")
    return int(text)
