"""Hypothesis strategies for what SQL Server and its clients say."""

from __future__ import annotations

from hypothesis import strategies as st

from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import tokens as t
from rdsp_codecs.sqlserver import types as y
from rdsp_codecs.sqlserver.login7 import EXTENSION, Login7
from rdsp_codecs.sqlserver.values import b_varchar, integer

COLLATION = b"\x09\x04\xd0\x00\x34"
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
BYTES = st.binary(max_size=40)


@st.composite
def logins(draw: st.DrawFn) -> Login7:
    """Any login that can be written."""
    features = tuple(draw(st.dictionaries(st.integers(1, 0x10), BYTES, max_size=4)).items())
    version = draw(st.sampled_from([k.TDS_7_1, k.TDS_7_2, k.TDS_7_4, k.TDS_8_0]))
    old = version == k.TDS_7_1
    flags3 = draw(st.integers(0, 0xF)) | (EXTENSION if features else 0)
    strings = [draw(WORDS) for _ in range(9)]
    return Login7(
        version,
        draw(st.integers(512, 32767)),
        flags3=flags3,
        host=strings[0],
        user=strings[1],
        password=strings[2],
        application=strings[3],
        server=strings[4],
        library=strings[5],
        language=strings[6],
        database=strings[7],
        client_id=draw(st.binary(min_size=6, max_size=6)),
        sspi=draw(BYTES),
        new_password="" if old else strings[8],
        features=features,
    )


TYPES = st.sampled_from(
    [
        *(y.TypeInfo(kind, size) for kind, size in y.FIXED.items() if kind != y.NULL),
        *(y.TypeInfo(kind, 8) for kind in (y.INTN, y.FLTN, y.MONEYN, y.DATETIMN, y.GUID, y.BITN)),
        y.TypeInfo(y.DECIMALN, 17, 38, 2),
        y.TypeInfo(y.DATEN, 3),
        y.TypeInfo(y.DATETIME2N, scale=7),
        y.TypeInfo(y.BIGVARBIN, 100),
        y.TypeInfo(y.BIGVARBIN, y.MAX),
        y.TypeInfo(y.NVARCHAR, 100, collation=COLLATION),
        y.TypeInfo(y.NVARCHAR, y.MAX, collation=COLLATION),
        y.TypeInfo(y.BIGVARCHR, 100, collation=COLLATION),
        y.TypeInfo(y.NTEXT, 0x7FFFFFFE, collation=COLLATION),
        y.TypeInfo(y.IMAGE, 0x7FFFFFFF),
        y.TypeInfo(y.SSVARIANT, 8009),
        y.TypeInfo(y.XML, y.MAX, extra=b"\0"),
        y.TypeInfo(y.XML, y.MAX, extra=b"\1" + b_varchar("d") + b_varchar("dbo") + b"\1\0x\0"),
        y.TypeInfo(y.UDT, y.MAX, extra=b"\xff\xff" + b_varchar("d") + b_varchar("") + b_varchar("geo") + b"\1\0a\0"),
        y.TypeInfo(y.JSON, y.MAX),
        y.TypeInfo(y.VECTOR, 32, extra=b"\0"),
    ]
)


@st.composite
def values(draw: st.DrawFn, info: y.TypeInfo, *, parameter: bool = False) -> bytes:
    """A value of the type as it stands in a row, or in a parameter."""
    form = info.form
    if form is y.Form.FIXED:
        return draw(st.binary(min_size=info.size, max_size=info.size))
    data = draw(BYTES)
    null = draw(st.booleans())
    if form is y.Form.BYTE:
        return b"\0" if null else integer(len(data), 1) + data
    if form is y.Form.SHORT:
        return b"\xff\xff" if null else integer(len(data), 2) + data
    if form is y.Form.PARTS:
        if null:
            return integer(y.PLP_NULL, 8)
        total = draw(st.sampled_from([y.PLP_UNKNOWN, len(data)]))
        cut = draw(st.integers(0, len(data)))
        parts = b"".join(integer(len(one), 4) + one for one in (data[:cut], data[cut:]) if one)
        return integer(total, 8) + parts + bytes(4)
    if form is y.Form.LONG and not parameter:
        return b"\0" if null else b"\x10" + bytes(16) + bytes(8) + integer(len(data), 4) + data
    null_mark = b"\xff\xff\xff\xff" if form is y.Form.LONG else bytes(4)
    return null_mark if null else integer(len(data), 4) + data


@st.composite
def columns(draw: st.DrawFn) -> tuple[y.Column, ...]:
    """What a result has."""
    infos = draw(st.lists(TYPES, min_size=1, max_size=10))
    tables = {info.kind: ("dbo", "t") for info in infos if info.kind in y.LONG}
    return tuple(y.Column(draw(WORDS), info, 9, 0, tables.get(info.kind, ())) for info in infos)


@st.composite
def results(draw: st.DrawFn, *, old: bool = False) -> list[bytes]:
    """The tokens of one result, rows among them."""
    them = draw(columns())
    if old:
        them = tuple(y.Column(one.name, one.info, 9, 0, one.table[:1]) for one in them)
    parts = [bytes((k.COLMETADATA,)) + y.columns(them, old=old)]
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            parts.append(bytes((k.ROW,)) + b"".join(draw(values(one.info)) for one in them))
        else:
            nulls = draw(st.lists(st.booleans(), min_size=len(them), max_size=len(them)))
            bits = sum(1 << number for number, null in enumerate(nulls) if null)
            there = b"".join(draw(values(one.info)) for one, null in zip(them, nulls, strict=True) if not null)
            parts.append(bytes((k.NBCROW,)) + integer(bits, (len(them) + 7) // 8) + there)
    return [*parts, t.done(t.Done(k.DONE, k.DONE_COUNT, 0xC1, draw(st.integers(0, 1 << 31))), old=old)]


@st.composite
def return_values(draw: st.DrawFn) -> bytes:
    """RETURNVALUE."""
    info = draw(TYPES)
    head = bytes((k.RETURNVALUE,)) + b"\0\0" + b_varchar("@p") + b"\1" + bytes(4) + b"\0\0"
    return head + y.type_info(info) + draw(values(info, parameter=True))


NOTES = st.builds(
    t.Note,
    st.integers(1, 60000),
    st.integers(0, 255),
    st.integers(0, 25),
    WORDS,
    WORDS,
    WORDS,
    st.integers(0, 65535),
)
OTHERS = st.one_of(
    NOTES.map(t.note),
    return_values(),
    st.integers(-(1 << 31), (1 << 31) - 1).map(t.return_status),
    st.tuples(st.integers(1, 12), st.integers(1, 12)).map(t.order),
    st.builds(t.env_change, st.just(k.ENV_DATABASE), WORDS, WORDS),
    st.builds(t.env_change, st.just(k.ENV_BEGIN_TRANSACTION), st.binary(min_size=8, max_size=8), st.just(b"")),
    st.builds(t.routing, st.integers(0, 65535), WORDS, WORDS),
    st.just(t.feature_ack(((1, b"abc"), (10, b"\1")))),
    st.just(t.session_state(1, ((9, bytes(4)), (11, bytes(300))), recoverable=True)),
    st.just(t.fedauth_info("https://sts", "spn")),
)
