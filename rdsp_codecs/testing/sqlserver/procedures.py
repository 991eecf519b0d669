"""The procedures that the reference server itself has: those that drivers call, and what changes a session by a call.

`system_procedure` finds one. Each is a generator of what it answers, and returns its return code; a value that goes out
is put into what it was given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import attrs

from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver.types import TypeInfo
from rdsp_codecs.testing.sqlserver import declared as d
from rdsp_codecs.testing.sqlserver.answers import Blocked, Steps
from rdsp_codecs.testing.sqlserver.parsing import parsed_parameters
from rdsp_codecs.testing.sqlserver.resetting import reset
from rdsp_codecs.testing.sqlserver.state import AppLock, Frame, Prepared, State
from rdsp_codecs.testing.sqlserver.statements import SqlError, Tokens


class Runner(Protocol):
    """Whoever runs statements for a session (`running.Runner`)."""

    state: State

    def value(self, them: Tokens) -> Steps:
        """Work an expression out; returns its value."""

    def nested(self, frame: Frame, text: str) -> Steps:
        """Run a text in a frame of its own; returns what it returns."""

    def check(self, text: str) -> None:
        """Raise `SqlError` for a text that is not T-SQL."""

    def described(self, frame: Frame, text: str) -> Steps:
        """The columns of a text's first result."""


@attrs.define(eq=False)
class Given:
    """What a procedure is given for one parameter; of one that goes out, `value` is what it leaves there."""

    name: str
    value: Any
    info: TypeInfo | None = None
    output: bool = False


Procedure = Callable[[Runner, list[Given]], Steps]


def system_procedure(name: str) -> Procedure | None:
    """By its name, with or without a schema, in any case; None: it is not one of these."""
    return _PROCEDURES.get(name.rpartition(".")[2].lower())


def _one(given: list[Given], name: str, at: int) -> Any:
    """A parameter's value by its name, or where it stands; None where it is not given."""
    for each in given:
        if each.name.lower() == name:
            return each.value
    return given[at].value if at < len(given) and not given[at].name else None


def _run(runner: Runner, prepared: Prepared, values: list[Given]) -> Steps:
    """A text with parameters, in a frame of its own."""
    inner = Frame(level=runner.state.frame.level + 1, within=True)
    for variable in prepared.variables:
        name = variable.name.lower()
        inner.types[name], inner.values[name] = variable.info, None
        if variable.value is not None:
            inner.values[name] = d.converted((yield from runner.value(variable.value)), variable.info)
    places: list[tuple[Given, str]] = []
    for number, each in enumerate(values):
        if not each.name and number >= len(prepared.variables):
            raise SqlError(8144, "Procedure or function has too many arguments specified.", state=2)
        name = each.name.lower() or prepared.variables[number].name.lower()
        if name not in inner.types:
            raise SqlError(8145, f"{each.name} is not a parameter for procedure.", state=2)
        inner.values[name] = d.converted(each.value, inner.types[name])
        places.append((each, name))
    missing = {v.name.lower() for v in prepared.variables if v.value is None} - {name for _, name in places}
    if missing:
        name = next(v.name for v in prepared.variables if v.name.lower() in missing)
        text = f"The parameterized query '{prepared.text[:60]}' expects the parameter '{name}', which was not supplied."
        raise SqlError(8178, text, aborts_batch=True)
    yield from runner.nested(inner, prepared.text)
    for each, name in places:
        if each.output:
            each.value, each.info = inner.values[name], inner.types[name]
    return runner.state.error


def _execute_sql(runner: Runner, given: list[Given]) -> Steps:
    if not given:
        text = "Procedure or function 'sp_executesql' expects parameter '@statement', which was not supplied."
        raise SqlError(201, text, state=10)
    text = str(given[0].value or "")
    variables = parsed_parameters(str(given[1].value or "")) if len(given) > 1 else ()
    return (yield from _run(runner, Prepared(variables, text), given[2:]))


def _prepare_one(runner: Runner, given: list[Given]) -> Prepared:
    prepared = Prepared(parsed_parameters(str(given[1].value or "")), str(given[2].value or ""))
    runner.check(prepared.text)
    handle = next(runner.state.numbers)
    runner.state.handles[handle] = prepared
    given[0].value, given[0].info = handle, d.INT
    return prepared


def _prepare(runner: Runner, given: list[Given]) -> Steps:
    prepared = _prepare_one(runner, given)
    if len(given) > 3 and int(given[3].value or 0) & 1:
        inner = Frame(level=1, within=True)
        for variable in prepared.variables:
            inner.types[variable.name.lower()], inner.values[variable.name.lower()] = variable.info, None
        yield from runner.described(inner, prepared.text)
    return 0


def _prepare_and_execute(runner: Runner, given: list[Given]) -> Steps:
    prepared = _prepare_one(runner, given)
    return (yield from _run(runner, prepared, given[3:]))


def _handle(runner: Runner, given: list[Given]) -> int:
    handle = given[0].value if given else None
    if handle not in runner.state.handles:
        raise SqlError(8179, f"Could not find prepared statement with handle {handle}.", state=2)
    return int(handle)


def _execute(runner: Runner, given: list[Given]) -> Steps:
    return (yield from _run(runner, runner.state.handles[_handle(runner, given)], given[1:]))


def _unprepare(runner: Runner, given: list[Given]) -> Steps:
    del runner.state.handles[_handle(runner, given)]
    return 0
    yield b""


def _reset(runner: Runner, given: list[Given]) -> Steps:
    yield reset(runner.state)
    return 0


def _get_lock(runner: Runner, given: list[Given]) -> Steps:
    state = runner.state
    resource, owner = _one(given, "@resource", 0), _one(given, "@lockowner", 2) or "Transaction"
    timeout = _one(given, "@locktimeout", 3)
    timeout = state.options.numbers["LOCK_TIMEOUT"] if timeout is None else int(timeout)
    of_transaction = str(owner).lower() == "transaction"
    if of_transaction and not state.transactions.count:
        return -999
    waited = 0
    while (held := state.server.locks.get(resource)) is not None and held.owner != state.spid:
        if timeout == 0:
            return -1
        blocked = Blocked(None if timeout < 0 else timeout / 1000)
        yield blocked
        if blocked.expired:
            return -1
        waited = 1
    if held is None:
        state.server.locks[resource] = AppLock(state.spid, of_transaction=of_transaction)
    else:
        held.count += 1
    return waited


def _release_lock(runner: Runner, given: list[Given]) -> Steps:
    state = runner.state
    resource = _one(given, "@resource", 0)
    held = state.server.locks.get(resource)
    if held is None or held.owner != state.spid:
        held_by = f"(Database Principal: 'public', Resource: '{resource}')"
        text = f"Cannot release the application lock {held_by} because it is not currently held."
        raise SqlError(1223, text)
    held.count -= 1
    if not held.count:
        del state.server.locks[resource]
        state.server.ended += 1
    return 0
    yield b""


def _set_context(runner: Runner, given: list[Given]) -> Steps:
    key, value = _one(given, "@key", 0), _one(given, "@value", 1)
    if runner.state.context.get(key, (None, False))[1]:
        raise SqlError(
            15664, f"Cannot set key '{key}' in the session context. The key has been set as read_only for this session."
        )
    runner.state.context[key] = (value, bool(_one(given, "@read_only", 2)))
    return 0
    yield b""


def _set_role(runner: Runner, given: list[Given]) -> Steps:
    runner.state.role = str(_one(given, "@rolename", 0))
    return 0
    yield b""


_PROCEDURES: Final[dict[str, Procedure]] = {
    "sp_executesql": _execute_sql,
    "sp_prepare": _prepare,
    "sp_execute": _execute,
    "sp_prepexec": _prepare_and_execute,
    "sp_unprepare": _unprepare,
    "sp_reset_connection": _reset,
    "sp_getapplock": _get_lock,
    "sp_releaseapplock": _release_lock,
    "sp_set_session_context": _set_context,
    "sp_setapprole": _set_role,
}
NUMBERED: Final = {number: name.decode() for name, number in k.PROCEDURES.items()}
"""Names of the procedures that an RPC may call by number."""
