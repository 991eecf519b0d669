"""The PROXY protocol's header, versions 1 and 2: who the client is that a load balancer passes on. Pure.

The listener feeds it what stands at the very beginning of a connection from a trusted address. It never takes a byte
behind the header: what follows may be the beginning of a TLS handshake.
"""

from __future__ import annotations

import ipaddress
from typing import Final

import attrs

from rdsp_codecs.errors import WireError

MAX_BYTES: Final = 4096
"""The longest header of version 2 that is taken, its TLVs included; the specification asks for 536 at least."""
_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED: Final = 16
_WORD: Final = b"PROXY "
_MAX_LINE: Final = 107
_V1_FAMILIES: Final = {b"TCP4": ipaddress.IPv4Address, b"TCP6": ipaddress.IPv6Address}
_LOCAL, _PROXIED = 0x20, 0x21
_INET, _INET6, _UNIX = 0x11, 0x21, 0x31
_SIZES: Final = {_INET: 12, _INET6: 36, _UNIX: 216}


@attrs.frozen
class Header:
    """What it says.

    Attributes:
        local: the load balancer speaks for itself (a health check), not for a client.
        source: the client's address and port; None where it does not say: then it is unknown.
    """

    local: bool = False
    source: tuple[str, int] | None = None


class HeaderReader:
    """Takes a header in pieces.

    Invariant: what was taken is the beginning of a header, or all of it; then `header` is set.
    """

    def __init__(self) -> None:
        self.header: Header | None = None
        self._have = bytearray()
        self._size = 0
        """Of a header of version 2, once it is known."""

    def feed(self, data: bytes) -> int:
        """Take what belongs to the header. Returns how many bytes of `data` did; none when it is complete.

        Raises `WireError` for what is no header; then the connection is to be closed.
        """
        used = 0
        while self.header is None and used < len(data):
            size = min(self._wanted(data, used), len(data) - used)
            self._have += data[used : used + size]
            used += size
            self._look()
        return used

    def _wanted(self, data: bytes, start: int) -> int:
        """How many bytes belong to the header in any case: at least one."""
        have = self._have
        if not have:
            return 1  # it says which version
        if have[0] == _SIGNATURE[0]:
            return (self._size or _FIXED) - len(have)
        end = data.find(b"\n", start)
        return min(_MAX_LINE - len(have), (end + 1 if end >= 0 else len(data)) - start)

    def _look(self) -> None:
        have = self._have
        start = _SIGNATURE if have[0] == _SIGNATURE[0] else _WORD
        if not start.startswith(have[: len(start)]):
            raise WireError("the connection does not begin with a PROXY protocol header")
        if start is _WORD:
            if have.endswith(b"\n"):
                self.header = _line(bytes(have))
            elif len(have) >= _MAX_LINE:
                raise WireError("a PROXY protocol header without an end")
            return
        if len(have) == _FIXED:
            self._size = _FIXED + int.from_bytes(have[14:16], "big")
            if self._size > MAX_BYTES:
                raise WireError(f"a PROXY protocol header of {self._size} bytes; {MAX_BYTES} are possible")
        if len(have) == self._size:
            self.header = _binary(bytes(have))


def _line(line: bytes) -> Header:
    """Version 1, section 2.1 of the specification."""
    words = line.removesuffix(b"\r\n").split(b" ")
    if not line.endswith(b"\r\n") or len(words) < 2:
        raise WireError("a malformed PROXY protocol header")
    if words[1] == b"UNKNOWN":
        return Header()
    family = _V1_FAMILIES.get(words[1])
    if family is None or len(words) != 6:
        raise WireError("a malformed PROXY protocol header")
    try:
        source, _ = family(words[2].decode("ascii")), family(words[3].decode("ascii"))
    except ValueError:
        raise WireError("a PROXY protocol header with a malformed address") from None
    port, _ = _port(words[4]), _port(words[5])
    return Header(source=(str(source), port))


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or int(word) > 65535 or (word[:1] == b"0" and word != b"0"):
        raise WireError("a PROXY protocol header with a malformed port")
    return int(word)


def _binary(data: bytes) -> Header:
    """Version 2, section 2.2. What follows the addresses are TLVs, which nobody here wants."""
    command, family = data[12], data[13]
    if command == _LOCAL:
        return Header(local=True)
    if command != _PROXIED:
        raise WireError("a PROXY protocol header of an unknown version or command")
    if len(data) < _FIXED + _SIZES.get(family, 0):
        raise WireError("a PROXY protocol header that is too short for its addresses")
    if family == _INET:
        return Header(source=(str(ipaddress.IPv4Address(data[16:20])), int.from_bytes(data[24:26], "big")))
    if family == _INET6:
        return Header(source=(str(ipaddress.IPv6Address(data[16:32])), int.from_bytes(data[48:50], "big")))
    return Header()
