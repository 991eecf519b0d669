"""What makes clients alike, and what the sessions of a pool remember together."""

from __future__ import annotations

from rdsp_codecs.api import ClientLogin
from rdsp_codecs.postgres import CODEC
from rdsp_codecs.postgres.messages import PROTOCOL_3
from rdsp_codecs.postgres.statements import SharedStatements


def key(**parameters: str) -> object:
    return CODEC.pool_key(ClientLogin("app", "app", parameters, PROTOCOL_3, tls=False))


def test_the_order_of_parameters_is_no_matter_but_of_two_spellings_of_one() -> None:
    assert key(TimeZone="UTC", work_mem="5MB") == key(WORK_MEM="5MB", timezone="UTC")
    assert key(TimeZone="UTC", timezone="Japan") != key(TimeZone="Japan", timezone="UTC")


def test_of_custom_variables_the_last_thousand_are_remembered() -> None:
    shared = SharedStatements()
    shared.named([b"app.first"])
    for number in range(2 * SharedStatements.CUSTOM):
        shared.named([b"app.x%d" % number, b"app.again"])

    assert len(shared.custom) == SharedStatements.CUSTOM
    assert b"app.first" not in shared.custom
    assert b"app.again" in shared.custom
