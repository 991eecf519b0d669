"""What a MySQL or MariaDB client says: commands, byte for byte."""

from __future__ import annotations

from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.framing import packets


def command(number: int, body: bytes = b"") -> bytes:
    """A command in its packets."""
    return packets(bytes((number,)) + body)


def query(text: str | bytes) -> bytes:
    """COM_QUERY, of a client without CLIENT_QUERY_ATTRIBUTES."""
    return command(r.COM_QUERY, text.encode() if isinstance(text, str) else text)


def use(database: str) -> bytes:
    """COM_INIT_DB."""
    return command(r.COM_INIT_DB, database.encode())


def several(*, allowed: bool) -> bytes:
    """COM_SET_OPTION: whether a text may have several statements."""
    return command(r.COM_SET_OPTION, b"\0\0" if allowed else b"\1\0")


def prepare(text: str) -> bytes:
    """COM_STMT_PREPARE."""
    return command(r.COM_STMT_PREPARE, text.encode())


def execute(statement: int, value: bytes | None = None, *, typed: bool = True) -> bytes:
    """COM_STMT_EXECUTE without a cursor, of a statement with one parameter or, with `value` None, without any."""
    body = statement.to_bytes(4, "little") + b"\0" + (1).to_bytes(4, "little")
    if value is not None:
        types = b"\1\xfd\0" if typed else b"\0"
        body += b"\0" + types + bytes((len(value),)) + value
    return command(r.COM_STMT_EXECUTE, body)


def close(statement: int) -> bytes:
    """COM_STMT_CLOSE, which is not answered."""
    return command(r.COM_STMT_CLOSE, statement.to_bytes(4, "little"))


PING = command(r.COM_PING)
RESET = command(r.COM_RESET_CONNECTION)
STATISTICS = command(r.COM_STATISTICS)
QUIT = command(r.COM_QUIT)
