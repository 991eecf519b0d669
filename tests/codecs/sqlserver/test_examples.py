"""Messages that the specification works out by hand are read as it says, and written as they stand there."""

from __future__ import annotations

import pytest

from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.sqlserver import prelogin as p
from rdsp_codecs.sqlserver import tokens as t
from rdsp_codecs.sqlserver import types as y
from rdsp_codecs.sqlserver.headers import all_headers, read_all_headers
from rdsp_codecs.sqlserver.login7 import ODBC, login7, read_login7
from rdsp_codecs.sqlserver.values import Reader, narrow
from rdsp_codecs.sqlserver.walking import TokenWalker
from tests.codecs.sqlserver import examples as e


def message(packet: bytes) -> f.Message:
    reader = f.MessageReader(numbered=True)
    reader.feed(packet)
    found = reader.next()
    assert found is not None
    assert reader.between
    return found


def walked(packet: bytes) -> list[tuple[int, bytes]]:
    return list(TokenWalker().feed(message(packet).data))


def test_prelogin() -> None:
    found = message(e.PRELOGIN)
    assert (found.kind, found.status) == (f.PRELOGIN, f.EOM)
    options = p.read_prelogin(found.data)
    assert p.option(options, p.ENCRYPTION, 9) == p.ENCRYPT_ON
    assert p.option(options, p.MARS, 9) == 1
    assert options[p.VERSION] == b"\x09\0\0\0\0\0"
    assert f.packets(f.PRELOGIN, p.prelogin(options), f.BEFORE_LOGIN) == e.PRELOGIN


def test_login() -> None:
    found = read_login7(message(e.LOGIN).data)
    assert (found.version, found.packet_size) == (k.TDS_7_2, 4096)
    assert (found.host, found.user, found.password) == ("skostov1", "sa", "")
    assert (found.application, found.library, found.database) == ("OSQL-32", "ODBC", "")
    assert found.flags2 & ODBC
    assert found.client_id == bytes.fromhex("00508be2b78f")
    assert f.packets(f.LOGIN7, login7(found), found.packet_size) == e.LOGIN


def test_a_login_with_features() -> None:
    found = read_login7(message(e.LOGIN_RECOVERY).data)
    assert (found.version, found.user, found.database) == (k.TDS_7_4, "sa", "tempdb")
    ((feature, value),) = found.features
    assert feature == k.FEATURE_SESSION_RECOVERY
    assert len(value) == 0x67
    assert read_login7(login7(found)) == found


def test_the_answer_to_a_login() -> None:
    tokens = walked(e.LOGIN_RESPONSE)
    assert [token for token, _ in tokens] == [
        *(k.ENVCHANGE, k.INFO, k.ENVCHANGE, k.ENVCHANGE, k.ENVCHANGE, k.INFO, k.LOGINACK, k.DONE)
    ]
    (database, note, collation, language, size, _, ack, done) = (data for _, data in tokens)
    change = t.read_env_change(database)
    assert (change.kind, narrow(change.new), narrow(change.old)) == (k.ENV_DATABASE, "master", "master")
    assert t.env_change(k.ENV_DATABASE, "master", "master") == database
    said = t.read_note(note)
    assert (said.number, said.state, said.severity) == (5701, 2, 0)
    assert said.text == "Changed database context to 'master'."
    assert t.note(said) == note
    assert t.env_change(k.ENV_SQL_COLLATION, bytes.fromhex("0904d00034"), b"") == collation
    assert narrow(t.read_env_change(language).new) == "us_english"
    assert narrow(t.read_env_change(size).new) == "4096"
    version, program, numbers = t.read_login_ack(ack)
    assert version == k.TDS_7_2
    assert program.rstrip("\0") == "Microsoft SQL Server"
    assert t.login_ack(version, program, numbers) == ack
    assert t.read_done(done) == t.Done()


@pytest.mark.parametrize("packet", [e.LOGIN_RESPONSE_FEDAUTH, e.LOGIN_RESPONSE_RECOVERY, e.LOGIN_RESPONSE_AZURE])
def test_other_answers_to_logins_end_with_a_done(packet: bytes) -> None:
    tokens = walked(packet)
    assert tokens[-1][0] == k.DONE
    (features,) = [data for token, data in tokens if token == k.FEATUREEXTACK]
    acknowledged = t.read_feature_ack(features)
    assert t.feature_ack(tuple(acknowledged.items())) == features


def test_a_batch() -> None:
    found = message(e.SQL_BATCH)
    assert found.kind == f.SQL_BATCH
    descriptor, at = read_all_headers(found.data)
    assert found.data[:at] == all_headers(descriptor, 0)
    assert narrow(found.data[at:]).split() == ["select", "'foo'", "as", "'bar'"]


def test_the_answer_to_a_batch() -> None:
    (metadata, columns), (done, ended) = walked(e.SQL_BATCH_RESPONSE)
    assert (metadata, done) == (k.COLMETADATA, k.DONE)
    (column,) = y.read_columns(Reader(columns, "COLMETADATA", 1), old=False) or ()
    assert (column.name, column.info.kind, column.info.size) == ("bar", y.BIGVARCHR, 3)
    assert bytes((k.COLMETADATA,)) + y.columns((column,), old=False) == columns
    assert t.read_done(ended) == t.Done(k.DONE, k.DONE_COUNT, 0xC1, 1)
    assert t.done(t.read_done(ended)) == ended


def test_the_answer_to_a_procedure() -> None:
    assert [token for token, _ in walked(e.RPC_RESPONSE)] == [k.DONEINPROC, k.RETURNSTATUS, k.DONEPROC]
    assert walked(e.RPC_RESPONSE)[1][1] == t.return_status(0)


def test_attention_is_a_packet_without_data() -> None:
    assert message(e.ATTENTION) == f.Message(f.ATTENTION, f.EOM, b"")
    assert f.packets(f.ATTENTION, b"", 4096) == e.ATTENTION


def test_rows_with_values_in_parts_and_rows_that_leave_nulls_out() -> None:
    tokens = walked(e.SPARSE_COLUMNS)
    assert [token for token, _ in tokens] == [k.COLMETADATA, k.DONE]
    assert t.read_done(tokens[1][1]).rows == 10


def test_a_session_s_state() -> None:
    (_, state, done) = walked(e.SESSION_STATE)
    assert state == (k.SESSIONSTATE, t.session_state(1, ((9, b"\xff\xff\xff\xff"),), recoverable=True))
    assert done[0] == k.DONE
