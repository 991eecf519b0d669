"""One session of the reference server behind its login: what each message is answered. Pure.

Messages that break the protocol raise `WireError`: SQL Server ends the connection then, and so does whoever calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from rdsp_codecs.errors import WireError
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.sqlserver import messages as m
from rdsp_codecs.sqlserver.headers import NO_TRANSACTION
from rdsp_codecs.sqlserver.tokens import Done, done, return_status
from rdsp_codecs.sqlserver.types import NULL, TypeInfo, read_columns, type_info
from rdsp_codecs.sqlserver.values import Reader, b_varchar, integer
from rdsp_codecs.testing.sqlserver import declared as d
from rdsp_codecs.testing.sqlserver.answers import Blocked, Sleep, Steps, joined, sent_as, written
from rdsp_codecs.testing.sqlserver.cells import read_cell
from rdsp_codecs.testing.sqlserver.database import Data
from rdsp_codecs.testing.sqlserver.functions import functions
from rdsp_codecs.testing.sqlserver.names import VIEWS
from rdsp_codecs.testing.sqlserver.procedures import NUMBERED, Given
from rdsp_codecs.testing.sqlserver.querying import COMMANDS
from rdsp_codecs.testing.sqlserver.resetting import forget, reset
from rdsp_codecs.testing.sqlserver.running import BatchAborted, Returned, Runner
from rdsp_codecs.testing.sqlserver.state import Frame, State
from rdsp_codecs.testing.sqlserver.statements import SqlError
from rdsp_codecs.testing.sqlserver.transactions import Action, Outcome

_OUTPUT: Final = 1


class Session:
    """One.

    Invariant: it is registered with its server until `close`.

    Args:
        state: who it is.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        state.data = Data(state.server.folder / "data.sqlite", functions(state))
        for name, query in VIEWS.items():
            state.data.run(f'CREATE TEMP VIEW "{name}" AS {query}', {}, writes=False)
        state.server.sessions[state.spid] = state
        self._runner = Runner(state)

    def close(self) -> None:
        """The client is gone: what is open is rolled back."""
        forget(self._state)
        self._state.data.close()
        self._state.server.sessions.pop(self._state.spid, None)

    def attention(self) -> bytes:
        """What acknowledges an ATTENTION ([MS-TDS] 2.2.1.7), in a message of its own.

        The specification leaves open whether it may end the response that was interrupted. tedious waits for another
        message behind that one, so SQL Server sends one.
        """
        return done(Done(k.DONE, k.DONE_ATTN), old=self._state.old)

    def interrupted(self) -> bytes:
        """What ends a response that an ATTENTION has interrupted; its generator is closed."""
        state, said = self._state, b""
        state.frame = Frame()
        if "XACT_ABORT" in state.options.on:
            outcome = state.transactions.failed(aborts=True)
            state.data.apply(outcome)
            said = outcome.tokens
        return said + self.ignored()

    def ignored(self) -> bytes:
        """The response to a request that its client has taken back (`framing.IGNORE`)."""
        return done(Done(k.DONE, k.DONE_ERROR), old=self._state.old)

    def respond(self, message: f.Message) -> Iterator[bytes | Sleep | Blocked]:
        """The response, in pieces, and what has to be waited for between them (`answers.Sleep`, `answers.Blocked`).

        Raises `WireError` for what SQL Server ends a connection for, `Fatal` behind an error that ends it.
        """
        return joined(self._items(message), old=self._state.old)

    def _items(self, message: f.Message) -> Steps:
        state = self._state
        kind = message.kind
        if kind not in f.REQUESTS:
            msg = f"a message of type {kind} from a client that is logged in"
            raise WireError(msg)
        resets = message.status & (f.RESET_CONNECTION | f.RESET_CONNECTION_SKIP_TRAN)
        if resets == f.RESET_CONNECTION | f.RESET_CONNECTION_SKIP_TRAN:
            msg = "RESETCONNECTION and RESETCONNECTIONSKIPTRAN in one message"
            raise WireError(msg)
        if resets:
            if kind == f.BULK_LOAD:
                msg = "RESETCONNECTION in a bulk load"
                raise WireError(msg)
            yield reset(state, keep=bool(resets & f.RESET_CONNECTION_SKIP_TRAN), acknowledged=True)
        if kind == f.BULK_LOAD:
            yield from self._guarded(self._bulk(message.data))
            return
        if kind == f.TRANSACTION_MANAGER:
            descriptor, request = m.read_transaction_request(message.data)
            items = self._transaction(request)
        elif kind == f.SQL_BATCH:
            descriptor, text = m.read_batch(message.data, old=state.old)
            items = self._batch(text)
        else:
            descriptor, calls = m.read_calls(message.data, old=state.old)
            items = self._calls(calls)
        # A message that has reset the session was written before its client could know.
        if not state.old and not resets and descriptor != state.transactions.descriptor:
            items = self._refused(descriptor)
        yield from self._guarded(items)

    def _refused(self, descriptor: bytes) -> Steps:
        if descriptor == NO_TRANSACTION:
            text = "New request is not allowed to start because it should come with valid transaction descriptor."
            raise SqlError(3989, text)
        number = int.from_bytes(descriptor, "little")
        raise SqlError(3971, f"The server failed to resume the transaction. Desc:{number:x}.")
        yield b""

    def _guarded(self, items: Steps) -> Steps:
        """Errors that are no statement's."""
        frame = self._state.frame = Frame(identity=self._state.scope)
        try:
            yield from items
            self._state.scope = frame.identity
        except SqlError as error:
            yield from self._runner.told(error, 1)
        except (BatchAborted, Returned):
            yield from self._runner.applied(self._state.transactions.batch_ends(), 1)

    def _batch(self, text: str) -> Steps:
        return self._runner.batch(text)

    # -- RPC

    def _calls(self, calls: tuple[m.Call, ...]) -> Steps:
        for call in calls:
            self._state.frame = Frame(within=True)
            yield from self._called(call)

    def _called(self, call: m.Call) -> Steps:
        state, runner = self._state, self._runner
        given = [self._given(one) for one in call.parameters]
        name = call.procedure if isinstance(call.procedure, str) else NUMBERED.get(call.procedure, "")
        status = 0
        code: int | None = 0
        try:
            code = yield from runner.call(name, given)
        except SqlError as error:
            yield from runner.told(error, 1)
            status = k.DONE_ERROR
        except BatchAborted:
            status = k.DONE_ERROR
        if status:
            code = state.error or -6
        yield return_status(code or 0)
        for number, each in enumerate(given):
            if each.output and not status:
                yield self._return_value(number, each)
        yield from runner.applied(state.transactions.batch_ends(), 1)
        yield Done(k.DONEPROC, status, COMMANDS["EXECUTE"])

    def _given(self, one: m.Parameter) -> Given:
        if one.info is None:
            raise SqlError(8023, "Table-valued parameters are not known here.")
        value = None
        if not one.status & m.DEFAULT and one.info.kind != NULL:
            value = read_cell(Reader(one.value, "parameter"), one.info, parameter=True)
        return Given(one.name, value, one.info, bool(one.status & m.BY_REFERENCE))

    def _return_value(self, number: int, given: Given) -> bytes:
        """RETURNVALUE ([MS-TDS] 2.2.7.19)."""
        info = _nullable(given.info or d.NVARCHAR)
        sent = sent_as(info, self._state.version)
        said = integer(number, 2) + b_varchar(given.name) + integer(_OUTPUT, 1)
        said += integer(0, 2 if self._state.old else 4) + integer(0, 2)
        said += type_info(sent) + written(info, sent, given.value, parameter=True)
        return bytes((k.RETURNVALUE,)) + said

    # -- transactions and bulk loads

    def _transaction(self, request: m.TransactionRequest) -> Steps:
        state, transactions = self._state, self._state.transactions
        if request.kind == k.TM_BEGIN_XACT:
            outcomes = [(transactions.begin(request.name), "BEGIN")]
        elif request.kind == k.TM_SAVE_XACT:
            outcomes = [(transactions.save(request.name), "BEGIN")]
        elif request.kind in (k.TM_COMMIT_XACT, k.TM_ROLLBACK_XACT):
            commits = request.kind == k.TM_COMMIT_XACT
            ended = transactions.commit() if commits else transactions.rollback(request.name)
            outcomes = [(ended, "COMMIT" if commits else "ROLLBACK")]
        else:
            raise SqlError(8501, "MSDTC on server is unavailable.", state=3)
        for outcome, _ in outcomes:
            yield from self._runner.applied(outcome, 1)
        if request.begins and not transactions.count:
            outcomes.append((transactions.begin(request.next_name), "BEGIN"))
            yield from self._runner.applied(outcomes[-1][0], 1)
        if request.isolation:
            state.options.isolation = request.isolation
        yield Done(k.DONE, 0, COMMANDS[outcomes[-1][1]])

    def _bulk(self, data: bytes) -> Steps:
        state = self._state
        into, state.bulk = state.bulk, None
        if into is None:
            msg = "a bulk load that no INSERT BULK announces"
            raise WireError(msg)
        reader = Reader(data, "bulk load")
        if reader.integer(1) != k.COLMETADATA:
            raise reader.fault("it does not begin with COLMETADATA")
        columns = read_columns(reader, old=state.old)
        if columns is None or len(columns) != len(into.columns):
            raise reader.fault("its columns are not those of the INSERT BULK")
        marks = ", ".join(f":c{number}" for number in range(len(columns)))
        names = ", ".join(f'"{name}"' for name, _ in into.columns)
        text = f"INSERT INTO {self._runner.named(into.table)} ({names}) VALUES ({marks})"
        count = 0
        own = not state.transactions.count
        if own:
            state.data.apply(Outcome(Action.BEGIN))
        while (token := reader.integer(1)) == k.ROW:
            values = {f"c{n}": d.stored(read_cell(reader, one.info)) for n, one in enumerate(columns)}
            yield from self._runner.run(text, writes=True, values=values)
            count += 1
        if own:
            state.data.apply(Outcome(Action.COMMIT))
            state.server.ended += 1
        if token not in (k.DONE,) and token:
            raise reader.fault(f"token {token:#04x}")
        state.rows = count
        yield Done(k.DONE, k.DONE_COUNT, 0xF0, count)


def _nullable(info: TypeInfo) -> TypeInfo:
    """A parameter that comes back may be NULL, whatever its type was."""
    return attrs.evolve(info) if info.size else info
