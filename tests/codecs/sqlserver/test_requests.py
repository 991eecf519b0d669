"""What clients ask for is read as it was written, and as the specification works it out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.errors import WireError
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.sqlserver import messages as m
from rdsp_codecs.sqlserver import types as y
from rdsp_codecs.sqlserver.headers import NO_TRANSACTION, all_headers
from rdsp_codecs.sqlserver.values import wide
from tests.codecs.sqlserver import examples as e
from tests.codecs.sqlserver.strategies import TYPES, WORDS, values

DESCRIPTORS = st.binary(min_size=8, max_size=8)


def data_of(packet: bytes) -> bytes:
    return packet[f.HEADER :]


def test_a_call_of_the_specification_s() -> None:
    descriptor, (call,) = m.read_calls(data_of(e.RPC))
    assert descriptor == bytes(7) + b"\1"
    assert (call.procedure, call.options, call.executed, call.number) == ("foo3", 0, True, 0)
    (parameter,) = call.parameters
    assert (parameter.name, parameter.status) == ("", m.DEFAULT)
    assert parameter.info == y.TypeInfo(y.INTN, 2)
    assert parameter.value == b"\0"
    assert m.calls((call,)) == data_of(e.RPC)[22:]


def test_a_table_of_the_specification_s() -> None:
    _, (call,) = m.read_calls(data_of(e.RPC_WITH_A_TABLE))
    (table,) = call.parameters
    assert table.info is None
    assert m.calls((call,)) == data_of(e.RPC_WITH_A_TABLE)[22:]


@st.composite
def parameters(draw: st.DrawFn) -> m.Parameter:
    info = draw(TYPES.filter(lambda info: info.kind != y.UDT))
    return m.Parameter(draw(WORDS), draw(st.sampled_from([0, 1, 2])), info, draw(values(info, parameter=True)))


CALLS = st.lists(
    st.builds(
        m.Call,
        WORDS | st.sampled_from([*k.PROCEDURES.values()]),
        st.integers(0, 7),
        st.lists(parameters(), max_size=4).map(tuple),
    ),
    min_size=1,
    max_size=4,
).map(tuple)


@given(CALLS, DESCRIPTORS)
def test_calls_are_read_as_they_were_written(them: tuple[m.Call, ...], descriptor: bytes) -> None:
    data = all_headers(descriptor) + m.calls(them)
    found, read = m.read_calls(data)
    assert (found, read) == (descriptor, them)
    for call in read:
        for one in call.parameters:
            assert data[one.at : one.at + len(one.value)] == one.value


@given(CALLS, st.data())
def test_half_a_call_is_refused(them: tuple[m.Call, ...], data: st.DataObject) -> None:
    whole = m.calls(them[:1])
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        _, (call, *_) = m.read_calls(all_headers() + whole[:cut])
    except WireError:
        return
    assert len(call.parameters) < len(them[0].parameters), "it ends behind one of its parameters"


def test_a_name_of_128_characters_is_no_separator() -> None:
    call = m.Call("p", 0, (m.Parameter("@" + "x" * 127, 0, y.TypeInfo(y.INT4, 4), bytes(4)),) * 2)
    assert m.read_calls(all_headers() + m.calls((call, call)))[1] == (call, call)


def test_what_is_only_looked_at() -> None:
    call = m.Call("p", executed=False)
    assert m.read_calls(all_headers() + m.calls((call, m.Call("r"))))[1] == (call, m.Call("r"))


@pytest.mark.parametrize(
    ("procedure", "number"),
    [
        (13, 13),
        ("sp_prepexec", 13),
        ("SP_ExecuteSql", 10),
        ("master.sys.sp_execute", 12),
        ("mine", 0),
        ("ſp_execute", 0),
    ],
)
def test_procedures_have_numbers(procedure: str | int, number: int) -> None:
    assert m.Call(procedure).number == number


def test_batches_and_those_of_7_1() -> None:
    assert m.read_batch(all_headers(b"12345678") + wide("SELECT 'ä'")) == (b"12345678", "SELECT 'ä'")
    assert m.read_batch(wide("SELECT 1"), old=True) == (NO_TRANSACTION, "SELECT 1")
    call = m.Call("p", 0, (m.Parameter("@a", 0, y.TypeInfo(y.INT4, 4), bytes(4)),))
    both = m.calls((call,)) + b"\x80" + m.calls((call,))
    assert m.read_calls(both, old=True)[1] == (call, call)
    with pytest.raises(WireError, match="characters"):
        m.read_batch(all_headers() + b"S")


REQUESTS = st.one_of(
    st.builds(m.TransactionRequest, st.just(k.TM_BEGIN_XACT), WORDS, st.integers(0, 5)),
    st.builds(m.TransactionRequest, st.sampled_from([k.TM_COMMIT_XACT, k.TM_ROLLBACK_XACT]), WORDS),
    st.builds(
        m.TransactionRequest,
        st.sampled_from([k.TM_COMMIT_XACT, k.TM_ROLLBACK_XACT]),
        WORDS,
        st.integers(0, 5),
        st.just(True),
        WORDS,
    ),
    st.builds(m.TransactionRequest, st.just(k.TM_SAVE_XACT), WORDS),
    st.builds(m.TransactionRequest, st.just(k.TM_PROPAGATE_XACT), payload=st.binary(max_size=20)),
)


@given(REQUESTS, DESCRIPTORS)
def test_transaction_requests_are_read_as_they_were_written(what: m.TransactionRequest, descriptor: bytes) -> None:
    assert m.read_transaction_request(all_headers(descriptor) + m.transaction_request(what)) == (descriptor, what)


@pytest.mark.parametrize("body", [b"", b"\5", b"\5\0\6\0", b"\5\0\1\3abc", b"\7\0\0\0x", b"\x63\0"])
def test_transaction_requests_that_do_not_hold_together_are_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        m.read_transaction_request(all_headers() + body)


@given(st.binary(max_size=100))
def test_whatever_comes_it_is_a_wire_error_or_read(data: bytes) -> None:
    for read in (m.read_batch, m.read_calls, m.read_transaction_request):
        try:
            read(all_headers() + data)
        except WireError:
            pass
