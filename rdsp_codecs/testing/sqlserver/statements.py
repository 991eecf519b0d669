"""What a batch of T-SQL is made of, as far as the reference server runs it: `parsing` makes it, `running` runs it."""

from __future__ import annotations

from typing import Final

import attrs

from rdsp_codecs.sqlserver.lexer import Token
from rdsp_codecs.sqlserver.types import TypeInfo

Tokens = tuple[Token, ...]
"""An expression or a query, as it stands in the text."""

SYNTAX: Final = 102


class SqlError(Exception):
    """An error that the client is told.

    Args:
        number: of the message, as SQL Server has it.
        text: the message.
        severity: 11..25.
        state: tells apart where it comes from.
        aborts_batch: nothing of the batch runs behind it; otherwise the next statement does.
        aborts_transaction: also where XACT_ABORT is off.
        raised: by RAISERROR, for which XACT_ABORT does not count.
    """

    def __init__(
        self,
        number: int,
        text: str,
        *,
        severity: int = 16,
        state: int = 1,
        aborts_batch: bool = False,
        aborts_transaction: bool = False,
        raised: bool = False,
    ) -> None:
        super().__init__(text)
        self.number = number
        self.text = text
        self.severity = severity
        self.state = state
        self.aborts_batch = aborts_batch
        self.aborts_transaction = aborts_transaction
        self.raised = raised


def syntax_error(near: str) -> SqlError:
    """Of a batch that is not parsed: none of it runs."""
    return SqlError(SYNTAX, f"Incorrect syntax near '{near}'.", severity=15, aborts_batch=True)


@attrs.frozen
class Statement:
    """One. `line`: of its first word in the batch, 1 the first."""

    line: int


@attrs.frozen
class Query(Statement):
    """What SQLite runs, translated: `verb` is its first word, of a WITH the one behind the common tables."""

    verb: str
    tokens: Tokens


@attrs.frozen
class Transaction(Statement):
    """BEGIN, COMMIT, ROLLBACK or SAVE. `name`: "" for none, a variable with its @."""

    verb: str
    name: str = ""


@attrs.frozen
class SetOption(Statement):
    """SET of one option or several, in upper case; `value` what stands behind them."""

    names: tuple[str, ...]
    value: Tokens


@attrs.frozen
class Variable:
    """Of a DECLARE, or a parameter of a procedure: with its @, its type, its first value and whether it goes out."""

    name: str
    info: TypeInfo
    value: Tokens | None = None
    output: bool = False


@attrs.frozen
class Declare(Statement):
    """DECLARE."""

    variables: tuple[Variable, ...]


@attrs.frozen
class DeclareTable(Statement):
    """DECLARE @name TABLE (...). `tokens`: what stands behind TABLE."""

    name: str
    tokens: Tokens


@attrs.frozen
class Assign(Statement):
    """SET @name = value."""

    name: str
    value: Tokens


@attrs.frozen
class Argument:
    """Of an EXECUTE. `name`: "" by position."""

    name: str
    value: Tokens
    output: bool = False


@attrs.frozen
class Execute(Statement):
    """EXECUTE of a procedure; with `text` instead of a name, of a batch in a string. `result`: a variable, or ""."""

    procedure: str
    arguments: tuple[Argument, ...] = ()
    result: str = ""
    text: Tokens = ()


@attrs.frozen
class Block(Statement):
    """BEGIN ... END."""

    statements: tuple[Statement, ...]


@attrs.frozen
class If(Statement):
    """IF, with what may stand behind ELSE."""

    condition: Tokens
    then: Statement
    other: Statement | None = None


@attrs.frozen
class While(Statement):
    """WHILE."""

    condition: Tokens
    body: Statement


@attrs.frozen
class Try(Statement):
    """BEGIN TRY ... END TRY BEGIN CATCH ... END CATCH."""

    body: tuple[Statement, ...]
    caught: tuple[Statement, ...]


@attrs.frozen
class Jump(Statement):
    """BREAK, CONTINUE, or RETURN with the value that may stand behind it."""

    verb: str
    value: Tokens = ()


@attrs.frozen
class Say(Statement):
    """PRINT, RAISERROR or THROW, and their arguments."""

    verb: str
    arguments: tuple[Tokens, ...] = ()


@attrs.frozen
class Wait(Statement):
    """WAITFOR DELAY."""

    delay: Tokens


@attrs.frozen
class Use(Statement):
    """USE."""

    database: str


@attrs.frozen
class CreateProcedure(Statement):
    """CREATE PROCEDURE: its name's parts, parameters, and the text of its body."""

    name: Tokens
    variables: tuple[Variable, ...]
    body: str


@attrs.frozen
class DropProcedure(Statement):
    """DROP PROCEDURE. `lenient`: IF EXISTS."""

    name: Tokens
    lenient: bool


@attrs.frozen
class InsertBulk(Statement):
    """INSERT BULK: the rows come in the next message. `columns`: names and types."""

    table: Tokens
    columns: tuple[tuple[str, TypeInfo], ...]


@attrs.frozen
class Revert(Statement):
    """EXECUTE AS, with the user's name, or REVERT."""

    user: str = ""
