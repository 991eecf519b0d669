"""Structured logs of what happens, in RDS Proxy's words where it has some.

The application installs `LogObserver`; nothing else in `rdsp` logs. Lines are rendered where the event happens and
written by a thread (`rdsp.observe.lines`), so that a log stream that stands still stops no session.

How much is logged: a client's coming and going at debug, database connections at info, pins and refusals at warning,
faults at error. Of one kind of event 20 lines a second at most; then one line tells how many there were more. Debug
lines are not counted: who asks for them wants them all.

Texts come from clients (user names, digests): control characters are escaped, long ones are cut, and a value of several
lines is indented, so that nobody can write a line that looks like another.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, TextIO

import structlog

from rdsp.config.model import Logging
from rdsp.observe.events import Observer, SessionEnd
from rdsp.observe.lines import Gate, LineWriter
from rdsp_codecs.choice import CHOICE
from rdsp_codecs.pins import PinReason, PinUntil
from rdsp_codecs.problems import Problem

LINES_PER_SECOND: Final = 20
"""Of one kind of event, at info and above."""

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_LONGEST_VALUE: Final = 1000
_LONGEST_TRACEBACK: Final = 20_000
_UNPRINTABLE: Final = re.compile("[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")
_PREFIXES: Final = ("proxyEndpoint", "clientConnection")
_SPAN: Final = {
    PinUntil.SESSION: "for the remainder of the session. The proxy can't reuse this connection until the session ends.",
    PinUntil.GONE: "for as long as it takes. The proxy can't reuse this connection until what pins it is gone.",
}


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def _value(value: object) -> str:
    text = _printable(str(value))
    return text if text and not re.search(r'[\s="]', text) else '"' + text.replace('"', '\\"') + '"'


def render_console(_: object, __: str, event: dict[str, Any]) -> str:
    """One event as a line for people, in the shape of RDS Proxy's: `<time> [LEVEL] [proxyEndpoint=...] text`.

    What else there is follows as `key=value`; values of several lines come below, indented.
    """
    parts = [str(event.pop("timestamp")), f"[{str(event.pop('level')).upper()}]"]
    parts += [f"[{name}={_printable(str(event.pop(name)))}]" for name in _PREFIXES if name in event]
    parts.append(_printable(str(event.pop("event"))).replace("\n", "\\n"))
    below = []
    for name, value in event.items():
        if isinstance(value, str) and "\n" in value:
            below += [f"    {name}| {_printable(row)}" for row in value.rstrip("\n").split("\n")]
        elif value != "":
            parts.append(f"{name}={_value(value)}")
    return "\n".join([" ".join(parts), *below])


def logger(settings: Logging, stream: TextIO) -> Any:
    """A structlog logger by the configuration, which writes to `stream` (anything with `write` and `flush`)."""
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=True) if settings.format == "json" else render_console
    )
    return structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
    )


class LogObserver(Observer):
    """Writes one line per event. Texts after RDS Proxy's log (its format is documented as being for people).

    Invariant: no hook waits for the stream, and none raises for what a client sent.

    Args:
        settings: level and format.
        stream: where to; None: stderr.
        clock: seconds, for the limit on lines.
    """

    def __init__(
        self, settings: Logging, *, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._writer = LineWriter(stream if stream is not None else sys.stderr, lost=self._lost)
        self._log = logger(settings, self._writer)  # type: ignore[arg-type]
        self._clock = clock
        self._gate = Gate(LINES_PER_SECOND)
        self._debug = settings.level == "debug"
        self._json = settings.format == "json"
        self._proxies: dict[int, str] = {}
        """Of every session the proxy's name, which only its first event tells."""

    def close(self, seconds: float = 1.0) -> None:
        """Write what is left; waits for the stream no longer than so many seconds. Done at exit, too."""
        self._tell_held(self._clock() + 1.0)
        self._writer.close(seconds)

    def _lost(self, count: int) -> str:
        text = f"{count} log lines were dropped because the log stream is too slow"
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._json:
            return f'{{"event": "{text}", "level": "warning", "timestamp": "{stamp}", "dropped": {count}}}'
        return f"{stamp} [WARNING] {text} dropped={count}"

    def _say(self, level: str, kind: Hashable, text: str, **fields: Any) -> None:
        now = self._clock()
        self._tell_held(now)
        if self._gate.passes(kind, now):
            for name, value in fields.items():
                if isinstance(value, str) and len(value) > _LONGEST_VALUE:
                    keep = _LONGEST_TRACEBACK if "\n" in value else _LONGEST_VALUE
                    fields[name] = value if len(value) <= keep else value[:keep] + "..."
            getattr(self._log, level)(text, **fields)

    def _tell_held(self, now: float) -> None:
        for kind, count in self._gate.overdue(now):
            name = " ".join(map(str, kind)) if isinstance(kind, tuple) else str(kind)
            self._log.warning(f"{count} more lines of one kind were left out.", kind=name, left_out=count)

    def _of(self, session: int) -> dict[str, Any]:
        name = self._proxies.get(session)
        return ({"proxyEndpoint": name} if name is not None else {}) | {"clientConnection": session}

    def ready(self, proxy: str, address: str, engine: str, target: str) -> None:
        """The ready line goes to stdout at once, where scripts wait for it: one line per address."""
        try:
            print(f'rdsp: proxy "{proxy}" is ready on {address} ({engine}, target {target}, {CHOICE.name})', flush=True)
        except (OSError, ValueError):
            # Whoever started the proxy has closed its stdout. That is no reason to stop logging.
            self._say("info", "ready", "The proxy is ready.", proxyEndpoint=proxy, address=address)

    def session_started(self, session: int, proxy: str, peer: str) -> None:
        """Debug: 500 clients that connect at once would drown everything else."""
        self._proxies[session] = proxy
        if self._debug:
            self._log.debug(f"A new client connected from {peer}.", **self._of(session))

    def session_admitted(self, session: int, user: str, database: str, tls: bool) -> None:
        """See `Observer`."""
        if self._debug:
            self._log.debug("The client logged in.", **self._of(session), user=user, database=database, tls=tls)

    def session_ended(self, session: int, end: SessionEnd) -> None:
        """Debug; an error when the fault is the proxy's own."""
        if end.blame == "proxy" and end.detail:
            text = f"The client connection closed. Reason: {end.reason}."
            self._say("error", "session_ended", text, **self._of(session), blame=end.blame, detail=end.detail)
        elif self._debug:
            text = f"The client connection closed. Reason: {end.reason}."
            self._log.debug(text, **self._of(session), blame=end.blame, detail=end.detail)
        self._proxies.pop(session, None)

    def refused(self, proxy: str, peer: str, problem: Problem, user: str) -> None:
        """See `Observer`."""
        self._say(
            "warning",
            ("refused", problem.code.value),
            "A client was not let in.",
            proxyEndpoint=proxy,
            peer=peer,
            user=user,
            code=problem.code.value,
            detail=problem.subject,
        )

    def certificate_renewed(self, proxy: str, path: str) -> None:
        """See `Observer`."""
        text = "The certificate has changed. New connections are shown the new one."
        self._say("info", "certificate_renewed", text, proxyEndpoint=proxy, certificate=path)

    def backend_opened(self, proxy: str, number: int, server: str, seconds: float) -> None:
        """See `Observer`."""
        text = f"A TCP connection was established from the proxy to the database at {server}."
        self._say("info", "backend_opened", text, proxyEndpoint=proxy, dbConnection=number, seconds=round(seconds, 4))

    def backend_open_failed(self, proxy: str, number: int, text: str, transient: bool) -> None:
        """See `Observer`."""
        self._say(
            "warning",
            "backend_open_failed",
            "A database connection could not be opened.",
            proxyEndpoint=proxy,
            dbConnection=number,
            error=text,
            transient=transient,
        )

    def backend_closed(self, proxy: str, number: int, why: str) -> None:
        """See `Observer`."""
        text = f"The database connection closed. Reason: {why}."
        self._say("info", "backend_closed", text, proxyEndpoint=proxy, dbConnection=number)

    def pinned(self, session: int, number: int, reason: PinReason, detail: str) -> None:
        """RDS Proxy's documented line. `detail` comes prepared: a digest, or text where debug logging is on."""
        digest = f' Digest: "{detail[:_LONGEST_VALUE]}".' if detail else ""
        self._say(
            "warning",
            ("pinned", reason.value),
            f"The client session was pinned to the database connection [dbConnection={number}] "
            f"{_SPAN[reason.facts.until]} Reason: {reason.facts.title}{digest}",
            **self._of(session),
            dbConnection=number,
            reason=reason.value,
        )

    def borrow_failed(self, session: int, problem: Problem) -> None:
        """See `Observer`."""
        self._say(
            "warning",
            ("borrow_failed", problem.code.value),
            "A request got no database connection.",
            **self._of(session),
            code=problem.code.value,
            detail=problem.subject,
        )

    def cancel_asked(self, session: int | None, outcome: str) -> None:
        """Debug: cancels are part of life, and a wrong key harms nobody."""
        if self._debug:
            of = self._of(session) if session is not None else {}
            self._log.debug(f"A cancel request: {outcome}.", **of)

    def unpinned(self, session: int) -> None:
        """What pinned it is gone."""
        text = "The client session isn't pinned any longer."
        self._say("info", "unpinned", text, **self._of(session))

    def draining(self, proxy: str) -> None:
        """See `Observer`."""
        self._say("info", "draining", "The proxy drains.", proxyEndpoint=proxy)

    def reloaded(self, changes: Sequence[Any]) -> None:
        """See `Observer`."""
        for change in changes:
            self._log.info("Configuration changed.", change=str(change))
        if not changes:
            self._log.info("The configuration is unchanged.")

    def reload_failed(self, text: str) -> None:
        """See `Observer`."""
        self._log.error("The configuration could not be read again; the old one stays.", error=text)

    def trouble(self, proxy: str, text: str) -> None:
        """See `Observer`."""
        self._say("error", "trouble", text, **({"proxyEndpoint": proxy} if proxy else {}))
