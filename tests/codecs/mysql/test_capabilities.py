"""What is offered, agreed and asked, for any flags of either side."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.mysql import capabilities as c
from tests.codecs.mysql.strategies import FLAGS

BOOLEANS = st.booleans()


def test_every_flag_has_one_name_and_one_fate() -> None:
    assert sorted(c.NAMES) == [1 << bit for bit in range(38)]
    fates = (c.ALWAYS, c.OF_LOGIN, c.OF_CONNECTION, c.TRANSLATED, c.EQUAL)
    for flag in c.NAMES:
        assert sum(bool(fate & flag) for fate in fates) <= 1, c.names(flag)
    without = [flag for flag in c.NAMES if not any(fate & flag for fate in fates)]
    assert c.names(sum(without)) == [
        "CLIENT_CAN_HANDLE_EXPIRED_PASSWORDS",
        "CLIENT_MULTI_FACTOR_AUTHENTICATION",
        "CLIENT_CAPABILITY_EXTENSION",
        "MARIADB_CLIENT_COM_MULTI",
        "MARIADB_CLIENT_CACHE_METADATA",
    ]


@given(server=FLAGS, client=FLAGS, tls=BOOLEANS, zlib=BOOLEANS, zstd=BOOLEANS, database=BOOLEANS)
def test_a_client_and_its_backend_have_what_changes_packets_alike(
    server: int, client: int, tls: bool, zlib: bool, zstd: bool, database: bool
) -> None:
    offer = c.offered(server, tls=tls, zlib=zlib, zstd=zstd)
    spoken = c.agreed(offer, client)
    wanted = c.key(spoken)
    asked = c.asked(server, wanted, database=database, tls=tls, zlib=zlib, zstd=zstd)

    assert asked & ~server == 0
    assert spoken & ~client == 0
    assert c.lacking(server, wanted) == 0
    assert asked & c.EQUAL == wanted == spoken & c.EQUAL
    assert not (spoken & c.CLIENT_COMPRESS and spoken & c.CLIENT_ZSTD_COMPRESSION_ALGORITHM)
    assert not (asked & c.CLIENT_COMPRESS and asked & c.CLIENT_ZSTD_COMPRESSION_ALGORITHM)
    assert bool(asked & c.CLIENT_SESSION_TRACK) is bool(server & c.CLIENT_SESSION_TRACK)
    for flags in (offer, spoken, asked):
        assert not (flags & c.EXTENDED and flags & c.CLIENT_LONG_PASSWORD)


@given(first=FLAGS, second=FLAGS, client=FLAGS)
def test_a_server_that_lacks_something_is_found_out(first: int, second: int, client: int) -> None:
    wanted = c.key(c.agreed(c.offered(first, tls=False, zlib=False, zstd=False), client))
    asked = c.asked(second, wanted, database=False, tls=False, zlib=False, zstd=False)

    if not c.lacking(second, wanted):
        assert asked & c.EQUAL == wanted
