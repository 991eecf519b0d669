"""Structured logs of what happens, in RDS Proxy's words where it has some.

The application installs `LogObserver`; nothing else in `rdsp` logs.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import structlog

from rdsp.config.model import Logging
from rdsp.observe.events import Observer, SessionEnd
from rdsp_codecs.pins import PinReason
from rdsp_codecs.problems import Problem

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def logger(settings: Logging) -> Any:
    """A structlog logger to stderr by the configuration."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
    )


class LogObserver(Observer):
    """Writes one line per event. Texts after RDS Proxy's log."""

    def __init__(self, settings: Logging) -> None:
        self._log = logger(settings)

    def ready(self, proxy: str, address: str, engine: str, target: str) -> None:
        """The ready line goes to stdout, where scripts wait for it."""
        print(f'rdsp: proxy "{proxy}" is ready on {address} ({engine}, target {target})', flush=True)

    def session_started(self, session: int, proxy: str, peer: str) -> None:
        """See `Observer`."""
        self._log.debug(f"A new client connected from {peer}.", proxy=proxy, clientConnection=session)

    def session_ended(self, session: int, end: SessionEnd) -> None:
        """See `Observer`."""
        level = self._log.error if end.blame == "proxy" and end.detail else self._log.debug
        level(
            f"The client connection closed. Reason: {end.reason}.",
            clientConnection=session,
            blame=end.blame,
            detail=end.detail,
        )

    def refused(self, proxy: str, peer: str, problem: Problem, user: str) -> None:
        """See `Observer`."""
        self._log.warning(
            "A client was not let in.",
            proxy=proxy,
            peer=peer,
            user=user,
            code=problem.code.value,
            detail=problem.subject,
        )

    def backend_opened(self, proxy: str, number: int, server: str, seconds: float) -> None:
        """See `Observer`."""
        self._log.info(
            f"A TCP connection was established from the proxy to the database at {server}.",
            proxy=proxy,
            dbConnection=number,
            seconds=round(seconds, 4),
        )

    def backend_open_failed(self, proxy: str, number: int, text: str, transient: bool) -> None:
        """See `Observer`."""
        self._log.warning(
            "A database connection could not be opened.",
            proxy=proxy,
            dbConnection=number,
            error=text,
            transient=transient,
        )

    def backend_closed(self, proxy: str, number: int, why: str) -> None:
        """See `Observer`."""
        self._log.info(f"The database connection closed. Reason: {why}.", proxy=proxy, dbConnection=number)

    def pinned(self, session: int, number: int, reason: PinReason, detail: str) -> None:
        """RDS Proxy's documented line."""
        self._log.warning(
            f"The client session was pinned to the database connection [dbConnection={number}] for the remainder of "
            "the session. The proxy can't reuse this connection until the session ends. Reason: "
            f'{reason.facts.title} Digest: "{detail}".',
            clientConnection=session,
            dbConnection=number,
            reason=reason.value,
        )

    def borrow_failed(self, session: int, problem: Problem) -> None:
        """See `Observer`."""
        self._log.warning("A request got no database connection.", clientConnection=session, code=problem.code.value)

    def draining(self, proxy: str) -> None:
        """See `Observer`."""
        self._log.info("The proxy drains.", proxy=proxy)

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
        self._log.error(text, proxy=proxy)
