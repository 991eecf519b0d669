"""Packets of MySQL and MariaDB as Hypothesis strategies."""

from __future__ import annotations

import attrs
from hypothesis import strategies as st

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import messages as m
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql import trackers as t

INT8 = st.integers(0, 255)
INT16 = st.integers(0, (1 << 16) - 1)
INT32 = st.integers(0, (1 << 32) - 1)
INT64 = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.sampled_from([0, 250, 251, 252, 253, 254, 255, 65535, 65536, (1 << 24) - 1, 1 << 24, (1 << 64) - 1]),
)
TEXTS = st.binary(max_size=300)
NAMES = st.binary(max_size=40).map(lambda data: data.replace(b"\0", b"0"))
FLAGS = st.integers(0, (1 << 38) - 1).map(
    lambda flags: flags & ~c.EXTENDED if flags & c.CLIENT_LONG_PASSWORD else flags
)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), max_size=4).map(tuple)


@st.composite
def greetings(draw: st.DrawFn) -> m.Greeting:
    flags = draw(FLAGS) | c.CLIENT_SECURE_CONNECTION
    plugin = draw(NAMES) if flags & c.CLIENT_PLUGIN_AUTH else b""
    # Without a plug-in's name there is no room to say that the challenge is longer.
    size = draw(st.integers(20, 60)) if flags & c.CLIENT_PLUGIN_AUTH else 20
    challenge = draw(st.binary(min_size=size, max_size=size))
    return m.Greeting(draw(NAMES), draw(INT32), challenge, flags, draw(INT8), draw(INT16), plugin)


HEADS = st.builds(
    lambda flags, most, collation: m.LoginHead(flags | c.CLIENT_PROTOCOL_41, most, collation), FLAGS, INT32, INT8
)


@st.composite
def responses(draw: st.DrawFn) -> m.Response:
    head = draw(HEADS)
    flags = head.capabilities
    if flags & c.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA:
        proof = draw(TEXTS)
    elif flags & c.CLIENT_SECURE_CONNECTION:
        proof = draw(st.binary(max_size=255))
    else:
        proof = draw(NAMES)
    return m.Response(
        head,
        draw(NAMES),
        proof,
        draw(NAMES) if flags & c.CLIENT_CONNECT_WITH_DB else None,
        draw(NAMES) if flags & c.CLIENT_PLUGIN_AUTH else None,
        draw(PAIRS) if flags & c.CLIENT_CONNECT_ATTRS else None,
        draw(INT8) if flags & c.CLIENT_ZSTD_COMPRESSION_ALGORITHM else None,
    )


@st.composite
def change_users(draw: st.DrawFn) -> m.ChangeUser:
    """As clients write it: what comes last may be missing."""
    whole = m.ChangeUser(draw(NAMES), draw(st.binary(max_size=255)), draw(NAMES), draw(INT16), draw(NAMES), draw(PAIRS))
    last = draw(st.sampled_from([("collation", "plugin", "attributes"), ("plugin", "attributes"), ("attributes",), ()]))
    return attrs.evolve(whole, **dict.fromkeys(last))


TRACKERS = st.one_of(
    st.builds(t.Tracker, INT8.filter(lambda kind: kind not in (*range(6), 12)), TEXTS),
    st.builds(t.variable, TEXTS, TEXTS),
    st.builds(t.text, st.sampled_from([1, 2, 3, 4, 5]), TEXTS),
    st.builds(lambda name, value: t.variable(name, value, t.SESSION_TRACK_USER_VARIABLES), TEXTS, TEXTS),
)


@st.composite
def oks(draw: st.DrawFn) -> r.Ok:
    entries = draw(st.one_of(st.none(), st.lists(TRACKERS, max_size=5).map(tuple)))
    status = draw(INT16) & ~r.SERVER_SESSION_STATE_CHANGED
    info = draw(st.one_of(st.none(), TEXTS))
    if entries is not None:
        status |= r.SERVER_SESSION_STATE_CHANGED
        info = info or b""
    return r.Ok(draw(st.sampled_from([0, 0xFE])), draw(INT64), draw(INT64), status, draw(INT16), info, entries)


ERRS = st.builds(
    r.Err,
    INT16,
    st.one_of(st.none(), st.binary(min_size=5, max_size=5)),
    TEXTS.filter(lambda text: not text.startswith(b"#")),
)
PROGRESSES = st.builds(r.Progress, INT8, INT8, st.integers(0, (1 << 24) - 1), TEXTS)
EOFS = st.builds(r.Eof, INT16, INT16)
