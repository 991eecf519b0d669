"""MariaDB's wire for the kit: MySQL's, with what is different there. See `rdsp_codecs.testing.mysql`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql.login import CAPABILITIES
from rdsp_codecs.testing.mysql import MySqlServer, MySqlWire

__all__ = ["CLASSIC", "WIRE", "MariaDbWire", "MySqlServer"]

_OFFERED: Final = c.offered(
    c.TRANSLATED | c.EQUAL & ~c.CLIENT_QUERY_ATTRIBUTES & ~c.CLIENT_OPTIONAL_RESULTSET_METADATA,
    tls=True,
    zlib=False,
    zstd=False,
)


class MariaDbWire(MySqlWire):
    """See `MySqlWire`."""

    mariadb: ClassVar[bool] = True
    parameters: ClassVar[Mapping[str, str]] = {
        **MySqlWire.parameters,
        "server_version": "5.5.5-10.11.14-MariaDB",
        CAPABILITIES: str(_OFFERED),
    }


WIRE: Final = MariaDbWire()
CLASSIC: Final = MariaDbWire(classic=True)
