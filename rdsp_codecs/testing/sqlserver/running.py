"""Runs the statements of one session, and tells of them as SQL Server does.

What a statement yields goes to `answers.joined`. A statement that fails yields its error and, unless the batch is
aborted, the next one runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver.lexer import unquoted
from rdsp_codecs.sqlserver.tokens import Done, Note, env_change, note, return_status
from rdsp_codecs.testing.sqlserver import declared as d
from rdsp_codecs.testing.sqlserver import statements as s
from rdsp_codecs.testing.sqlserver.answers import Sleep, Steps
from rdsp_codecs.testing.sqlserver.names import procedure_key
from rdsp_codecs.testing.sqlserver.parsing import parsed
from rdsp_codecs.testing.sqlserver.procedures import Given, system_procedure
from rdsp_codecs.testing.sqlserver.querying import COMMANDS, Queries
from rdsp_codecs.testing.sqlserver.state import NAME, Frame, State
from rdsp_codecs.testing.sqlserver.statements import SqlError, Tokens
from rdsp_codecs.testing.sqlserver.transactions import Outcome
from rdsp_codecs.testing.sqlserver.translating import expression, table_body, translated

_MOST_LEVELS: Final = 32
_MOST_PARSED: Final = 100
_FATAL: Final = 20


class BatchAborted(Exception):
    """Nothing of the batch runs behind what has failed; the client was told."""


class Returned(Exception):
    """RETURN of a procedure or a batch."""

    def __init__(self, value: int) -> None:
        super().__init__()
        self.value = value


class _Loop(Exception):
    def __init__(self, verb: str) -> None:
        super().__init__()
        self.verb = verb


class Fatal(Exception):
    """An error of severity 20 and more: the connection ends behind it."""


class Runner(Queries):
    """Runs what one session asks for, one request at a time.

    Args:
        state: the session's.
    """

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._trying = 0

    # -- statements

    def batch(self, text: str) -> Steps:
        """A batch's text. All of it is parsed before anything of it runs."""
        try:
            them = self._parsed(text)
        except SqlError as error:
            yield from self.told(error, 1)
            return
        with contextlib.suppress(BatchAborted, Returned):
            yield from self.all(them)
        yield from self.applied(self.state.transactions.batch_ends(), 1)

    def _parsed(self, text: str) -> tuple[s.Statement, ...]:
        quoted = "QUOTED_IDENTIFIER" in self.state.options.on
        found = self.state.parsed.get((text, quoted))
        if found is None:
            if len(self.state.parsed) >= _MOST_PARSED:
                self.state.parsed.clear()
            found = self.state.parsed[text, quoted] = parsed(text, quoted_identifier=quoted)
        return found

    def all(self, them: tuple[s.Statement, ...]) -> Steps:
        """Statements, one after the other."""
        for statement in them:
            yield from self.one(statement)

    def one(self, statement: s.Statement) -> Steps:
        """One statement, and what becomes of an error."""
        try:
            yield from _RUNNERS[type(statement)](self, statement)
        except SqlError as error:
            if self._trying and error.severity < _FATAL:
                raise
            yield from self.told(error, statement.line)
            if error.aborts_batch or self._aborts(error):
                raise BatchAborted from None

    def _aborts(self, error: SqlError) -> bool:
        """Whether it ends the transaction."""
        return error.aborts_transaction or ("XACT_ABORT" in self.state.options.on and not error.raised)

    def told(self, error: SqlError, line: int) -> Steps:
        """An error, and what it does to the transaction. Raises `Fatal` behind one that ends the connection."""
        state = self.state
        state.error, state.rows = error.number, 0
        where = Note(error.number, error.state, error.severity, error.text, NAME, state.frame.procedure, line)
        yield note(where, old=state.old)
        if error.severity >= _FATAL:
            yield self.done(k.DONE_ERROR | k.DONE_SRVERROR)
            raise Fatal
        yield from self.applied(state.transactions.failed(aborts=self._aborts(error)), line)
        yield self.done(k.DONE_ERROR)

    def _transaction(self, statement: s.Transaction) -> Steps:
        name = statement.name
        if name.startswith("@"):
            name = str(self.state.frame.values.get(name.lower()) or "")
        transactions = self.state.transactions
        if statement.verb == "BEGIN":
            yield from self.applied(transactions.touch(), statement.line)
        acts: dict[str, Callable[[str], Outcome]] = {
            "BEGIN": transactions.begin,
            "ROLLBACK": transactions.rollback,
            "SAVE": transactions.save,
            "COMMIT": lambda _: transactions.commit(),
        }
        yield from self.applied(acts[statement.verb](name), statement.line, COMMANDS.get(statement.verb, 0))
        self.state.error = 0

    def _set(self, statement: s.SetOption) -> Steps:
        options = self.state.options
        for name in statement.names:
            if name == "IDENTITY_INSERT":
                *table, switch = statement.value
                parts = [unquoted(token) for token in table if token.text != "."]
                options.identity_insert = self.table(parts) if switch.key == "ON" else ""
                continue
            if name == "CONTEXT_INFO":
                value = yield from self.value(statement.value)
                options.context_info = bytes(value)[:128]
                continue
            number = None
            if statement.value[-1].key not in ("ON", "OFF") and name not in ("ISOLATION", "DATEFORMAT", "LANGUAGE"):
                word = statement.value[0].key
                number = None if word in ("LOW", "NORMAL", "HIGH") else int((yield from self.value(statement.value)))
            before = options.language
            options.set(name, statement.value, number)
            if name == "LANGUAGE":
                yield env_change(k.ENV_LANGUAGE, options.language, before)
                yield self.info(5703, f"Changed language setting to {options.language}.")
        self.state.transactions.implicit = "IMPLICIT_TRANSACTIONS" in options.on
        self.state.error = 0
        yield self.done(0, COMMANDS["SET"])

    def _use(self, statement: s.Use) -> Steps:
        before, self.state.database = self.state.database, self.state.server.database(statement.database)
        yield env_change(k.ENV_DATABASE, self.state.database, before)
        yield self.info(5701, f"Changed database context to '{self.state.database}'.", state=2)
        yield self.done()

    def _declare(self, statement: s.Declare) -> Steps:
        frame = self.state.frame
        for variable in statement.variables:
            name = variable.name.lower()
            frame.types[name] = variable.info
            frame.values[name] = None
            if variable.value is not None:
                frame.values[name] = d.converted((yield from self.value(variable.value)), variable.info)

    def _declare_table(self, statement: s.DeclareTable) -> Steps:
        frame = self.state.frame
        name = f'"#{statement.name}.{next(self.state.numbers)}"'
        frame.tables[statement.name.lower()] = name
        yield from self.run(f"CREATE TEMP TABLE {name} {table_body(statement.tokens, self)}", writes=True)

    def _assign(self, statement: s.Assign) -> Steps:
        frame, name = self.state.frame, statement.name.lower()
        if name not in frame.types:
            text = f'Must declare the scalar variable "{statement.name}".'
            raise SqlError(137, text, severity=15, aborts_batch=True)
        frame.values[name] = d.converted((yield from self.value(statement.value)), frame.types[name])

    def _block(self, statement: s.Block) -> Steps:
        return self.all(statement.statements)

    def _if(self, statement: s.If) -> Steps:
        if (yield from self._holds(statement.condition)):
            yield from self.one(statement.then)
        elif statement.other is not None:
            yield from self.one(statement.other)

    def _holds(self, condition: Tokens) -> Steps:
        rows = yield from self.rows(f"SELECT CASE WHEN {expression(condition, self)} THEN 1 ELSE 0 END")
        return rows[0][0]

    def _while(self, statement: s.While) -> Steps:
        while (yield from self._holds(statement.condition)):
            try:
                yield from self.one(statement.body)
            except _Loop as loop:
                if loop.verb == "BREAK":
                    break
            yield Sleep(0)

    def _jump(self, statement: s.Jump) -> Steps:
        if statement.verb != "RETURN":
            raise _Loop(statement.verb)
        value = (yield from self.value(statement.value)) if statement.value else 0
        raise Returned(int(value or 0))

    def _try(self, statement: s.Try) -> Steps:
        state, frame = self.state, self.state.frame
        self._trying += 1
        caught: SqlError | None = None
        try:
            yield from self.all(statement.body)
        except SqlError as error:
            caught = error
        finally:
            self._trying -= 1
        if caught is None:
            return
        state.frame = frame
        outcome = state.transactions.failed(aborts=self._aborts(caught), caught=True)
        yield from self.applied(outcome, statement.line)
        state.error = caught.number
        frame.errors.append((caught, statement.line))
        try:
            yield from self.all(statement.caught)
        finally:
            frame.errors.pop()

    def _say(self, statement: s.Say) -> Steps:
        values: list[Any] = [None] * len(statement.arguments)
        for number, argument in enumerate(statement.arguments):
            values[number] = yield from self.value(argument)
        if statement.verb == "PRINT":
            yield self.info(0, "" if values[0] is None else str(values[0]))
            return
        if statement.verb == "THROW":
            if not values and self.state.frame.errors:
                error = self.state.frame.errors[-1][0]
                raise SqlError(error.number, error.text, severity=error.severity, state=error.state, aborts_batch=True)
            if len(values) != 3:
                raise s.syntax_error("THROW")
            raise SqlError(int(values[0]), str(values[1]), state=int(values[2]), aborts_batch=True)
        text, severity, place, *rest = [*values, 1] if len(values) == 2 else values
        said = str(text) % tuple(rest) if rest else str(text)
        if int(severity) <= 10:
            yield self.info(50000, said, int(severity), max(int(place), 1))
            return
        raise SqlError(50000, said, severity=int(severity), state=max(int(place), 1), raised=True)

    def _wait(self, statement: s.Wait) -> Steps:
        delay = str((yield from self.value(statement.delay)))
        hours, minutes, seconds = (float(part) for part in delay.split(":"))
        yield Sleep((hours * 60 + minutes) * 60 + seconds)
        yield self.done()

    def _insert_bulk(self, statement: s.InsertBulk) -> Steps:
        self.state.bulk = statement
        yield self.done()

    def _revert(self, statement: s.Revert) -> Steps:
        if statement.user:
            self.state.users.append(statement.user)
        elif self.state.users:
            self.state.users.pop()
        yield self.done()

    # -- procedures

    def _create_procedure(self, statement: s.CreateProcedure) -> Steps:
        key = procedure_key(self.state, [unquoted(token) for token in statement.name if token.text != "."])
        self.state.server.procedures[key] = statement
        yield self.done(0, COMMANDS["CREATE"])

    def _drop_procedure(self, statement: s.DropProcedure) -> Steps:
        parts = [unquoted(token) for token in statement.name if token.text != "."]
        if self.state.server.procedures.pop(procedure_key(self.state, parts), None) is None and not statement.lenient:
            text = f"Cannot drop the procedure '{parts[-1]}', because it does not exist or you do not have permission."
            raise SqlError(3701, text, severity=11, state=5)
        yield self.done(0, COMMANDS["DROP"])

    def _execute(self, statement: s.Execute) -> Steps:
        state, frame = self.state, self.state.frame
        if statement.text:
            text = yield from self.value(statement.text)
            yield from self.nested(Frame(level=frame.level + 1, within=True), str(text or ""))
            return
        name = statement.procedure
        if name.startswith("@"):
            name = str(frame.values.get(name.lower()) or "")
        given: list[Given] = []
        for argument in statement.arguments:
            default = len(argument.value) == 1 and argument.value[0].key == "DEFAULT"
            value = None if default else (yield from self.value(argument.value))
            given.append(Given(argument.name, value, output=argument.output))
        code = yield from self.call(name, given)
        for argument, each in zip(statement.arguments, given, strict=True):
            if argument.output:
                variable = argument.value[0].text.lower()
                frame.values[variable] = d.converted(each.value, frame.types[variable])
        if statement.result:
            frame.values[statement.result.lower()] = code
        if not frame.within:
            yield return_status(code or 0)
            yield Done(k.DONEPROC, 0, COMMANDS["EXECUTE"])
        state.error = 0

    def call(self, name: str, given: list[Given]) -> Steps:
        """Run a procedure, the server's or a user's; returns its return code."""
        own = system_procedure(name)
        if own is not None:
            return (yield from own(self, given))
        values, code = yield from self.procedure(name, [(each.name, each.value) for each in given])
        for number, each in enumerate(given):
            if each.output:
                each.value = values[each.name.lower()] if each.name else values[number]
        return code

    def check(self, text: str) -> None:
        """Raise `SqlError` for a text that is not T-SQL."""
        self._parsed(text)

    def described(self, frame: Frame, text: str) -> Steps:
        """The columns of a text's first result, where it is a query of its own."""
        outer, self.state.frame = self.state.frame, frame
        try:
            first = next(iter(self._parsed(text)), None)
            if isinstance(first, s.Query):
                query = translated(first.tokens, self)
                if query.returns and first.verb == "SELECT":
                    yield from self.columns_alone(query)
        finally:
            self.state.frame = outer

    def procedure(self, name: str, given: list[tuple[str, Any]]) -> Steps:
        """Run a procedure of a user's. Returns its variables' values, by position and by name, and its return code."""
        procedure = self.state.server.procedures.get(procedure_key(self.state, name.split(".")))
        if procedure is None:
            text = f"Could not find stored procedure '{name}'."
            raise SqlError(2812, text, state=62, aborts_batch=True)
        inner = Frame(level=self.state.frame.level + 1, within=True, procedure=name.rpartition(".")[2])
        for number, variable in enumerate(procedure.variables):
            key = variable.name.lower()
            inner.types[key] = variable.info
            found = [value for n, (own, value) in enumerate(given) if own.lower() == key or (not own and n == number)]
            value = found[0] if found else None
            if not found:
                if variable.value is None:
                    text = (
                        f"Procedure or function '{name}' expects parameter '{variable.name}', which was not supplied."
                    )
                    raise SqlError(201, text, state=4)
                value = yield from self.value(variable.value)
            inner.values[key] = d.converted(value, variable.info)
        if len(given) > len(procedure.variables):
            raise SqlError(8144, f"Procedure or function {name} has too many arguments specified.", state=2)
        code = yield from self.nested(inner, procedure.body)
        values: dict[int | str, Any] = dict(enumerate(inner.values[each.name.lower()] for each in procedure.variables))
        values.update(inner.values)
        return values, code

    def nested(self, frame: Frame, text: str) -> Steps:
        """Run a text in a frame of its own; returns what it returns. Temporary tables that it makes go with it."""
        state, outer = self.state, self.state.frame
        if frame.level > _MOST_LEVELS:
            text = "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32)."
            raise SqlError(217, text, aborts_batch=True)
        them = self._parsed(text)
        before = frozenset(state.data.temporary())
        state.frame = frame
        try:
            yield from self.all(them)
            return 0
        except Returned as returned:
            return returned.value
        finally:
            state.frame = outer
            for table in set(state.data.temporary()) - before:
                state.data.run(f'DROP TABLE temp."{table}"', {}, writes=False)


_RUNNERS: Final[dict[type[s.Statement], Callable[[Runner, Any], Steps]]] = {
    s.Query: Runner.query,
    s.Transaction: Runner._transaction,
    s.SetOption: Runner._set,
    s.Use: Runner._use,
    s.Declare: Runner._declare,
    s.DeclareTable: Runner._declare_table,
    s.Assign: Runner._assign,
    s.Block: Runner._block,
    s.If: Runner._if,
    s.While: Runner._while,
    s.Jump: Runner._jump,
    s.Try: Runner._try,
    s.Say: Runner._say,
    s.Wait: Runner._wait,
    s.InsertBulk: Runner._insert_bulk,
    s.Revert: Runner._revert,
    s.CreateProcedure: Runner._create_procedure,
    s.DropProcedure: Runner._drop_procedure,
    s.Execute: Runner._execute,
}
