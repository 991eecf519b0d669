"""Values of SQL Server's types are read as they were written, and are the bytes that the specification describes."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.errors import WireError
from rdsp_codecs.sqlserver import types as y
from rdsp_codecs.sqlserver.types import TypeInfo
from rdsp_codecs.sqlserver.values import Reader
from rdsp_codecs.testing.sqlserver.cells import cell, read_cell
from tests.codecs.sqlserver.strategies import COLLATION, TYPES, values

UTF8 = b"\x09\x04\xd0\x04\x00"
ZONE = datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))


@pytest.mark.parametrize(
    ("info", "value", "data"),
    [
        (TypeInfo(y.INT1, 1), 255, "ff"),
        (TypeInfo(y.INTN, 4), -2, "04 feffffff"),
        (TypeInfo(y.BITN, 1), True, "01 01"),
        (TypeInfo(y.FLTN, 8), 1.5, "08 000000000000f83f"),
        (TypeInfo(y.MONEY, 8), decimal.Decimal("-0.0001"), "ffffffff ffffffff"),
        (TypeInfo(y.MONEYN, 4), decimal.Decimal("1.5"), "04 983a0000"),
        (TypeInfo(y.DECIMALN, 5, 9, 2), decimal.Decimal("-12.34"), "05 00 d2040000"),
        (TypeInfo(y.DATETIME, 8), datetime.datetime(1900, 1, 2, 0, 0, 1), "01000000 2c010000"),
        (TypeInfo(y.DATETIM4, 4), datetime.datetime(1900, 1, 2, 1, 1), "0100 3d00"),
        (TypeInfo(y.DATEN, 3), datetime.date(1, 1, 2), "03 010000"),
        (TypeInfo(y.TIMEN, scale=0), datetime.time(0, 1), "03 3c0000"),
        (TypeInfo(y.TIMEN, scale=7), datetime.time(0, 0, 1), "05 8096980000"),
        (TypeInfo(y.DATETIME2N, scale=3), datetime.datetime(1, 1, 2, 0, 0, 1), "07 e8030000 010000"),
        (
            TypeInfo(y.DATETIMEOFFSETN, scale=0),
            datetime.datetime(1, 1, 2, 0, 0, 0, tzinfo=ZONE),
            "08 383100 010000 2eff",
        ),
        (
            TypeInfo(y.GUID, 16),
            uuid.UUID("00112233-4455-6677-8899-aabbccddeeff"),
            "10 33221100554477668899aabbccddeeff",
        ),
        (TypeInfo(y.NVARCHAR, 20, collation=COLLATION), "aä", "0400 6100e400"),
        (TypeInfo(y.BIGVARCHR, 20, collation=COLLATION), "aä€", "0300 61e480"),
        (TypeInfo(y.BIGVARCHR, 20, collation=UTF8), "ä", "0200 c3a4"),
        (TypeInfo(y.BIGVARBIN, y.MAX), b"ab", "0200000000000000 02000000 6162 00000000"),
        (TypeInfo(y.NVARCHAR, y.MAX, collation=COLLATION), "", "0000000000000000 00000000"),
        (TypeInfo(y.NTEXT, 99, collation=COLLATION), "a", f"10 {'00' * 24} 02000000 6100"),
        (TypeInfo(y.BIGVARBIN, 20), None, "ffff"),
        (TypeInfo(y.INTN, 4), None, "00"),
        (TypeInfo(y.IMAGE, 99), None, "00"),
        (TypeInfo(y.XML, y.MAX, extra=b"\0"), None, "ffffffffffffffff"),
    ],
)
def test_worked_by_hand(info: TypeInfo, value: Any, data: str) -> None:
    assert cell(info, value).hex() == data.replace(" ", "")
    assert read_cell(Reader(bytes.fromhex(data), "value"), info) == value


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
MOMENTS = st.datetimes()
CELLS: list[tuple[TypeInfo, st.SearchStrategy[Any]]] = [
    (TypeInfo(y.INTN, 1), st.integers(0, 255)),
    (TypeInfo(y.INTN, 8), st.integers(-(1 << 63), (1 << 63) - 1)),
    (TypeInfo(y.FLT8, 8), st.floats(allow_nan=False)),
    (TypeInfo(y.MONEYN, 8), st.integers(-(1 << 63), (1 << 63) - 1).map(lambda n: decimal.Decimal(n).scaleb(-4))),
    (
        TypeInfo(y.DECIMALN, 17, 38, 7),
        st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: decimal.Decimal(n).scaleb(-7)),
    ),
    (TypeInfo(y.DATEN, 3), st.dates()),
    (TypeInfo(y.TIMEN, scale=6), st.times()),
    (TypeInfo(y.DATETIME2N, scale=7), MOMENTS),
    (
        TypeInfo(y.DATETIMEOFFSETN, scale=6),
        st.datetimes(datetime.datetime(2, 1, 1), datetime.datetime(9998, 1, 1), timezones=st.just(ZONE)),
    ),
    (TypeInfo(y.GUID, 16), st.uuids()),
    (TypeInfo(y.NVARCHAR, 200, collation=COLLATION), TEXTS),
    (TypeInfo(y.BIGVARCHR, y.MAX, collation=UTF8), TEXTS),
    (TypeInfo(y.NTEXT, 200, collation=COLLATION), TEXTS),
    (TypeInfo(y.JSON, y.MAX), TEXTS),
    (TypeInfo(y.BIGVARBIN, 100), st.binary(max_size=100)),
]


@given(st.data(), st.sampled_from(CELLS), st.booleans())
def test_values_are_read_as_they_were_written(
    data: st.DataObject, which: tuple[TypeInfo, st.SearchStrategy[Any]], parameter: bool
) -> None:
    info, strategy = which
    value = data.draw(strategy)
    reader = Reader(cell(info, value, parameter=parameter) + b"x", "value")
    assert read_cell(reader, info, parameter=parameter) == value
    assert reader.left == 1


@given(st.data(), TYPES, st.booleans())
def test_whatever_a_value_holds_it_is_read_or_refused_and_passed_over_to_its_end(
    data: st.DataObject, info: TypeInfo, parameter: bool
) -> None:
    reader = Reader(data.draw(values(info, parameter=parameter)) + b"x", "value")
    try:
        read_cell(reader, info, parameter=parameter)
    except WireError:
        return
    assert reader.left == 1
