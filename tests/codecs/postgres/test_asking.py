"""The question at the boundary: what it must not do to the session, and what its answer cannot tell."""

from __future__ import annotations

import struct

import pytest

from rdsp_codecs.postgres.asking import Question
from rdsp_codecs.postgres.setting_text import EVERYTHING
from rdsp_codecs.postgres.settings import AUTHORIZATION, NO_SETTINGS, ROLE, Settings

LOGIN = b"admin"
PATH = b"dynamic_library_path"


def row(*values: bytes) -> bytes:
    return struct.pack(">H", len(values)) + b"".join(struct.pack(">i", len(value)) + value for value in values)


def identity(user: bytes, role: bytes = b"none") -> tuple[bytes, bytes]:
    return row(b"i", ROLE, role, b""), row(b"i", AUTHORIZATION, user, b"")


def test_it_never_changes_the_session_authorization_for_a_while() -> None:
    """Before 16.5, 15.9, 14.14, 13.17 and 12.21 the end of that took the role away: the session went on as its login."""
    question = Question({ROLE: None, AUTHORIZATION: None}, {}, NO_SETTINGS)
    texts = question.text().split(b";")
    assert not any(b"SET LOCAL SESSION" in text for text in texts)
    assert b"SET LOCAL ROLE NONE" in texts[1]
    # A role that those servers have kept behind a SET SESSION AUTHORIZATION must not come back with the end of that.
    assert b"set_config('role', pg_catalog.current_setting('role'), false)" in texts[0]


@pytest.mark.parametrize(
    ("known", "touched", "found", "hides"),
    [
        ({PATH: b"SET x"}, {ROLE: None}, False, True),
        ({PATH: b"SET x"}, {ROLE: None}, True, False),
        ({}, {ROLE: None, PATH: b"/x"}, False, True),
        ({PATH: b"SET x"}, {EVERYTHING: None}, False, True),
        ({}, {ROLE: None, b"work_mem": b"1MB"}, False, False),
    ],
)
def test_what_another_user_may_not_see_is_not_taken_for_unset(
    known: dict[bytes, bytes], touched: dict[bytes, bytes | None], found: bool, hides: bool
) -> None:
    question = Question(touched, {}, Settings(known))
    for one in identity(b"bob"):
        question.row(one)
    if found:
        question.row(row(b"s", PATH, b"/x", b"string"))
    assert question.hides(LOGIN) is hides
    assert not Question(touched, {}, Settings(known)).hides(LOGIN)


def test_who_became_another_user_is_a_superuser_and_can_set_again_what_that_one_cannot() -> None:
    asked = {b"log_statement": None}
    for user, gained in ((LOGIN, True), (b"bob", False)):
        question = Question(asked, {}, NO_SETTINGS)
        for one in identity(user):
            question.row(one)
        question.row(row(b"u", b"log_statement", b"all", b"enum"))
        assert question.gained(LOGIN) is gained


@pytest.mark.parametrize(("code", "asked_again"), [(b"57014", True), (b"55P03", True), (b"42501", False)])
def test_a_question_that_a_limit_or_a_late_cancel_has_hit_is_asked_again_a_few_times(
    code: bytes, asked_again: bool
) -> None:
    question: Question | None = Question({b"work_mem": None}, {}, NO_SETTINGS)
    tries = 0
    while question is not None:
        tries += 1
        # Limits that no text has told of may be the reason.
        assert (b"'0', true" in question.text()) is (tries > 1)
        question.refuse(b"SERROR\0VERROR\0C" + code + b"\0Mwords\0\0")
        question = question.again()

    assert tries == (5 if asked_again else 1)


def test_a_limit_that_was_put_off_for_the_question_is_kept_as_it_was() -> None:
    question = Question({b"statement_timeout": b"7"}, {}, NO_SETTINGS)
    question.row(row(b"t", b"statement_timeout", b"7ms", b"0"))
    question.row(row(b"s", b"statement_timeout", b"0", b"integer"))

    assert b"'7ms'" in question.statements(LOGIN)[b"statement_timeout"]
