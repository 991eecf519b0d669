"""What the synchronous psycopg programs share."""

from __future__ import annotations

from typing import Any

import psycopg

from tests.drivers.programs.transcript import described, say


def connect(**more: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(**{"autocommit": True, **more})


def fails(what: str, call: Any, *arguments: Any) -> None:
    """Say how a call fails, with all that the server told."""
    try:
        call(*arguments)
    except psycopg.Error as error:
        diagnostic = error.diag
        say(what, described(error), diagnostic.severity, diagnostic.message_detail, diagnostic.message_hint)
        say(what, diagnostic.statement_position, diagnostic.context, diagnostic.table_name, diagnostic.constraint_name)
    else:
        say(what, "did not fail")
