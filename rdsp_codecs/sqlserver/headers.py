"""ALL_HEADERS: what stands in front of batches, RPCs and transaction manager requests since 7.2 ([MS-TDS] 2.2.5.3)."""

from __future__ import annotations

from typing import Final

from rdsp_codecs.errors import WireError
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver.values import integer

PLAIN: Final = 22
"""Bytes of one with a transaction descriptor alone, which is what drivers send."""
DESCRIPTOR_AT: Final = 10
NO_TRANSACTION: Final = bytes(8)


def all_headers(descriptor: bytes = NO_TRANSACTION, outstanding: int = 1) -> bytes:
    """With a transaction descriptor alone.

    Args:
        descriptor: eight bytes, as the server gave them; zeros: no transaction.
        outstanding: requests of this session that are not answered, with this one; more than 1 with MARS alone.
    """
    head = integer(PLAIN - 4, 4) + integer(k.HEADER_TRANSACTION_DESCRIPTOR, 2)
    return integer(PLAIN, 4) + head + descriptor + integer(outstanding, 4)


def read_all_headers(data: bytes) -> tuple[bytes, int]:
    """The transaction descriptor, and where the headers end. Raises `WireError` as a server ends the connection.

    The descriptor is there once. Other headers are passed over, each at most once, those that nobody knows refused.
    """
    total = int.from_bytes(data[:4], "little")
    if len(data) < 4 or not 4 <= total <= len(data):
        msg = f"headers of {total} bytes in {len(data)}"
        raise WireError(msg)
    descriptor: bytes | None = None
    seen: set[int] = set()
    at = 4
    while at < total:
        size, kind = int.from_bytes(data[at : at + 4], "little"), int.from_bytes(data[at + 4 : at + 6], "little")
        if size < 6 or at + size > total:
            msg = f"a header of {size} bytes where {total - at} are left"
            raise WireError(msg)
        if kind in seen:
            msg = f"header {kind} comes twice"
            raise WireError(msg)
        seen.add(kind)
        if kind == k.HEADER_TRANSACTION_DESCRIPTOR:
            if size != PLAIN - 4:
                msg = f"a transaction descriptor's header of {size} bytes"
                raise WireError(msg)
            descriptor = data[at + 6 : at + 14]
        elif kind not in (k.HEADER_QUERY_NOTIFICATIONS, k.HEADER_TRACE_ACTIVITY):
            msg = f"a header of type {kind}"
            raise WireError(msg)
        at += size
    if descriptor is None:
        msg = "headers without a transaction descriptor"
        raise WireError(msg)
    return descriptor, total
